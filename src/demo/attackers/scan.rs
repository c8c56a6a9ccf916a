//! Looks for SIP servers with OPTIONS, as svmap does.

use std::net::SocketAddr;

use super::super::stop::Stop;
use super::exchange::Exchange;
use super::layout::{self, Ends};
use super::{AttackError, AttackFigures, AttackOptions, Ended};

/// What to scan.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// How to send.
    pub attack: AttackOptions,
    /// The addresses, in order.
    pub targets: Vec<SocketAddr>,
    /// How many times to go through them.
    pub rounds: u32,
}

/// Asks every target, round after round. Silence does not end a scan: most addresses of a sweep are empty.
///
/// # Errors
/// When the source cannot be used or the socket breaks.
pub fn run(options: &ScanOptions, stop: &Stop) -> Result<AttackFigures, AttackError> {
    let mut exchange = Exchange::start(&options.attack, stop)?;
    let hear =
        |exchange: &mut Exchange, _: &sip::Message<'_>, from: SocketAddr| exchange.note(from.to_string());
    let targets = (0..options.rounds).flat_map(|_| options.targets.iter().copied());
    let mut ended = Ended::Done;
    for target in targets {
        match exchange.over() {
            Some(over @ (Ended::Done | Ended::Stopped | Ended::Found | Ended::Hopeless)) => {
                ended = over;
                break;
            }
            Some(Ended::Silence) | None => {}
        }
        let ends = Ends { source: exchange.source, target };
        let attempt = layout::svmap(ends, &mut exchange.dice);
        exchange.send(attempt, target);
        exchange.listen(hear)?;
    }
    exchange.finish(ended, hear)
}
