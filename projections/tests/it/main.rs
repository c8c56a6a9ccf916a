//! Tests of the decision models, read models and plans, through their public doors.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that finds the unexpected fails there"
)]

mod acceptance;
mod explain;
mod golden;
mod once;
mod properties;
mod script;
mod views;
mod world;
