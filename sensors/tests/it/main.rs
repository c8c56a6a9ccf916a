//! The engine as its users see it: built traffic, recorded traffic, hostile messages.
//!
//! Recordings that cannot be shipped are read from the folder that `PALISADE_CAPTURES` names, by default `../shared/captures` beside the
//! workspace. Where it is absent the tests that need it say so; `corpus/` is always there.

#[cfg(test)]
mod acceptance;
#[cfg(test)]
mod captures;
#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod corpora;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod generator;
#[cfg(test)]
mod pipe;
#[cfg(test)]
mod playback;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod torture;
#[cfg(test)]
mod truth;
#[cfg(test)]
mod wire;
