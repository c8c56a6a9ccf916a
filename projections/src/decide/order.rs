//! The order of decision: of everything that is held about an address, what decides.
//!
//! ```text
//!  never-block ─> lists ─> narrow-block ─> block ─> permanent ─> accept
//! ```
//!
//! One pure function. [`super::Model::verdict`] asks it of the fold that rules are judged against, the firewall's plan follows
//! that verdict, and an explanation asks it of the read models and gets the steps that were passed as well. What decides first
//! decides alone, with one exception that is none: a soft block yields to the permanent one behind it, which drops more.

use std::fmt;

use ipnet::IpNet;
use log_format::event::Sanction;
use log_format::time::Timestamp;

use super::Verdict;
use crate::address::Untouchable;

/// A step of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Addresses that are never blocked: special ones, and those of the cluster's hosts.
    NeverBlock,
    /// What persons allow and deny: the longest prefix holds; of equals the allowance.
    Lists,
    /// One port of the address.
    NarrowBlock,
    /// The address, or a network that holds it, for a time.
    Block,
    /// For good, because it was blocked too often.
    Permanent,
    /// Nothing is held against it.
    Accept,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 6] =
        [Self::NeverBlock, Self::Lists, Self::NarrowBlock, Self::Block, Self::Permanent, Self::Accept];

    /// The name in API and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeverBlock => "never-block",
            Self::Lists => "lists",
            Self::NarrowBlock => "narrow-block",
            Self::Block => "block",
            Self::Permanent => "permanent",
            Self::Accept => "accept",
        }
    }
}

/// Everything that is held about an address at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Why it is never blocked.
    pub never: Option<Untouchable>,
    /// The live allowance with the longest prefix, and its end.
    pub allowed: Option<(IpNet, Option<Timestamp>)>,
    /// The longest network that a person denies.
    pub denied: Option<IpNet>,
    /// What is held about its ports.
    pub ports: HeldPorts,
    /// The strongest live block of the address, or of a network that holds it.
    pub block: Option<HeldBlock>,
    /// What is denied because it was blocked too often.
    pub permanent: Option<IpNet>,
}

/// What is held about the ports of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldPorts {
    /// The strongest live block of the port that is asked about, if one is.
    pub asked: Option<HeldBlock>,
    /// Ports with live blocks, without the one that is asked about.
    pub others: usize,
}

/// A live block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBlock {
    /// What it drops.
    pub network: IpNet,
    /// How much.
    pub sanction: Sanction,
    /// Until when.
    pub until: Timestamp,
}

/// Why a step does not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// It is nobody who is never blocked.
    NotProtected,
    /// No person's list has it.
    OnNoList,
    /// No port of it is blocked.
    NoNarrowBlock,
    /// So many ports of it are blocked, not the one asked about and not the others.
    OtherPorts(usize),
    /// Neither it nor a network that holds it is blocked for a time.
    NoBlock,
    /// A soft block, behind which stands a permanent one.
    WeakerThanPermanent,
    /// It was not blocked too often.
    NotPermanent,
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotProtected => f.write_str("it is no address of this cluster and no special one"),
            Self::OnNoList => f.write_str("nobody has allowed or denied it"),
            Self::NoNarrowBlock => f.write_str("none of its ports is blocked"),
            Self::OtherPorts(1) => f.write_str("one of its ports is blocked, the others are not"),
            Self::OtherPorts(count) => write!(f, "{count} of its ports are blocked, the others are not"),
            Self::NoBlock => f.write_str("it is not blocked for a time"),
            Self::WeakerThanPermanent => f.write_str("its soft block is weaker than its permanent one"),
            Self::NotPermanent => f.write_str("it is not blocked for good"),
        }
    }
}

/// What holds for an address, and how that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// What holds.
    pub verdict: Verdict,
    /// The step that decides.
    pub step: Step,
    /// The steps before it, in order, and why each did not decide.
    pub passed: Vec<(Step, Passed)>,
}

/// What holds.
pub fn verdict(held: &Held) -> Verdict {
    walk(held, |_, _| {}).1
}

/// What holds, and how that was found.
pub fn ruling(held: &Held) -> Ruling {
    let mut passed = Vec::new();
    let (step, verdict) = walk(held, |step, why| passed.push((step, why)));
    Ruling { verdict, step, passed }
}

fn walk(held: &Held, mut pass: impl FnMut(Step, Passed)) -> (Step, Verdict) {
    for step in Step::ALL {
        match weigh(step, held) {
            Ok(verdict) => return (step, verdict),
            Err(why) => pass(step, why),
        }
    }
    (Step::Accept, Verdict::Free)
}

