//! Tests of the decision models, read models and plans, through their public doors.

mod golden;
mod once;
mod properties;
mod script;
mod views;
mod world;
