//! The project's one integration-test binary.

mod architecture;
mod support;
mod tidy;
mod tools;
mod traffic;
mod wire;
