//! Host.

pub mod demo;
pub mod actuators;
