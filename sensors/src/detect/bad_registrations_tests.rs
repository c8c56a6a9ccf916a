use std::net::Ipv4Addr;

use super::*;

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn rule() -> BadRegistrations {
    BadRegistrations::new(&Policy::default(), Key::new([5; 16]))
}

fn at(milliseconds: u64) -> Timestamp {
    Timestamp::from_nanos(1_000_000_000_000 + milliseconds * 1_000_000)
}

fn struck(account: u64, strength: Strength) -> Struck {
    Struck { source: SOURCE, account, strength }
}

/// Strikes of these strengths, a second apart; what tipped, and at which strike, from 1.
fn tips(strengths: &[Strength]) -> Vec<(usize, Evidence, u32)> {
    let mut rule = rule();
    strengths
        .iter()
        .enumerate()
        .filter_map(|(number, strength)| {
            let tipped = rule.strike(struck(1, *strength), at(number as u64 * 1_000))?;
            Some((number + 1, tipped.evidence, tipped.count))
        })
        .collect()
}

#[test]
fn the_tenth_proven_strike_tips() {
    assert_eq!(tips(&[Strength::Proven; 9]), []);
    assert_eq!(tips(&[Strength::Proven; 30]), [(10, Evidence::Proven, 10)]);
}

#[test]
fn unproven_strikes_are_due_a_soft_block_only() {
    let mut rule = rule();
    let tipped = (0..10)
        .filter_map(|number| rule.strike(struck(1, Strength::Unproven), at(number)))
        .collect::<Vec<_>>();
    assert_eq!(tipped, [Tipped { evidence: Evidence::Unproven, count: 10, seconds: 300 }]);
}

#[test]
fn weak_strikes_count_half() {
    assert_eq!(tips(&[Strength::Weak; 19]), []);
    assert_eq!(tips(&[Strength::Weak; 25]), [(20, Evidence::Unproven, 20)]);
}

#[test]
fn proof_upgrades_an_unproven_verdict() {
    let strengths = [[Strength::Unproven; 10], [Strength::Proven; 10]].concat();
    assert_eq!(tips(&strengths), [(10, Evidence::Unproven, 10), (20, Evidence::Proven, 20)]);
}

#[test]
fn a_few_replayed_proofs_among_forged_strikes_prove_nothing() {
    let mut strengths = [Strength::Weak, Strength::Weak, Strength::Proven].repeat(40);
    strengths.truncate(60);
    assert!(tips(&strengths).iter().all(|(_, evidence, _)| *evidence == Evidence::Unproven));
}

#[test]
fn strikes_older_than_a_minute_do_not_count() {
    for (gap, expected) in [(6_667, None), (6_666, Some(Evidence::Proven))] {
        let mut rule = rule();
        let tipped = (0..100).find_map(|number| rule.strike(struck(1, Strength::Proven), at(number * gap)));
        assert_eq!(tipped.map(|tipped| tipped.evidence), expected, "every {gap} ms");
    }
}

#[test]
fn success_clears_its_account_and_no_other() {
    let mut rule = rule();
    for number in 0..9 {
        rule.strike(struck(1, Strength::Proven), at(number));
    }
    rule.success(SOURCE, 2, at(10));
    assert!(rule.strike(struck(1, Strength::Proven), at(11)).is_some());
    let mut rule = super::tests::rule();
    for number in 0..9 {
        rule.strike(struck(1, Strength::Proven), at(number));
    }
    rule.success(SOURCE, 1, at(10));
    assert_eq!(rule.sources(), 0);
    assert!(rule.strike(struck(1, Strength::Proven), at(11)).is_none());
    assert_eq!(rule.drain(at(5_000)).iter().map(|delta| delta.proven).sum::<u32>(), 1);
}

#[test]
fn an_attacker_is_reported_again_when_its_block_is_over() {
    let mut rule = rule();
    let tipped: Vec<u64> = (0..5_000)
        .filter(|second| rule.strike(struck(1, Strength::Proven), at(second * 1_000)).is_some())
        .collect();
    assert_eq!(tipped, [9, 3_609]);
}

#[test]
fn forged_sources_push_out_no_proven_one() {
    let mut rule = rule();
    for number in 0..9 {
        rule.strike(struck(1, Strength::Proven), at(number));
    }
    for number in 0..(UNPROVEN_CAPACITY as u32 + 1_000) {
        let source = IpAddr::V4(Ipv4Addr::from_bits(number));
        rule.strike(Struck { source, account: 1, strength: Strength::Unproven }, at(20));
    }
    assert_eq!(rule.sources(), UNPROVEN_CAPACITY + 1);
    assert_eq!(rule.evicted(), 1_000);
    assert!(rule.strike(struck(1, Strength::Proven), at(21)).is_some());
}