fn weigh(step: Step, held: &Held) -> Result<Verdict, Passed> {
    match step {
        Step::NeverBlock => held.never.map(Verdict::Untouchable).ok_or(Passed::NotProtected),
        Step::Lists => lists(held).ok_or(Passed::OnNoList),
        Step::NarrowBlock => match held.ports {
            HeldPorts { asked: Some(block), others: _ } => Ok(of_block(block)),
            HeldPorts { asked: None, others: 0 } => Err(Passed::NoNarrowBlock),
            HeldPorts { asked: None, others } => Err(Passed::OtherPorts(others)),
        },
        Step::Block => match (held.block, held.permanent) {
            (None, _) => Err(Passed::NoBlock),
            (Some(block), Some(_)) if block.sanction <= Sanction::SoftBlock => {
                Err(Passed::WeakerThanPermanent)
            }
            (Some(block), _) => Ok(of_block(block)),
        },
        Step::Permanent => {
            held.permanent.map(|network| Verdict::Denied { network }).ok_or(Passed::NotPermanent)
        }
        Step::Accept => Ok(Verdict::Free),
    }
}

fn lists(held: &Held) -> Option<Verdict> {
    match (held.allowed, held.denied) {
        (Some((network, until)), denied)
            if denied.is_none_or(|denied| denied.prefix_len() <= network.prefix_len()) =>
        {
            Some(Verdict::Allowed { network, until })
        }
        (_, Some(network)) => Some(Verdict::Denied { network }),
        (_, None) => None,
    }
}

fn of_block(HeldBlock { network: _, sanction, until }: HeldBlock) -> Verdict {
    if sanction <= Sanction::SoftBlock { Verdict::SoftBlocked { until } } else { Verdict::Blocked { until } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drops(verdict: Verdict) -> bool {
        match verdict {
            Verdict::Denied { .. } | Verdict::Blocked { .. } | Verdict::SoftBlocked { .. } => true,
            Verdict::Untouchable(_) | Verdict::Allowed { .. } | Verdict::Free => false,
        }
    }

    fn network() -> impl Strategy<Value = IpNet> {
        (8..=32_u8).prop_map(|length| format!("192.0.2.1/{length}").parse::<IpNet>().unwrap().trunc())
    }

    fn block() -> impl Strategy<Value = HeldBlock> {
        let sanction = prop::sample::select(vec![Sanction::SoftBlock, Sanction::Block]);
        (network(), sanction, 1..100_u64).prop_map(|(network, sanction, until)| HeldBlock {
            network,
            sanction,
            until: Timestamp::from_seconds(until),
        })
    }

    prop_compose! {
        fn held()(
            never in prop::option::weighted(0.2, Just(Untouchable::Loopback)),
            allowed in prop::option::of(network()),
            denied in prop::option::of(network()),
            asked in prop::option::of(block()),
            others in 0..3_usize,
            block in prop::option::of(block()),
            permanent in prop::option::of(network()),
        ) -> Held {
            let ports = HeldPorts { asked, others };
            Held { never, allowed: allowed.map(|network| (network, None)), denied, ports, block, permanent }
        }
    }

    proptest! {
        #[test]
        fn who_is_never_blocked_is_never_dropped(held in held()) {
            let never = Some(Untouchable::Multicast);
            let held = Held { never, ..held };
            prop_assert!(!drops(verdict(&held)));
        }

        #[test]
        fn the_longest_prefix_holds_and_of_equals_the_allowance(held in held()) {
            let held = Held { never: None, ..held };
            match (held.allowed, held.denied) {
                (None, None) => {}
                (Some(_), None) => prop_assert!(!drops(verdict(&held))),
                (None, Some(_)) => prop_assert!(drops(verdict(&held))),
                (Some((allowed, _)), Some(denied)) => {
                    prop_assert_eq!(drops(verdict(&held)), allowed.prefix_len() < denied.prefix_len());
                }
            }
        }

        #[test]
        fn a_narrow_block_drops_its_port_only(held in held()) {
            let free = Held { never: None, allowed: None, denied: None, block: None, permanent: None, ..held };
            prop_assert_eq!(drops(verdict(&free)), held.ports.asked.is_some());
        }

        #[test]
        fn nothing_held_is_nothing_dropped_and_a_permanent_block_is_not_made_softer(held in held()) {
            prop_assert_eq!(verdict(&Held::default()), Verdict::Free);
            let plain = Held { never: None, allowed: None, ports: HeldPorts::default(), ..held };
            if plain.permanent.is_some() {
                let is_soft = matches!(verdict(&plain), Verdict::SoftBlocked { .. } | Verdict::Free);
                prop_assert!(!is_soft);
            }
        }

        #[test]
        fn a_ruling_is_the_verdict_with_every_step_before_it(held in held()) {
            let ruling = ruling(&held);
            prop_assert_eq!(ruling.verdict, verdict(&held));
            let passed: Vec<Step> = ruling.passed.iter().map(|(step, _)| *step).collect();
            let before: Vec<Step> = Step::ALL.into_iter().take_while(|step| *step < ruling.step).collect();
            prop_assert_eq!(passed, before);
        }
    }
}
