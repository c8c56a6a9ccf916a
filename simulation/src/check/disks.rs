//! What lies on the disks of hosts that have come to rest: whole and equal chapters, and nothing that was erased.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use log_format::chapter;
use log_format::event::AttackEvent;
use log_format::event::Event;
use log_format::ids::{ChapterNumber, HostId};
use log_format::merkle::Hash;
use log_format::verify;
use palisade::witness;

use super::ledger::Ledger;
use super::{Checker, Violation, ensure};
use crate::host::Host;
use crate::workload::{CANARY, ObservationNumber};

/// What signatures were found to be: every disk has the same.
type Signed = BTreeMap<(([u8; 32], Hash), Vec<u8>), bool>;

/// Reads every disk as `palisade log verify` does, and compares the seals.
pub(super) fn look(hosts: &[(HostId, &Host)]) -> Result<(), Violation> {
    let signed = std::cell::RefCell::new(Signed::new());
    let check = |key: &[u8; 32], hash: &Hash, signature: &[u8]| {
        let known = ((*key, *hash), signature.to_vec());
        *signed.borrow_mut().entry(known).or_insert_with(|| witness::is_signed(key, hash, signature))
    };
    let mut chain: Vec<Hash> = Vec::new();
    for (id, host) in hosts {
        let (disk, data) = host.drive.place();
        let report = disk.looked_through(|| verify::verify(disk, data, &check)).map_err(|error| {
            Violation::new(Checker::Chapters, format!("host {id}'s disk cannot be verified: {error}"))
        })?;
        ensure(report.is_sound(), Checker::Chapters, || format!("host {id}'s disk: {:?}", report.problems))?;
        let seals = disk
            .looked_through(|| chapter::seals(disk, data))
            .map_err(|error| Violation::new(Checker::Chapters, format!("host {id}'s seals: {error}")))?;
        for (place, seal) in seals.iter().enumerate() {
            let hash = seal.hash();
            match chain.get(place) {
                Some(known) => ensure(*known == hash, Checker::Chapters, || {
                    format!("host {id} sealed chapter {} otherwise than others", seal.chapter)
                })?,
                None => chain.push(hash),
            }
        }
    }
    Ok(())
}

/// Looks at every byte of every disk for attacks that the log says are erased.
pub(super) fn look_for_erased(ledger: &Ledger, hosts: &[(HostId, &Host)]) -> Result<u64, Violation> {
    let Some((upto, last)) = ledger.erased_upto() else { return Ok(0) };
    let mut erased = BTreeSet::new();
    for envelope in ledger.envelopes_upto(last) {
        for recorded in &envelope.events {
            if let Event::Attack(AttackEvent::Observed(attack)) = &recorded.event {
                erased.extend(ObservationNumber::of_attack(attack));
            }
            if let Event::Attack(AttackEvent::Noted(noted)) = &recorded.event {
                erased.extend(ObservationNumber::of_text(&noted.user_agent.visible()));
            }
        }
    }
    for (id, host) in hosts {
        let (disk, data) = host.drive.place();
        let mut found = None;
        disk.look_at_images(|path, bytes| {
            if is_erased_file(path, data, upto) {
                found.get_or_insert_with(|| format!("{} is still there", path.display()));
            }
            if let Some(number) = canaries(bytes).find(|number| erased.contains(number)) {
                found.get_or_insert_with(|| format!("attack {} is still in {}", number.0, path.display()));
            }
        });
        ensure(found.is_none(), Checker::Erasure, || {
            format!("erased up to chapter {upto}, but on host {id}'s disk {}", found.unwrap_or_default())
        })?;
    }
    Ok(erased.len() as u64)
}

/// Attacks are compressed there, so the bytes do not show them.
fn is_erased_file(path: &Path, data: &Path, upto: ChapterNumber) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let of = |number: u64| chapter::directory_of(data, ChapterNumber::new(number));
    name.starts_with("attack.zst") && (1..=upto.get()).any(|number| path.parent() == Some(&of(number)))
}

/// The attacks whose texts stand somewhere in these bytes.
fn canaries(bytes: &[u8]) -> impl Iterator<Item = ObservationNumber> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let at = rest.iter().position(|byte| Some(byte) == CANARY.as_bytes().first())?;
            let here = rest.get(at..).unwrap_or_default();
            rest = here.get(1..).unwrap_or_default();
            let text = here.get(..CANARY.len() + 8).and_then(|text| std::str::from_utf8(text).ok());
            if let Some(number) = text.and_then(ObservationNumber::of_text) {
                return Some(number);
            }
        }
    })
}
