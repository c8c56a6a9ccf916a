//! Projections that were folded anew take the place of the served ones.

use super::*;

#[test]
fn projections_folded_anew_are_served_and_equal_to_the_old_ones_at_the_same_entry() {
    let mut cluster = Cluster::led([ONE]);
    let Outcome::Committed { index } = cluster.submit(ONE, id(1), block("192.0.2.1")) else {
        panic!("one host is a majority")
    };
    let (at, old) = cluster.hand_over(ONE, Folded::default());
    assert_eq!((at, old.applied()), (index, index));
    let standings = cluster.standings(ONE);
    assert_eq!(standings, old.standings());
    assert!(matches!(cluster.submit(ONE, id(2), block("192.0.2.2")), Outcome::Committed { .. }));
    assert_ne!(cluster.standings(ONE), standings);
}

#[test]
fn a_state_that_is_not_the_fold_of_the_log_is_given_back_and_a_leader_decides_by_the_new_one() {
    let mut cluster = Cluster::led([ONE]);
    let Outcome::Committed { .. } = cluster.submit(ONE, id(1), block("192.0.2.1")) else {
        panic!("one host is a majority")
    };
    let mut wrong = Folded::default();
    cluster.node(ONE).model().clone_into(&mut wrong.model);
    let (_, right) = cluster.hand_over(ONE, Folded::default());
    wrong.views = right.views.clone();
    let by = Actor::Administrator(Text::new(b"ana"));
    let address: std::net::IpAddr = "192.0.2.1".parse().expect("an address");
    let released = log_format::event::AddressReleased {
        source: address,
        cause: log_format::event::ReleaseCause::Manual { by },
    };
    let event = Event::Denylist(log_format::event::DenylistEvent::AddressReleased(released));
    let envelope = Envelope {
        command: id(9),
        origin: Origin { host: ONE, incarnation: INCARNATION, sequence: OriginSequence::default() },
        accepted_at: wrong.model.last_accepted_at(),
        events: vec![Recorded { observed_at: Timestamp::ZERO, salt: Salt::default(), event }],
    };
    wrong.model.evolve(wrong.model.applied(), &envelope);
    cluster.hand_over(ONE, wrong);
    assert!(matches!(cluster.verdict(ONE, "192.0.2.1"), Verdict::Free), "the wrong state is served");

    let (_, found) = cluster.hand_over(ONE, Folded::default());
    let [decisions, views] = cluster.standings(ONE);
    assert_ne!(found.standings()[0].state_hash, decisions.state_hash);
    assert_eq!(found.standings()[1], views);
    let Outcome::Committed { .. } = cluster.submit(ONE, id(3), block("192.0.2.3")) else {
        panic!("one host is a majority")
    };
    // Decided by what was folded anew: the address is blocked already.
    let Outcome::Rejected(refusal) = cluster.submit(ONE, id(4), block_for("192.0.2.1", 1)) else {
        panic!("it is blocked")
    };
    assert_eq!(refusal.code, "already_blocked");
}

#[test]
fn projections_that_are_far_behind_are_given_back_to_be_folded_on() {
    let mut cluster = Cluster::led([ONE]);
    for number in 0..600_u16 {
        let [high, low] = number.to_be_bytes();
        let mut id = [0; 16];
        id[..2].copy_from_slice(&[high + 1, low]);
        let outcome = cluster.submit(ONE, CommandId::new(id), block(&format!("198.51.{high}.{low}")));
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    }
    let outputs = cluster.outputs(ONE, Input::Folded(Box::default()));
    let [Output::Handover(Handover::TooFarBehind { applied, green })] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!((*applied, green.applied()), (cluster.node(ONE).applied(), LogIndex::default()));
}

impl Cluster {
    /// What a host says to this input alone.
    fn outputs(&mut self, host: HostId, input: Input) -> Vec<Output> {
        let now = at(self.now);
        let mut outputs = Vec::new();
        self.hosts.get_mut(&host).expect("the host exists").node.handle_all([input], now, &mut outputs);
        outputs
    }

    fn hand_over(&mut self, host: HostId, green: Folded) -> (LogIndex, Folded) {
        let mut outputs = self.outputs(host, Input::Folded(Box::new(green)));
        match outputs.pop() {
            Some(Output::Handover(Handover::Taken { index, old })) => (index, *old),
            other => panic!("{other:?}"),
        }
    }

    fn standings(&mut self, host: HostId) -> [Standing; 2] {
        match self.outputs(host, Input::Standings { ticket: Ticket::new(1) }).pop() {
            Some(Output::Standings { standings, .. }) => standings,
            other => panic!("{other:?}"),
        }
    }
}
