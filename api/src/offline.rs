//! What the API would show of read models that no host serves, such as those of a log that was folded by a tool: the same
//! names and shapes.

use std::net::IpAddr;

use log_format::ids::{ClusterId, HostId, LogIndex, Term};
use log_format::time::Timestamp;
use projections::decide::HostState;
use projections::read::{AllowedRow, HostRow, ReadModels};
use serde::Serialize;
use serde_json::{Value, json};

use crate::dto::attack::Attack;
use crate::dto::block::{Block, Facts, Surroundings, actor_name, address_text};
use crate::dto::explanation::{Explained, Note};
use crate::dto::membership::JoinToken;
use crate::dto::settings::FirewallSettings;
use crate::dto::shown;
use crate::dto::summary::Summary;
use crate::ports::{ClusterView, FirewallMode, FirewallView, HostStatus, HostView, Role};

/// The read models that [`view`] knows.
pub const VIEWS: [&str; 9] =
    ["summary", "blocks", "allowed", "attacks", "notes", "history", "hosts", "settings", "join-tokens"];

/// One read model as it was at `now`: an object, or `items` of a list; `None` if no read model has this name.
pub fn view(name: &str, views: &ReadModels, now: Timestamp) -> Option<serde_json::Result<Value>> {
    let cluster = cluster(views);
    let threshold = views.settings.current().block_threshold;
    let around = Surroundings { threshold, view: &cluster };
    Some(match name {
        "summary" => serde_json::to_value(Summary::new(views, &cluster, now)),
        "blocks" => list(views.denylist.rows(now).map(|row| Block::new(Facts::of_row(&row), around))),
        "allowed" => list(views.denylist.allowed(now).map(|(network, row)| allowed(network, row))),
        "attacks" => list(views.attacks.newest_first(now).map(|row| Attack::new(row, &cluster))),
        "notes" => list(views.notes.newest_first(now).map(|row| Note::new(row, &cluster))),
        "history" => list(views.history.counts().map(|count| {
            let (day, host) = (count.day.to_string(), count.host.to_string());
            json!({ "day": day, "host": host, "type": count.attack.name(), "count": count.count })
        })),
        "hosts" => list(views.hosts.rows().map(host)),
        "settings" => serde_json::to_value(FirewallSettings::from(views.settings.current())),
        "join-tokens" => list(views.tokens.open(now).map(|(token, open)| JoinToken::new(token, open))),
        _ => return None,
    })
}

/// Why an address was dropped at `now`, or why not: as `GET /ip/{address}` answers.
pub fn explain(
    views: &ReadModels,
    (address, port): (IpAddr, Option<u16>),
    now: Timestamp,
) -> serde_json::Result<Value> {
    let cluster = cluster(views);
    let around = Surroundings { threshold: views.settings.current().block_threshold, view: &cluster };
    let explained = (&views.explain(address, port, now), None);
    serde_json::to_value(Explained::new(explained, views.applied().get(), around))
}

fn list<T: Serialize>(items: impl Iterator<Item = T>) -> serde_json::Result<Value> {
    let items = items.map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "total": items.len(), "items": items }))
}

fn allowed(network: ipnet::IpNet, row: &AllowedRow) -> Value {
    let AllowedRow { since, until, by, note, log_index } = row;
    json!({
        "address": address_text(network),
        "since": since.to_string(),
        "until": until.map(|until| until.to_string()),
        "by": actor_name(by),
        "note": shown(note),
        "log_index": log_index.get(),
    })
}

/// A host as the log has it: what it does at this very moment no log says.
fn host(row: &HostRow) -> Value {
    let HostRow { host, name, addresses, peer, role, token: _, state, since, log_index } = row;
    let status = match state {
        HostState::Active => "active",
        HostState::Inactive { .. } => "inactive",
        HostState::Removed => "removed",
    };
    json!({
        "id": host.to_string(),
        "name": shown(name),
        "address": peer.map(|peer| peer.to_string()),
        "own_addresses": addresses,
        "role": role.name(),
        "status": status,
        "since": since.to_string(),
        "log_index": log_index.get(),
    })
}

/// The names of the hosts, and nothing of what they do.
fn cluster(views: &ReadModels) -> ClusterView {
    let host = |row: &HostRow| HostView {
        id: row.host,
        name: row.name.visible(),
        address: row.peer,
        role: Role::Unknown,
        status: HostStatus::Unknown,
        last_heard: None,
        applied: None,
        commit: None,
        enforced: None,
        firewall: FirewallView { mode: FirewallMode::Unknown, reason: String::new() },
        sensor: None,
        version: String::new(),
        kernel: String::new(),
        authority: None,
        clock_offset_ms: None,
    };
    ClusterView {
        cluster: ClusterId::new([0; 16]),
        this: HostId::new(0),
        leader: None,
        is_removed: false,
        term: Term::new(0),
        commit: LogIndex::default(),
        applied: views.applied(),
        staleness: std::time::Duration::ZERO,
        authorities: Vec::new(),
        provisional_blocks: 0,
        hosts: views.hosts.rows().map(host).collect(),
    }
}
