//! What a stopped host's log says, read without running it; and the entries that a recovery adds to it.

#![expect(clippy::disallowed_methods, reason = "offline work draws ids and reads the clock itself")]

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use consensus::core::members_after;
use log_format::chapter;
use log_format::disk::StdDisk;
use log_format::envelope::{Envelope, Recorded};
use log_format::event::{Actor, Event, Text};
use log_format::history::History;
use log_format::ids::{CommandId, HostId, Incarnation, LogIndex, Origin, OriginSequence, Salt, Term};
use log_format::time::Timestamp;
use log_format::verify;
use log_format::wal::{
    self, Batch, ConfState, Durability, EntryKind, FileStamp, HardState, LogEntry, LogPosition, Stamps, Wal,
    WalIdentity, WalOptions, WalReader, WalSetup,
};
use projections::decide::Model;

use crate::runtime;

/// Who orders a recovery: whoever may write to the host's files.
const OPERATOR: &[u8] = b"operator of the host";

/// The fold of a whole log.
pub(super) struct Past {
    pub(super) model: Model,
    /// Who takes part once every entry is applied.
    pub(super) members: ConfState,
}

impl Past {
    /// Folds chapters and log, entry by entry, committed or not.
    pub(super) fn fold(data: &std::path::Path, log: &WalReader<StdDisk>) -> anyhow::Result<Self> {
        let history = History::new(Arc::new(StdDisk), data, log.clone());
        let seals = history.seals()?;
        let (sealed, mut members) = match seals.last() {
            Some(seal) => (seal.last.index, seal.members.clone()),
            None => {
                let founders = wal::beginning(&StdDisk, data)?;
                (LogIndex::default(), founders.map(|(_, founders)| founders).unwrap_or_default())
            }
        };
        let mut model = Model::default();
        for entry in history.iter(LogIndex::new(1), log.last().index.next()) {
            let entry =
                entry.context("read the log; a start repairs what is damaged, if another host has it")?;
            if let Some(envelope) =
                verify::decode(&entry).with_context(|| format!("entry {}", entry.index))?
            {
                model.evolve(entry.index, &envelope);
            }
            if sealed < entry.index {
                members = members_after(members, &entry);
            }
        }
        Ok(Self { model, members })
    }
}

/// When the last command of the log itself was accepted.
pub(super) fn last_accepted(data: &std::path::Path, log: &WalReader<StdDisk>) -> anyhow::Result<Timestamp> {
    let mut last = chapter::seals(&StdDisk, data)?.last().map_or(Timestamp::ZERO, |seal| seal.last_accepted);
    for entry in log.iter(log.first_index(), log.last().index.next()) {
        if let Some(envelope) = verify::decode(&entry?)? {
            last = last.max(envelope.accepted_at);
        }
    }
    Ok(last)
}

/// One entry with these events, ordered by whoever runs this, behind everything accepted so far.
pub(super) fn entry(
    (at, host): (LogPosition, HostId),
    after: Timestamp,
    events: Vec<Event>,
) -> anyhow::Result<LogEntry> {
    let now = now();
    let accepted_at = now.max(Timestamp::from_nanos(after.nanos().saturating_add(1)));
    let recorded = |event| Recorded { observed_at: now, salt: Salt::default(), event };
    let envelope = Envelope {
        command: CommandId::new(runtime::random()?),
        origin: Origin { host, incarnation: Incarnation::new(1), sequence: OriginSequence::new(0) },
        accepted_at,
        events: events.into_iter().map(recorded).collect(),
    };
    Ok(LogEntry { index: at.index, term: at.term, kind: EntryKind::Normal, data: envelope.encode()? })
}

/// Writes entries behind all others, as committed: this host alone says what is. With members, those are in force.
pub(super) fn commit(
    wal: &mut Wal<StdDisk>,
    (host, term): (HostId, Term),
    entries: &[LogEntry],
    conf_state: Option<&ConfState>,
) -> anyhow::Result<LogIndex> {
    let last = entries.last().ok_or_else(|| anyhow!("nothing to write"))?.index;
    let hard_state = HardState { term, vote: Some(host), commit: last };
    wal.append(&Batch { hard_state, entries, conf_state, durability: Durability::Sync })?;
    Ok(last)
}

pub(super) fn operator() -> Actor {
    Actor::Administrator(Text::new(OPERATOR))
}

pub(super) fn setup(identity: WalIdentity) -> WalSetup {
    WalSetup { identity, options: WalOptions::default(), stamps: stamps() }
}

pub(super) fn stamps() -> Stamps {
    Box::new(|| FileStamp {
        nonce: runtime::random().map(u64::from_le_bytes).unwrap_or_default(),
        created_at: now(),
    })
}

pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
