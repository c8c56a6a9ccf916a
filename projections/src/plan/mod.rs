//! Plans: what the world should look like, for actuators to converge with.

pub mod firewall;
