//! The rules: from requests and answers to evidence, from evidence to verdicts.

mod attempt;
pub(crate) mod bad_registrations;
pub(crate) mod deltas;
mod reported;
pub(crate) mod user_agents;

pub(crate) use attempt::{Agent, Answer, Attempt, CredentialState, Judgement, Strength, judge};
pub(crate) use reported::Reported;
