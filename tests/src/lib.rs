//! Integration tests of the whole: real processes, network namespaces, attack tools, a browser.
//!
//! One binary (`tests/it/main.rs`), so that the workspace links once. This library is empty: what tests share lives
//! beside them.
