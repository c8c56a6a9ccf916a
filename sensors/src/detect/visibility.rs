//! What of each victim's traffic is seen: where a tap shows one direction only, rules must do without the other.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use log_format::time::Timestamp;

use crate::keyed::{Key, Purpose};

/// Victims that are told apart; two that share a place push each other out, and are taken for new.
const PLACES: usize = 4_096;
/// A direction that was silent for so long is not seen.
const SILENCE: Duration = Duration::from_secs(60);
/// Requests without any answer that are worth an alarm.
const ALARMING: u32 = 20;
/// Requests without any answer within a time after which a victim counts as down.
const DOWN: (u32, Duration) = (5, Duration::from_secs(5));
/// So long an answer may take: Timer B and F (RFC 3261, 17.1.1.2).
const ANSWER: Duration = Duration::from_secs(32);

#[derive(Debug, Clone, Copy)]
struct Victim {
    address: IpAddr,
    asked: Timestamp,
    answered: Timestamp,
    /// The first request that nobody answered, and how many there are since.
    silent_since: Timestamp,
    unanswered: u32,
    is_told: bool,
    /// It answers REGISTER.
    is_registrar: bool,
}

/// What is seen of the victims.
pub(crate) struct Visibility {
    key: Key,
    places: Vec<Option<Victim>>,
    /// The victim that was looked up last: most packets are for the same few.
    last: (IpAddr, usize),
}

/// What is seen of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) requests: bool,
    pub(crate) answers: bool,
}

impl Visibility {
    pub(crate) fn new(key: Key) -> Self {
        Self { key, places: vec![None; PLACES], last: (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0) }
    }

    /// A request went to the victim. Says, once, that it has stopped to answer.
    pub(crate) fn asked(&mut self, victim: IpAddr, now: Timestamp) -> bool {
        let Some(known) = self.place(victim) else { return false };
        known.asked = now;
        if known.unanswered == 0 {
            known.silent_since = now;
        }
        known.unanswered = known.unanswered.saturating_add(1);
        let is_silent = known.answered != Timestamp::ZERO
            && ALARMING <= known.unanswered
            && ANSWER <= now.since(known.silent_since);
        let is_news = is_silent && !known.is_told;
        known.is_told |= is_silent;
        is_news
    }

    /// The victim answered somebody.
    pub(crate) fn answered(&mut self, victim: IpAddr, now: Timestamp) {
        if let Some(known) = self.place(victim) {
            (known.answered, known.unanswered, known.is_told) = (now, 0, false);
        }
    }

    /// Whether the victim answered once and does not now: who asks it again and again is no scanner.
    pub(crate) fn is_down(&self, victim: IpAddr, now: Timestamp) -> bool {
        self.known(victim).is_some_and(|known| {
            known.answered != Timestamp::ZERO
                && DOWN.0 <= known.unanswered
                && DOWN.1 <= now.since(known.silent_since)
        })
    }

    /// Whether the victim was ever heard to answer.
    pub(crate) fn was_heard(&self, victim: IpAddr) -> bool {
        self.known(victim).is_some_and(|known| known.answered != Timestamp::ZERO)
    }

    /// The victim answered credentials in a REGISTER that was seen: it is a registrar, and what it sends itself is its own affair. Nobody
    /// outside is taken for one who is not asked to register somebody from inside.
    pub(crate) fn registers(&mut self, victim: IpAddr) {
        if let Some(known) = self.place(victim) {
            known.is_registrar = true;
        }
    }

    /// Whether it is known as a registrar.
    pub(crate) fn is_registrar(&self, address: IpAddr) -> bool {
        self.known(address).is_some_and(|known| known.is_registrar)
    }

    pub(crate) fn seen(&self, victim: IpAddr, now: Timestamp) -> Seen {
        self.known(victim).map_or(Seen::default(), |known| {
            let is_seen = |last: Timestamp| last != Timestamp::ZERO && now.since(last) < SILENCE;
            Seen { requests: is_seen(known.asked), answers: is_seen(known.answered) }
        })
    }

    fn known(&self, victim: IpAddr) -> Option<&Victim> {
        let held = self.places.get(self.place_of(victim))?.as_ref();
        held.filter(|held| held.address == victim)
    }

    fn place(&mut self, victim: IpAddr) -> Option<&mut Victim> {
        let place = self.place_of(victim);
        self.last = (victim, place);
        let held = self.places.get_mut(place)?;
        if held.is_none_or(|held| held.address != victim) {
            *held = Some(Victim {
                address: victim,
                asked: Timestamp::ZERO,
                answered: Timestamp::ZERO,
                silent_since: Timestamp::ZERO,
                unanswered: 0,
                is_told: false,
                is_registrar: false,
            });
        }
        held.as_mut()
    }

    fn place_of(&self, victim: IpAddr) -> usize {
        if self.last.0 == victim && self.last.0 != IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
            return self.last.1;
        }
        self.key.hash(Purpose::Source).address(victim).finish() as usize % PLACES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VICTIM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    #[test]
    fn directions_are_seen_while_something_comes() {
        let mut visibility = Visibility::new(Key::new([1; 16]));
        assert_eq!(visibility.seen(VICTIM, at(0)), Seen::default());
        visibility.asked(VICTIM, at(0));
        assert_eq!(visibility.seen(VICTIM, at(1)), Seen { requests: true, answers: false });
        visibility.answered(VICTIM, at(2));
        assert_eq!(visibility.seen(VICTIM, at(3)), Seen { requests: true, answers: true });
        assert_eq!(visibility.seen(VICTIM, at(61)), Seen { requests: false, answers: true });
    }

    #[test]
    fn a_victim_that_stops_to_answer_is_told_of_once() {
        let mut visibility = Visibility::new(Key::new([1; 16]));
        visibility.answered(VICTIM, at(0));
        let told: Vec<u64> = (1..100).filter(|second| visibility.asked(VICTIM, at(*second))).collect();
        assert_eq!(told, [33]);
        visibility.answered(VICTIM, at(100));
        assert_eq!((101..200).filter(|second| visibility.asked(VICTIM, at(*second))).count(), 1);
    }

    #[test]
    fn a_victim_is_down_when_it_answered_once_and_lets_several_wait() {
        let mut visibility = Visibility::new(Key::new([1; 16]));
        for second in 0..10 {
            visibility.asked(VICTIM, at(second));
        }
        assert!(!visibility.is_down(VICTIM, at(10)), "it was never heard");
        visibility.answered(VICTIM, at(10));
        assert!(!visibility.is_down(VICTIM, at(60)), "nobody asked");
        let down = (60..80).find(|second| {
            visibility.asked(VICTIM, at(*second));
            visibility.is_down(VICTIM, at(*second))
        });
        assert_eq!(down, Some(65));
    }

    #[test]
    fn a_victim_that_was_never_heard_is_not_silent_but_unseen() {
        let mut visibility = Visibility::new(Key::new([1; 16]));
        assert!(!(1..100).any(|second| visibility.asked(VICTIM, at(second))));
    }
}
