//! Stories in plain text: each line beginning with `>` is a command, what is indented below it came of it.
//!
//! `UPDATE_GOLDEN=1 cargo test -p projections` writes them anew; the difference is reviewed like code.

#![expect(clippy::disallowed_methods, reason = "a golden file is updated on request, from the environment")]

use std::path::Path;

use crate::script;

fn check(name: &str, expected: &str) {
    let told = script::tell(expected);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
        return std::fs::write(path, told).unwrap();
    }
    assert_eq!(told, expected, "golden/{name} tells another story");
}

macro_rules! stories {
    ($($test:ident: $file:literal,)*) => {$(
        #[test]
        fn $test() {
            check($file, include_str!(concat!("../../golden/", $file)));
        }
    )*};
}

stories! {
    each_further_block_is_longer_and_the_fourth_is_permanent: "escalation.txt",
    the_evidence_caps_the_sanction: "evidence.txt",
    strikes_are_summed_over_hosts: "strikes.txt",
    people_block_deny_allow_and_release: "people.txt",
    hosts_come_and_go: "hosts.txt",
    a_join_token_lets_one_host_in: "tokens.txt",
    chapters_are_cut_sealed_witnessed_and_erased_in_order: "chapters.txt",
    settings_change_one_by_one: "settings.txt",
    the_plan_follows_the_log: "plan.txt",
    one_phone_costs_its_neighbours_nothing: "narrow.txt",
    networks_of_version_six_are_blocked_as_one: "networks.txt",
    who_goes_on_stays_blocked: "slide.txt",
    a_persons_word_is_newer_than_what_was_seen_before_it: "forgiven.txt",
    earlier_blocks_corroborate: "corroborated.txt",
    a_rule_that_is_not_enforced_costs_nothing: "rules.txt",
    the_first_step_that_fits_decides: "order.txt",
}
