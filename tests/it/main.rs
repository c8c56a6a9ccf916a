//! The project's one integration-test binary.

mod architecture;
mod captures;
mod chaos;
mod chapters;
mod clocks;
mod cluster;
mod console;
mod demo;
mod end_to_end;
mod firewall;
mod kill;
mod latency;
mod names;
mod projections;
mod recover;
mod sensed;
mod support;
mod syscalls;
mod tidy;
mod tools;
mod traffic;
mod wire;
mod wire_cluster;
