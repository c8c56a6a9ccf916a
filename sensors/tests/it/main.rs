//! The engine as its users see it: built traffic, recorded traffic, hostile messages.

#[cfg(test)]
mod rules;
#[cfg(test)]
mod wire;
