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
