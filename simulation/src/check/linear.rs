//! Whether what callers were told could have happened one after the other, each between its call and its answer:
//! linearizability, by the search of Wing and Gong with Lowe's memory of states that lead nowhere.

use std::collections::BTreeSet;
use std::time::Duration;

use palisade::node::Outcome;
use projections::decide::CommandBody;

use super::{Checker, Violation, ensure};
use crate::workload::{MOST_CHANGES, Wish};

/// Operations in one history at most: they are counted in the bits of a number. A run has far fewer.
const MOST: usize = 128;

/// What an operation does to the state.
pub(super) trait Effect {
    /// Whether it never changes the state. Where one is allowed, it may as well come first: without this, reads that
    /// overlap would be tried in every order.
    fn is_read(&self) -> bool;
}

/// One call and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operation<K> {
    called: Duration,
    answered: Duration,
    kind: K,
}

/// Whether there is an order in which `apply` allows every operation.
pub(super) fn is_linearizable<K: Effect, S: Ord + Clone>(
    operations: &[Operation<K>],
    initial: S,
    apply: impl Fn(&S, &K) -> Option<S>,
) -> bool {
    let all = operations.iter().enumerate().fold(0_u128, |bits, (at, _)| bits | 1 << at);
    let mut dead_ends = BTreeSet::new();
    let mut open = vec![(0_u128, initial)];
    while let Some((done, state)) = open.pop() {
        if done == all {
            return true;
        }
        if !dead_ends.insert((done, state.clone())) {
            continue;
        }
        let left = || operations.iter().enumerate().filter(move |(at, _)| done & (1 << at) == 0);
        // Whatever was answered first must come before all that were called after that answer.
        let first_answer = left().map(|(_, operation)| operation.answered).min().unwrap_or_default();
        let next = left().filter(|(_, operation)| operation.called <= first_answer);
        let next = next.filter_map(|(at, operation)| {
            Some((operation.kind.is_read(), done | 1 << at, apply(&state, &operation.kind)?))
        });
        let next: Vec<(bool, u128, S)> = next.collect();
        match next.iter().find(|(is_read, ..)| *is_read) {
            Some((_, done, state)) => open.push((*done, state.clone())),
            None => open.extend(next.into_iter().map(|(_, done, state)| (done, state))),
        }
    }
    false
}

/// What somebody did with the settings. What was rejected is left out: a leader that has lost its office and does not know
/// it yet may refuse what is right by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// A change that took effect, under the version that its caller expected.
    Change { expected: u64 },
    /// A read, and the version that it saw.
    Read { version: u64 },
}

impl Effect for Use {
    fn is_read(&self) -> bool {
        matches!(self, Self::Read { .. })
    }
}

impl Use {
    fn apply(version: &u64, used: &Self) -> Option<u64> {
        match used {
            Self::Change { expected } => (version == expected).then_some(version + 1),
            Self::Read { version: seen } => (version == seen).then_some(*version),
        }
    }
}

/// Changes and reads of the settings in a run.
#[derive(Default)]
pub(super) struct Changes {
    operations: Vec<Operation<Use>>,
}

impl Changes {
    pub(super) fn note(&mut self, wish: &Wish, outcome: &Outcome, at: Duration) {
        let (CommandBody::ChangeSettings { expected_version, .. }, Outcome::Committed { .. }) =
            (&wish.body, outcome)
        else {
            return;
        };
        let kind = Use::Change { expected: *expected_version };
        self.operations.push(Operation { called: wish.made, answered: at, kind });
    }

    pub(super) fn note_read(&mut self, called: Duration, answered: Duration, version: u64) {
        // Without one of the changes the reads after it would make no sense: there is always room for all of them.
        if self.operations.len() < MOST - MOST_CHANGES {
            self.operations.push(Operation { called, answered, kind: Use::Read { version } });
        }
    }

    pub(super) fn look(&self) -> Result<(), Violation> {
        let holds = is_linearizable(&self.operations, 0, Use::apply);
        ensure(holds, Checker::Linear, || format!("no order explains {:?}", self.operations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Kind {
        Write(u8),
        Read(u8),
    }

    impl Effect for Kind {
        fn is_read(&self) -> bool {
            matches!(self, Self::Read(_))
        }
    }

    fn apply(state: &u8, kind: &Kind) -> Option<u8> {
        match kind {
            Kind::Write(value) => Some(*value),
            Kind::Read(value) => (value == state).then_some(*state),
        }
    }

    fn operation(called: u64, answered: u64, kind: Kind) -> Operation<Kind> {
        let (called, answered) = (Duration::from_secs(called), Duration::from_secs(answered));
        Operation { called, answered, kind }
    }

    #[test]
    fn overlapping_calls_may_take_effect_in_any_order() {
        let history = [
            operation(0, 10, Kind::Write(1)),
            operation(1, 3, Kind::Read(0)),
            operation(4, 6, Kind::Read(1)),
            operation(5, 12, Kind::Write(2)),
            operation(11, 13, Kind::Read(2)),
        ];
        assert!(is_linearizable(&history, 0, apply));
    }

    #[test]
    fn very_many_overlapping_reads_are_looked_at_in_no_time() {
        let mut history: Vec<_> = (0..100).map(|at| operation(at, 500, Kind::Read(at as u8 / 50))).collect();
        history.push(operation(10, 400, Kind::Write(1)));
        assert!(is_linearizable(&history, 0, apply));
        history.push(operation(600, 601, Kind::Read(0)));
        assert!(!is_linearizable(&history, 0, apply));
    }

    #[test]
    fn a_read_of_what_was_there_before_an_answered_write_is_found() {
        let history = [operation(0, 1, Kind::Write(1)), operation(2, 3, Kind::Read(0))];
        assert!(!is_linearizable(&history, 0, apply));
        let back =
            [operation(0, 9, Kind::Write(1)), operation(1, 2, Kind::Read(1)), operation(3, 4, Kind::Read(0))];
        assert!(!is_linearizable(&back, 0, apply));
    }
}
