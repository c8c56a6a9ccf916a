//! Host.

pub mod demo;
