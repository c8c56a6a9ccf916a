//! What happened, line by line: hashed for the comparison of runs, the end kept for whoever looks into a failure.

use std::collections::VecDeque;
use std::fmt::{Arguments, Write as _};
use std::time::Duration;

/// Lines kept: what a person reads to see how a failure came about.
const KEPT: usize = 40;
/// FNV-1a, 64 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// Takes each line as it is written.
pub type Echo = Box<dyn FnMut(&str)>;

pub(crate) struct Trace {
    lines: VecDeque<String>,
    hash: u64,
    echo: Option<Echo>,
}

impl Trace {
    pub(crate) fn new(echo: Option<Echo>) -> Self {
        Self { lines: VecDeque::with_capacity(KEPT), hash: FNV_OFFSET, echo }
    }

    pub(crate) fn line(&mut self, at: Duration, what: Arguments<'_>) {
        let mut line =
            if self.lines.len() < KEPT { String::new() } else { self.lines.pop_front().unwrap_or_default() };
        line.clear();
        // Writing to a string cannot fail.
        let _ = write!(line, "{:>4}.{:09} {what}", at.as_secs(), at.subsec_nanos());
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        if let Some(echo) = &mut self.echo {
            echo(&line);
        }
        self.lines.push_back(line);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn into_tail(self) -> Vec<String> {
        self.lines.into()
    }
}
