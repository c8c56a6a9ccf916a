//! The API over real connections: real read models, real decisions, real TCP through the accept loop.

mod access;
mod contract;
mod explain;
mod files;
mod hostile;
mod live;
mod membership;
mod projections;
mod reads;
mod world;
mod writes;

pub(crate) use world::random;
