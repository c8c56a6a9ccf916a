//! Envelopes of random events: they decode to what was encoded, and no damage makes a decoder panic or lie.
#![expect(clippy::expect_used, reason = "helpers of tests")]

#[path = "samples/events.rs"]
mod events;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use log_format::envelope::{Envelope, Recorded};
use log_format::event::{
    AttackEvent, AttackKind, AttackObserved, Event, Evidence, Rule, Sanction, Scope, StrikeDelta,
    StrikesCounted, Text,
};
use log_format::ids::{CommandId, HostId, Incarnation, Origin, OriginSequence, Salt};
use log_format::time::Timestamp;
use proptest::prelude::*;

proptest! {
    #[test]
    fn an_envelope_decodes_to_what_was_encoded(envelope in envelope()) {
        let bytes = envelope.encode().unwrap();
        prop_assert_eq!(&Envelope::decode(&bytes).unwrap(), &envelope);
        prop_assert_eq!(envelope.encode().unwrap(), bytes);
    }

    #[test]
    fn a_shortened_envelope_is_refused(envelope in envelope(), cut: prop::sample::Index) {
        let bytes = envelope.encode().unwrap();
        prop_assert!(Envelope::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_damaged_envelope_never_panics_and_stays_within_its_bytes(
        envelope in envelope(),
        bits in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        more in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = envelope.encode().unwrap();
        for bit in bits {
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes.extend(more);
        // Damage may still be an envelope, of the same length or a shorter form of it: its checksum lies a layer below.
        if let Ok(decoded) = Envelope::decode(&bytes) {
            prop_assert!(decoded.encode().unwrap().len() <= bytes.len());
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Envelope::decode(&bytes);
        let mut headed = vec![1, 0];
        headed.extend(bytes);
        let _ = Envelope::decode(&headed);
    }
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let origin =
        (any::<u64>(), any::<u32>(), any::<u64>()).prop_map(|(host, incarnation, sequence)| Origin {
            host: HostId::new(host),
            incarnation: Incarnation::new(incarnation),
            sequence: OriginSequence::new(sequence),
        });
    let events = prop::collection::vec(recorded(), 0..6);
    (any::<[u8; 16]>(), origin, any::<u64>(), events).prop_map(|(command, origin, accepted_at, events)| {
        Envelope {
            command: CommandId::new(command),
            origin,
            accepted_at: Timestamp::from_nanos(accepted_at),
            events,
        }
    })
}

fn recorded() -> impl Strategy<Value = Recorded> {
    (event(), any::<u64>(), any::<[u8; 16]>()).prop_map(|(event, observed_at, salt)| Recorded {
        observed_at: Timestamp::from_nanos(observed_at),
        salt: if event.kind().class().is_erasable() { Salt::new(salt) } else { Salt::default() },
        event,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let samples: Vec<Event> = events::events().into_iter().map(|(_, event)| event).collect();
    prop_oneof![prop::sample::select(samples), observed(), strikes()]
}

fn observed() -> impl Strategy<Value = Event> {
    let ends = (address(), any::<u16>(), address(), any::<u16>());
    let verdict = (
        prop::sample::select(AttackKind::ALL.to_vec()),
        prop::sample::select(Rule::ALL.to_vec()),
        prop::sample::select(vec![Evidence::Unproven, Evidence::Proven, Evidence::Corroborated]),
        prop::sample::select(vec![Sanction::Observe, Sanction::SoftBlock, Sanction::Permanent]),
    );
    let agent = (prop::collection::vec(any::<u8>(), 0..300), any::<bool>(), any::<u32>());
    (ends, verdict, agent).prop_map(
        |(
            (source, source_port, victim, victim_port),
            (attack, rule, evidence, sanction),
            (agent, known, count),
        )| {
            Event::Attack(AttackEvent::Observed(AttackObserved {
                source,
                source_port,
                victim,
                victim_port,
                attack,
                rule,
                evidence,
                sanction,
                user_agent: Text::new(&agent),
                known_user_agent: known,
                count,
                scope: Scope::AddressPort(source_port),
                account: Text::new(&agent),
                line: Text::new(&agent),
            }))
        },
    )
}

fn strikes() -> impl Strategy<Value = Event> {
    let delta = (address(), prop::sample::select(Rule::ALL.to_vec()), any::<u32>(), any::<u32>())
        .prop_map(|(source, rule, proven, unproven)| StrikeDelta { source, rule, proven, unproven });
    prop::collection::vec(delta, 0..StrikesCounted::MAX_DELTAS)
        .prop_map(|deltas| Event::Attack(AttackEvent::StrikesCounted(StrikesCounted { deltas })))
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
    ]
}
