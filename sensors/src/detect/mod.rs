//! The rules: from requests and answers to evidence, from evidence to verdicts.

pub(crate) mod accounts;
pub(crate) mod agents;
mod attempt;
pub(crate) mod bad_registrations;
pub(crate) mod deltas;
pub(crate) mod dns_flood;
mod doorkeeper;
pub(crate) mod fingerprints;
pub(crate) mod harvest;
pub(crate) mod injection;
pub(crate) mod leak;
pub(crate) mod line;
pub(crate) mod meter;
pub(crate) mod one_way;
pub(crate) mod prefix_walk;
pub(crate) mod protected;
pub(crate) mod reports;
pub(crate) mod sources;
mod subject;
pub(crate) mod user_agents;
pub(crate) mod visibility;

pub(crate) use attempt::{Answer, Attempt, CredentialState, Judgement, Strength, judge};
pub(crate) use subject::Subject;
