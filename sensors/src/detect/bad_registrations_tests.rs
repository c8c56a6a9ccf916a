use std::net::Ipv4Addr;

use super::*;

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const STRANGER: Standing =
    Standing { is_protected: false, is_account_attacked: false, is_account_in_use: false };
const AT_HOME: Standing = Standing { is_protected: true, ..STRANGER };

fn rule() -> BadRegistrations {
    BadRegistrations::new(&Policy::default(), Key::new([5; 16]))
}

fn at(milliseconds: u64) -> Timestamp {
    Timestamp::from_nanos(1_000_000_800_000_000_000 + milliseconds * 1_000_000)
}

fn struck(account: u64, strength: Strength) -> Struck {
    Struck { source: SOURCE, account, strength }
}

fn strike(rule: &mut BadRegistrations, struck: Struck, at: Timestamp) -> Option<Tipped> {
    rule.strike(struck, (5060, STRANGER), |_| true, at).tipped
}

/// Strikes of these strengths, a second apart; the first that tipped on each evidence, from 1.
fn tips(strengths: &[Strength]) -> Vec<(usize, Evidence, u32)> {
    let mut rule = rule();
    let mut tips: Vec<(usize, Evidence, u32)> = Vec::new();
    for (number, strength) in strengths.iter().enumerate() {
        let tipped = strike(&mut rule, struck(1, *strength), at(number as u64 * 1_000));
        if let Some(tipped) =
            tipped.filter(|tipped| tips.last().is_none_or(|(_, last, _)| *last < tipped.evidence))
        {
            tips.push((number + 1, tipped.evidence, tipped.count));
        }
    }
    tips
}

#[test]
fn the_tenth_proven_strike_tips() {
    assert_eq!(tips(&[Strength::Proven; 9]), []);
    assert_eq!(tips(&[Strength::Proven; 30]), [(10, Evidence::Proven, 10)]);
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
    for (gap, expected) in [(6_667, None), (6_666, Some(Rule::BadRegistrations))] {
        let mut rule = rule();
        let tipped =
            (0..29).find_map(|number| strike(&mut rule, struck(1, Strength::Proven), at(number * gap)));
        assert_eq!(tipped.map(|tipped| tipped.rule), expected, "every {gap} ms");
    }
}

#[test]
fn success_clears_its_account_and_half_of_the_others_once_in_ten_minutes() {
    let mut rule = rule();
    for number in 0..9 {
        strike(&mut rule, struck(1, Strength::Proven), at(number));
    }
    rule.success(SOURCE, 2, at(10));
    rule.success(SOURCE, 2, at(11));
    let tipped =
        (0..9).find(|number| strike(&mut rule, struck(1, Strength::Proven), at(12 + number)).is_some());
    assert_eq!(tipped, Some(4), "of nine five were left");

    let mut rule = super::tests::rule();
    for number in 0..9 {
        strike(&mut rule, struck(1, Strength::Proven), at(number));
    }
    rule.success(SOURCE, 1, at(10));
    assert_eq!(rule.sources(), 0);
    assert!(strike(&mut rule, struck(1, Strength::Proven), at(11)).is_none());
    assert_eq!(rule.drain(at(5_000)).iter().map(|delta| delta.proven).sum::<u32>(), 1);
}

#[test]
fn forged_sources_push_out_no_proven_one() {
    let mut rule = rule();
    for number in 0..9 {
        strike(&mut rule, struck(1, Strength::Proven), at(number));
    }
    for number in 0..(UNPROVEN_CAPACITY as u32 + 1_000) {
        let source = IpAddr::V4(Ipv4Addr::from_bits(number));
        strike(&mut rule, Struck { source, account: 1, strength: Strength::Unproven }, at(20));
    }
    assert_eq!(rule.sources(), UNPROVEN_CAPACITY + 1);
    assert_eq!(rule.evicted(), 1_000);
    assert!(strike(&mut rule, struck(1, Strength::Proven), at(21)).is_some());
}

/// The first of 200 strikes, so many seconds apart, that tips; with what.
fn slow(gap: u64, accounts: u64, standing: Standing) -> Option<(u64, Rule, Scope)> {
    let mut rule = rule();
    (0..200).find_map(|number| {
        // Uneven, as a tool's pauses are.
        let shaken = number * gap * 1_000 + if number % 2 == 0 { 0 } else { gap * 700 };
        let struck = struck(number % accounts, Strength::Proven);
        let tipped = rule.strike(struck, (5060, standing), |_| true, at(shaken)).tipped?;
        assert_eq!(tipped.evidence, Evidence::Proven);
        Some((number + 1, tipped.rule, tipped.scope))
    })
}

