//! What the host does to the world. Actuators converge the world with what the log says; repeating an effect is harmless.

pub mod firewall;
