//! Which planted defect is on, in a build that has them (`simulation/bugs.txt`). No other build contains this module.

use std::cell::Cell;

thread_local! {
    static ON: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Switches one on, and every other off, on this thread.
pub fn switch(name: Option<&'static str>) {
    ON.set(name);
}

/// Whether this one is on.
pub fn is_on(name: &str) -> bool {
    ON.get() == Some(name)
}
