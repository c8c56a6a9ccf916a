//! The fold alone: how many events a second one core decodes and folds into everything that a host knows.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::Context;
use log_format::envelope::Envelope;
use log_format::event::{
    AttackKind, AttackObserved, Evidence, Rule, Sanction, Scope, StrikeDelta, StrikesCounted, Text,
};
use log_format::ids::{CommandId, HostId, Incarnation, LogIndex, Origin, OriginSequence, Salt};
use log_format::time::Timestamp;
use projections::decide::{self, Command, CommandBody, Decision, Model};
use projections::read::ReadModels;

use super::figure::{self, median, processor_time, rounded};

/// Strikes of one report, as a sensor sends them in a busy half second.
const STRIKES: u32 = 4;

/// Makes a log of so many events in memory, folds it in each round, and prints the median.
pub(super) fn run(events: usize, rounds: usize) -> anyhow::Result<()> {
    let log = log_of(events)?;
    let events: usize = log.iter().map(|(_, count)| count).sum();
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let spent = fold(&log)?;
        rates.push(f64::from(u32::try_from(events)?) / spent.as_secs_f64());
    }
    figure::print_of(
        "replay",
        "events-folded",
        [
            ("events", events.into()),
            ("entries", log.len().into()),
            ("per_second", rounded(median(&rates), 0)),
            ("rounds", rates.iter().map(|rate| rounded(*rate, 0)).collect()),
        ],
    );
    Ok(())
}

/// Decodes and folds every entry, as a host does when it starts.
fn fold(log: &[(Vec<u8>, usize)]) -> anyhow::Result<Duration> {
    let (mut model, mut views) = (Model::default(), ReadModels::default());
    let started = processor_time()?;
    for (index, (bytes, _)) in (1..).zip(log) {
        let envelope = Envelope::decode(bytes).context("decode an entry that was just encoded")?;
        model.evolve(LogIndex::new(index), &envelope);
        views.evolve(LogIndex::new(index), &envelope);
    }
    Ok(processor_time()?.saturating_sub(started))
}

/// Entries with the number of their events: what the rules make of attacks from ever new addresses and of strikes.
fn log_of(events: usize) -> anyhow::Result<Vec<(Vec<u8>, usize)>> {
    let (mut model, mut log, mut made) = (Model::default(), Vec::new(), 0);
    let mut number = 0_u32;
    while made < events {
        number += 1;
        let at = Timestamp::from_nanos(u64::from(number) * 1_000_000);
        let command = command(number, at);
        let decided = decide::decide(&model, &command, at).context("decide an observation")?;
        let Decision::Events(decided) = decided else { continue };
        let envelope = command.envelope(decided, at, &mut || Salt::new([0x5a; 16]));
        model.evolve(LogIndex::new(u64::from(number)), &envelope);
        made += envelope.events.len();
        log.push((envelope.encode()?, envelope.events.len()));
    }
    Ok(log)
}

fn command(number: u32, at: Timestamp) -> Command {
    let source = |number: u32| IpAddr::V4(Ipv4Addr::from(0x1400_0000 | number & 0x00ff_ffff));
    let body = if number.is_multiple_of(2) {
        CommandBody::ReportAttack(attack(source(number)))
    } else {
        let delta = |offset| StrikeDelta {
            source: source(number.wrapping_add(offset)),
            rule: Rule::BadRegistrations,
            proven: 1,
            unproven: 0,
        };
        CommandBody::CountStrikes(StrikesCounted { deltas: (0..STRIKES).map(delta).collect() })
    };
    let origin = Origin {
        host: HostId::new(1),
        incarnation: Incarnation::new(1),
        sequence: OriginSequence::new(u64::from(number)),
    };
    let mut id = [0; 16];
    id.iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
    Command { id: CommandId::new(id), origin, observed_at: at, body }
}

fn attack(source: IpAddr) -> AttackObserved {
    AttackObserved {
        source,
        source_port: 5_060,
        victim: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        victim_port: 5_060,
        attack: AttackKind::Register,
        rule: Rule::BadRegistrations,
        evidence: Evidence::Proven,
        sanction: Sanction::Block,
        user_agent: Text::new(b"friendly-scanner"),
        known_user_agent: true,
        count: 10,
        scope: Scope::Address,
        account: Text::default(),
        line: Text::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_that_is_folded_has_attacks_blocks_and_strikes() {
        let log = log_of(60).unwrap();
        let kinds = |bytes: &[u8]| {
            let events = Envelope::decode(bytes).unwrap().events;
            events.iter().map(|recorded| recorded.event.kind().name()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&log[0].0), ["StrikesCounted"]);
        assert_eq!(kinds(&log[1].0), ["AttackObserved", "AddressBlocked"]);
        assert!(fold(&log).is_ok());
    }
}
