//! The project's one integration-test binary.

mod architecture;
mod firewall;
mod sensed;
mod support;
mod tidy;
mod tools;
mod traffic;
mod wire;