#[test]
fn slow_guessing_is_seen_in_an_hour_and_very_slow_guessing_in_a_day() {
    assert_eq!(slow(60, 2, STRANGER), Some((30, Rule::SlowGuessing, Scope::Address)));
    assert_eq!(slow(300, 2, STRANGER), Some((60, Rule::VerySlowGuessing, Scope::Address)));
    assert_eq!(slow(300, 1, Standing { is_account_in_use: true, ..STRANGER }), None, "one known account");
    assert_eq!(slow(2_400, 2, STRANGER), None);
}

#[test]
fn a_stale_phone_costs_its_port_only_and_is_not_told_to_the_cluster() {
    let mut rule = rule();
    let mut seen = Vec::new();
    for number in 0..60_u64 {
        let outcome =
            rule.strike(struck(1, Strength::Proven), (40_001, STRANGER), |_| true, at(number * 30_000));
        seen.push((outcome.is_stale, outcome.tipped.map(|tipped| (tipped.rule, tipped.scope))));
    }
    assert_eq!(seen.iter().position(|(is_stale, _)| *is_stale), Some(4));
    let tipped: Vec<usize> = (0..60).filter(|place| seen[*place].1.is_some()).collect();
    assert_eq!(tipped.first(), Some(&29));
    assert!(
        tipped.iter().all(|place| seen[*place].1 == Some((Rule::SlowGuessing, Scope::AddressPort(40_001))))
    );
    assert_eq!(rule.drain(at(10_000_000)).iter().map(|delta| delta.proven).sum::<u32>(), 4);
}

#[test]
fn at_home_one_phone_is_cut_off_alone_and_the_house_only_for_much_more() {
    let mut rule = rule();
    let first = (0..100_u64).find_map(|number| {
        let struck = struck(1, Strength::Proven);
        rule.strike(struck, (40_001, AT_HOME), |_| true, at(number * 100))
            .tipped
            .map(|tipped| (number, tipped.scope))
    });
    assert_eq!(first, Some((9, Scope::AddressPort(40_001))));
    let whole = (0..100_u64).find_map(|number| {
        let struck = struck(1, Strength::Proven);
        let tipped = rule.strike(struck, (40_002, AT_HOME), |_| true, at(1_000 + number * 100)).tipped?;
        (tipped.scope == Scope::Address).then_some(number)
    });
    assert_eq!(whole, Some(39), "ten strikes before, fifty in all");
}

#[test]
fn many_accounts_that_fail_at_once_end_the_protection() {
    let mut rule = rule();
    let tipped: Vec<Option<Scope>> = (0..12_u64)
        .map(|number| {
            let struck = struck(number, Strength::Proven);
            rule.strike(struck, (40_001, AT_HOME), |_| true, at(number * 100))
                .tipped
                .map(|tipped| tipped.scope)
        })
        .collect();
    assert_eq!(tipped.iter().position(Option::is_some), Some(9));
    assert_eq!(tipped[9], Some(Scope::Address));
}

#[test]
fn who_tries_an_account_under_attack_has_two_tries() {
    let mut rule = rule();
    let standing = Standing { is_account_attacked: true, ..STRANGER };
    let mut try_once = |account, second| {
        rule.strike(struck(account, Strength::Proven), (5060, standing), |_| true, at(second)).tipped
    };
    assert_eq!(try_once(1, 0), None);
    assert_eq!(try_once(2, 1), None, "another account");
    let tipped = try_once(1, 2);
    assert_eq!(tipped.map(|tipped| (tipped.rule, tipped.count)), Some((Rule::AccountUnderAttack, 2)));
    let protected = Standing { is_protected: true, ..standing };
    let mut rule = super::tests::rule();
    assert!((0..5).all(|number| {
        rule.strike(struck(1, Strength::Proven), (5060, protected), |_| true, at(number)).tipped.is_none()
    }));
}

#[test]
fn many_addresses_of_one_64_are_one_attacker() {
    let mut rule = rule();
    let scopes: Vec<Option<Scope>> = (0..12_u16)
        .map(|number| {
            let source = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, number + 1));
            let struck = Struck { source, account: 1, strength: Strength::Proven };
            strike(&mut rule, struck, at(u64::from(number))).map(|tipped| tipped.scope)
        })
        .collect();
    assert_eq!(scopes.iter().position(Option::is_some), Some(9));
    assert_eq!(scopes[9], Some(Scope::Prefix(64)));
}

#[test]
fn a_rule_that_is_off_leaves_the_word_to_the_next() {
    let mut rule = rule();
    let tipped = (0..40_u64).find_map(|number| {
        let struck = struck(number % 2, Strength::Proven);
        let is_on = |rule| rule != Rule::BadRegistrations;
        rule.strike(struck, (5060, STRANGER), is_on, at(number * 100))
            .tipped
            .map(|tipped| (number, tipped.rule))
    });
    assert_eq!(tipped, Some((29, Rule::SlowGuessing)));
}
