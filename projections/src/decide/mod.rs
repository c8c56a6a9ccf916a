//! Decisions: commands become events, or are refused. Only the leader decides; every host folds what was decided.
//!
//! What can become of an address:
//!
//! ```text
//!                 unproven attack                 proven attack
//!        ┌──────┐ ──────────────> ┌────────────┐ ─────────────> ┌─────────┐
//!   ┌──> │ free │                 │ soft-block │                │  block  │
//!   │    └──────┘ ──────────────────────────────────────────────> └─────────┘
//!   │      ^  │            proven attack, person                  │   │ ^
//!   │      │  │                                                   │   │ │ expired, then a proven attack:
//!   │      └──┼───────── expired, person's release ───────────────┘   │ │ the next, longer step
//!   │         │                                                       v │
//!   │         │ person                        ┌────────┐ <─── threshold passed within 30 days
//!   │         └─────────────────────────────> │ denied │
//!   └────────── person's release ──────────── └────────┘
//!
//!   allowed (person) and never blocked (built in, the cluster's hosts) stand before all of these: an address that comes
//!   under an allowance leaves its blocks behind, and attacks from it are only written down.
//! ```

mod addresses;
mod aged;
mod authorities;
pub mod chapters;
mod command;
mod dedupe;
mod denylist;
mod escalation;
mod hosts;
mod model;
pub mod order;
mod presets;
mod rejection;
mod seen;
mod settings;
mod strikes;
#[cfg(test)]
mod tests;
mod tokens;

use log_format::event::{
    AuthorityAdded, AuthorityRetired, DenyReason, Event, HostInactive, HostRemoved, JoinTokenRevoked,
    SettingsChanged,
};
use log_format::ids::LogIndex;
use log_format::time::Timestamp;

pub use addresses::{HISTORY, MAX_ALLOWED, MAX_DENIED, MAX_HISTORIES};
pub use authorities::{Authority, MAX_AUTHORITIES, MAX_AUTHORITIES_EVER, MAX_CERTIFICATE_BYTES};
pub use chapters::{Chapter, ChapterLimits, Chapters, LogStats, MAX_CHAPTERS};
pub use command::{BlockItem, Command, CommandBody, HOUSEKEEPING, MAX_BATCH, Necessity, block_id};
pub use dedupe::{MAX_ORIGINS, MAX_REMEMBERED, REMEMBERED_FOR};
pub use denylist::{MAX_RELEASES, SHORTEST_V4_PREFIX, SHORTEST_V6_PREFIX};
pub use escalation::{JITTER_PERMILLE, LONGEST_SLIDE, NARROW_SECONDS, SOFT_BLOCK_SECONDS};
pub use hosts::{HostState, MAX_ADDRESSES_OF_HOST, MAX_HOSTS, Member};
pub use model::{Model, Overflows, Verdict};
pub use presets::Preset;
pub use rejection::{Refusal, Rejection};
pub use settings::{
    MAX_BAD_REGISTRATIONS, MAX_BLOCK_SECONDS, MAX_BLOCK_STEPS, MAX_BLOCK_THRESHOLD, MAX_PORT_RANGES,
    MAX_USER_AGENTS, MIN_BLOCK_SECONDS, Settings,
};
pub use strikes::{MAX_STRIKING_SOURCES, STRIKE_WINDOW};
pub use tokens::{JoinToken, MAX_TOKEN_SECONDS, MAX_TOKENS, TokenState};

pub(crate) use addresses::{DeniedBy, lasts};
pub(crate) use tokens::Tokens;

/// What became of a command that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It makes these facts happen, in order, all or none. There may be none: then the world already was as
    /// it wished.
    Events(Vec<Event>),
    /// It took effect before.
    AlreadyApplied {
        /// A log index at or after that effect: who has applied it sees the effect.
        index: LogIndex,
    },
}

