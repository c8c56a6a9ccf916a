//! Looks for accounts by the difference in the answers, as svwar does with REGISTER.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use sip::Message;

use super::super::stop::Stop;
use super::super::wire;
use super::exchange::Exchange;
use super::layout::{self, Ends};
use super::{AttackError, AttackFigures, AttackOptions, Ended};

/// Requests whose account is remembered until the answer comes; the oldest are forgotten first.
const OPEN_REQUESTS: usize = 8_192;

/// How long it looks for the first answer before it asks whether the attack is over.
const REFERENCE_WAIT: Duration = Duration::from_millis(50);

/// What to do when the server answers an account that cannot exist as it answers any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Stop after that one request.
    Stop,
    /// Go on, as `svwar --force`.
    Force,
}

/// What to enumerate.
#[derive(Debug, Clone)]
pub struct EnumerateOptions {
    /// How to send.
    pub attack: AttackOptions,
    /// The registrar.
    pub target: SocketAddr,
    /// The first number tried; the others follow.
    pub first: u32,
    /// What to do when the server gives nothing away.
    pub persistence: Persistence,
}

/// Tries numbers until the attack is over.
///
/// # Errors
/// When the source cannot be used or the socket breaks.
pub fn run(options: &EnumerateOptions, stop: &Stop) -> Result<AttackFigures, AttackError> {
    let mut exchange = Exchange::start(&options.attack, stop)?;
    let ends = Ends { source: exchange.source, target: options.target };
    let mut search = Search::default();
    let stranger = exchange.dice.roll_32().to_string();
    let ended = search.run(&mut exchange, ends, options, stranger)?;
    exchange.finish(ended, |exchange, answer, _| search.hear(exchange, answer))
}

#[derive(Default)]
struct Search {
    /// The extension that each open branch asked for.
    asked: BTreeMap<String, String>,
    order: VecDeque<String>,
    /// How an account that cannot exist is answered.
    unknown: Option<u16>,
}

impl Search {
    fn run(
        &mut self,
        exchange: &mut Exchange,
        ends: Ends,
        options: &EnumerateOptions,
        stranger: String,
    ) -> Result<Ended, AttackError> {
        self.ask(exchange, ends, stranger);
        while self.unknown.is_none() {
            if let Some(ended) = exchange.over() {
                return Ok(ended);
            }
            exchange.wait_for_answer(REFERENCE_WAIT, |exchange, answer, _| self.hear(exchange, answer))?;
        }
        if self.unknown == Some(401) && options.persistence == Persistence::Stop {
            return Ok(Ended::Hopeless);
        }
        let mut number = options.first;
        loop {
            if let Some(ended) = exchange.over() {
                return Ok(ended);
            }
            self.ask(exchange, ends, number.to_string());
            number = number.wrapping_add(1);
            exchange.listen(|exchange, answer, _| self.hear(exchange, answer))?;
        }
    }

    fn ask(&mut self, exchange: &mut Exchange, ends: Ends, extension: String) {
        let attempt = layout::svwar(ends, &extension, &mut exchange.dice);
        self.asked.insert(attempt.branch.clone(), extension);
        self.order.push_back(attempt.branch.clone());
        if OPEN_REQUESTS < self.order.len()
            && let Some(oldest) = self.order.pop_front()
        {
            self.asked.remove(&oldest);
        }
        exchange.send(attempt, ends.target);
    }

    fn hear(&mut self, exchange: &mut Exchange, answer: &Message<'_>) {
        let branch = wire::text(answer.via().and_then(|via| via.branch));
        let (Some(status), Some(extension)) = (answer.status(), self.asked.remove(&branch)) else {
            return;
        };
        match self.unknown {
            None => self.unknown = Some(status),
            Some(unknown) if unknown != status => exchange.note(extension),
            Some(_) => {}
        }
    }
}
