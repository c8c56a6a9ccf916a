//! Hosts come and go.

use super::*;

#[test]
fn a_leader_that_is_removed_gives_way_though_a_host_that_is_called_active_is_dead() {
    let mut cluster = Cluster::led([ONE, TWO, THREE]);
    let old = cluster.leader();
    let mut others = [ONE, TWO, THREE].into_iter().filter(|host| *host != old);
    let (dead, heir) = (others.next().expect("two follow"), others.next().expect("two follow"));
    cluster.cut.insert(dead);
    let by = Actor::Administrator(Text::new(b"ana"));
    let outcome = cluster.submit(old, id(1), CommandBody::RemoveHost { host: old, by });
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    cluster.pass(Duration::from_secs(30));
    assert_eq!(cluster.node(heir).consensus().role, Role::Leader);
    assert_eq!(cluster.node(heir).consensus().voters, [heir]);
    let outcome = cluster.submit(heir, id(2), block("192.0.2.1"));
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
}

#[test]
fn a_refusal_waits_for_what_it_rests_on_also_behind_a_change_of_members() {
    let mut cluster = Cluster::led([ONE]);
    let now = at(cluster.now + TICK);
    let peer = Some("127.0.0.1:1".parse().expect("an address"));
    let KnownHost { host, name, addresses } = known(TWO);
    let name = Text::new(name.as_bytes());
    let outcome = cluster.submit(ONE, id(1), CommandBody::EnrolHost { host, name, addresses, peer });
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    let node = &mut cluster.hosts.get_mut(&ONE).expect("the host exists").node;
    let mut turn = |input: Input| {
        let mut outputs = Vec::new();
        node.handle_all([input], now, &mut outputs);
        outputs
    };
    let written = |outputs: Vec<Output>| -> (u64, EntryKind) {
        let job = outputs.into_iter().find_map(|output| {
            let Output::Persist(job) = output else { return None };
            (!job.entries.is_empty()).then_some(job)
        });
        let job = job.expect("something is written");
        (job.number, job.entries.first().expect("an entry").kind)
    };
    let refused = |outputs: &[Output]| {
        let is_refused =
            |output: &Output| matches!(output, Output::Reply { outcome: Outcome::Rejected(_), .. });
        outputs.iter().any(is_refused)
    };
    let (change, kind) = written(turn(Input::Tick));
    assert_eq!(kind, EntryKind::ConfChange);
    // One changes the settings of version 0, and so does another; the log still writes the change of members.
    for ticket in [2, 3] {
        let by = Actor::Administrator(Text::new(b"ana"));
        let changes = vec![log_format::event::SettingChange::BlockSeconds(vec![u64::from(ticket) * 60])];
        let body = CommandBody::ChangeSettings { expected_version: 0, changes, by };
        let input = Input::Submit { ticket: Ticket::new(ticket.into()), id: id(ticket), body };
        assert!(!refused(&turn(input)));
    }
    let outputs = turn(Input::Persisted { number: change });
    assert!(!refused(&outputs), "the one is not even proposed: {outputs:?}");
    let (settings, kind) = written(outputs);
    assert_eq!(kind, EntryKind::Normal);
    assert!(refused(&turn(Input::Persisted { number: settings })));
}