/// Judges a command against the fold of everything before it. Changes nothing.
///
/// `now` is the leader's clock; the events carry [`Model::next_accepted_at`] of it, and so must the entry's envelope.
pub fn decide(model: &Model, command: &Command, now: Timestamp) -> Result<Decision, Rejection> {
    if let Some(index) = model.dedupe.applied_at(command.id, &command.origin) {
        return Ok(Decision::AlreadyApplied { index });
    }
    let at = model.next_accepted_at(now);
    events_of(model, command, at).map(Decision::Events)
}

fn events_of(model: &Model, command: &Command, at: Timestamp) -> Result<Vec<Event>, Rejection> {
    let id = command.block_id();
    let seen = denylist::Sighting { host: command.origin.host, at: command.observed_at };
    match command.body.clone() {
        CommandBody::ReportAttack(observed) => Ok(denylist::report_attack(model, observed, (id, seen), at)),
        CommandBody::CountStrikes(counted) => Ok(denylist::count_strikes(model, counted, (id, seen), at)),
        CommandBody::Note(noted) => Ok(denylist::note(noted)),
        CommandBody::BlockAddress { source, seconds, note, by } => {
            denylist::block(model, BlockItem { source, seconds, note }, (id, 0), by, at)
        }
        CommandBody::BlockAddresses { items, by } => denylist::block_all(model, items, command.id, &by, at),
        CommandBody::DenyAddress { network, note, by } => {
            denylist::deny(model, network, DenyReason::Manual { by, note }, at)
        }
        CommandBody::AllowAddress { network, seconds, note, by } => {
            denylist::allow(model, network, seconds, (note, by), at)
        }
        CommandBody::UnblockAddress { source, allow_seconds, by } => {
            denylist::unblock(model, source, allow_seconds, by, at)
        }
        CommandBody::ChangeSettings { expected_version, changes, by } => {
            settings::change(&model.settings, expected_version, SettingsChanged { by, changes })
        }
        CommandBody::EnrolHost { host, name, addresses, peer } => {
            hosts::enrol(model, (host, name), addresses, peer, at)
        }
        CommandBody::JoinHost { token, name, addresses, peer } => {
            hosts::join(model, hosts::Joining { token, name, addresses, peer }, at)
        }
        CommandBody::MarkHostActive { host } => hosts::mark_active(model, host),
        CommandBody::MarkHostInactive { host, last_heard } => {
            hosts::mark_inactive(model, HostInactive { host, last_heard })
        }
        CommandBody::RemoveHost { host, by } => hosts::remove(model, HostRemoved { host, by }),
        CommandBody::TransferLeadership { to } => hosts::transfer(model, to),
        CommandBody::IssueJoinToken { token, verifier, role, seconds, by } => {
            tokens::issue(model, (token, verifier, role), seconds, by, at)
        }
        CommandBody::RevokeJoinToken { token, by } => tokens::revoke(model, JoinTokenRevoked { token, by }),
        CommandBody::AddAuthority { certificate, by } => {
            authorities::add(model, AuthorityAdded { certificate, by })
        }
        CommandBody::RetireAuthority { key_hash, by } => {
            authorities::retire(model, AuthorityRetired { key_hash, by })
        }
        CommandBody::AnnounceKey(announced) => hosts::announce_key(model, &command.origin, announced),
        CommandBody::DropSpool(dropped) => hosts::drop_spool(model, &command.origin, dropped),
        CommandBody::CutChapter { last } => chapters::cut(model, last),
        CommandBody::SealChapter(sealed) => chapters::seal(model, sealed),
        CommandBody::WitnessSeal(witnessed) => {
            hosts::is_member_itself(model, &command.origin, witnessed.host)?;
            chapters::witness(model, witnessed)
        }
        CommandBody::RollUpAttacks { chapter, counts } => chapters::roll_up(model, chapter, counts),
        CommandBody::CutRetention { chapter, by } => chapters::erase(model, chapter, by, at),
        CommandBody::ExpireBlocks => Ok(denylist::expire(model, at)),
    }
}
