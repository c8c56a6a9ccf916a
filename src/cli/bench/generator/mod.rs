//! A capture made of a seed, with the truth about it: phones, offices behind one address and calls, and attackers among them.
//!
//! The same settings give the same bytes on every machine and in every release: figures and tests name a seed and mean a
//! capture. All traffic is with one PBX at 198.51.100.10, an address for documentation.
//!
//! - Phones at 10.1.x.y, offices of 50 phones each at 10.2.0.z. They register (REGISTER, 401, REGISTER, 200; one in twenty
//!   is told that its nonce is stale and tries again), ask OPTIONS, and call (INVITE, 407, ACK, INVITE, 100, 180, 200, ACK, BYE, 200).
//!   One phone in 500 has a wrong password and tries it every 30 seconds.
//! - Attackers at 203.x.y.z: they guess passwords, look for extensions, scan with OPTIONS; some guess slowly, and some stop after
//!   nine guesses.
//!
//! Pure: the caller takes records and writes them where it likes.

mod message;
mod truth;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;

use self::message::Writer;
use self::truth::Source;

/// What a capture file begins with: microseconds, little-endian, Ethernet.
pub(crate) const FILE_HEADER: [u8; 24] =
    [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
/// When the capture begins, in microseconds.
const BEGIN: u64 = 1_700_000_000_000_000;
/// Phones behind an office's address.
const OFFICE: u64 = 50;
/// Attackers from this number on stop after nine guesses.
const NINES: u64 = 100_000;

/// What to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// SIP messages, one a record.
    pub(crate) messages: u64,
    /// Messages a second of the capture's own time.
    pub(crate) per_second: u64,
    /// Phones, those in offices included.
    pub(crate) phones: u64,
    /// Addresses of 50 phones each.
    pub(crate) offices: u64,
    /// Attackers; a twentieth as many more stop after nine guesses.
    pub(crate) attackers: u64,
    /// Share of the attackers' packets, in hundredths.
    pub(crate) attack_percent: u64,
    /// Bad registrations within the window that make an attacker: what the truth calls the crossing.
    pub(crate) threshold: usize,
    /// The window.
    pub(crate) window_seconds: u64,
    /// Everything else.
    pub(crate) seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            messages: 1_000_000,
            per_second: 10_000,
            phones: 5_000,
            offices: 20,
            attackers: 200,
            attack_percent: 10,
            threshold: 10,
            window_seconds: 60,
            seed: 1,
        }
    }
}

/// What a message is in its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Register,
    RegisterChallenge,
    RegisterAgain,
    RegisterStale,
    RegisterThird,
    RegisterOk,
    RegisterRefused,
    Options,
    OptionsOk,
    Invite,
    InviteChallenge,
    AckChallenge,
    InviteAgain,
    Trying,
    Ringing,
    InviteOk,
    AckOk,
    Bye,
    ByeOk,
    Guess,
    GuessRefused,
    Enumerate,
    EnumerateAnswer,
    Scan,
    ScanOk,
}

/// What sets a conversation apart from others of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Usual,
    /// A phone whose password is wrong.
    WrongPassword,
    /// A guess every seven seconds.
    Slow,
    /// An extension that exists: it is challenged.
    Exists,
}

/// A message that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    step: Step,
    variant: Variant,
    /// The phone's or attacker's address.
    client: u32,
    /// The phone's or attacker's number; of a call, with the call's number above 24 bits.
    id: u64,
    cseq: u32,
    /// The place of the message that led to this one.
    after: u64,
}

/// A place in the queue: first what is due first, then what was put in first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    at: u64,
    number: u64,
    due: Due,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        let scaled = (u128::from(self.next()) * u128::from(bound)) >> 64;
        u64::try_from(scaled).unwrap_or(0)
    }
}

/// Makes the records of a capture, one after the other.
pub(crate) struct Generator {
    settings: Settings,
    random: Random,
    queue: BinaryHeap<Reverse<Place>>,
    /// Places given out so far.
    places: u64,
    /// Records made so far.
    made: u64,
    attack_packets: u64,
    /// Whose turn it is among the attackers.
    turn: u64,
    calls: u64,
    /// Guesses that each of those who stop after nine has left.
    nines_left: Vec<u8>,
    writer: Writer,
    truth: BTreeMap<u32, Source>,
}

impl Generator {
    pub(crate) fn new(settings: Settings) -> Self {
        let nines = usize::try_from((settings.attackers / 20).max(1)).unwrap_or(usize::MAX);
        let mut generator = Self {
            settings,
            random: Random(settings.seed),
            queue: BinaryHeap::new(),
            places: 0,
            made: 0,
            attack_packets: 0,
            turn: 0,
            calls: 0,
            nines_left: vec![9; nines],
            writer: Writer::new(settings.phones),
            truth: BTreeMap::new(),
        };
        for id in (0..settings.attackers).filter(|id| id % 10 == 9) {
            let at = generator.random.below(generator.packets_in(7_000_000));
            let client = attacker_address(id);
            let due = Due { step: Step::Guess, variant: Variant::Slow, client, id, cseq: 1, after: 0 };
            generator.push(at, due);
        }
        for number in 0..generator.wrong_passwords() {
            let id = settings.phones.saturating_sub(1 + number);
            let at = generator.random.below(generator.packets_in(30_000_000));
            let (step, variant) = (Step::RegisterAgain, Variant::WrongPassword);
            generator
                .push(at, Due { step, variant, client: generator.phone_address(id), id, cseq: 2, after: 0 });
        }
        generator
    }

    /// The next record, with its header; nothing when all are made.
    pub(crate) fn next_record(&mut self) -> io::Result<Option<&[u8]>> {
        if self.settings.messages <= self.made {
            return Ok(None);
        }
        let place = self.made;
        let due = match self.queue.peek() {
            Some(Reverse(first)) if first.at <= place => self.queue.pop().map(|Reverse(first)| first.due),
            Some(_) | None => None,
        };
        let due = due.unwrap_or_else(|| self.conversation(place));
        self.follow(&due, place);
        self.attack_packets += u64::from(due.step.is_attack());
        self.note(&due, place);
        let at = self.time(place);
        self.made += 1;
        self.writer.record(&due, place, at).map(Some)
    }

    /// What is true of every attacker, and of every phone whose password is wrong, by address.
    pub(crate) fn truth(&self) -> &BTreeMap<u32, Source> {
        &self.truth
    }

    /// When a record was captured, in microseconds.
    pub(crate) fn time(&self, place: u64) -> u64 {
        BEGIN + place * 1_000_000 / self.settings.per_second
    }

    /// How many packets come in so many microseconds.
    fn packets_in(&self, micros: u64) -> u64 {
        micros * self.settings.per_second / 1_000_000
    }

    fn wrong_passwords(&self) -> u64 {
        (self.settings.phones / 500).max(1)
    }

    fn phone_address(&self, phone: u64) -> u32 {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        if phone < self.settings.offices * OFFICE {
            0x0A02_0000 + 1 + small(phone / OFFICE)
        } else {
            0x0A01_0000 + small(phone / 250) * 256 + 1 + small(phone % 250)
        }
    }

    fn push(&mut self, at: u64, due: Due) {
        self.places += 1;
        self.queue.push(Reverse(Place { at, number: self.places, due }));
    }

    /// Begins a conversation: an attack's if attacks have less than their share.
    fn conversation(&mut self, place: u64) -> Due {
        let (id, client, step) = if self.attack_packets * 100 < self.settings.attack_percent * place {
            self.attack(place)
        } else {
            self.honest()
        };
        Due { step, variant: Variant::Usual, client, id, cseq: 1, after: 0 }
    }

    fn attack(&mut self, place: u64) -> (u64, u32, Step) {
        let is_nine = self.random.below(400) == 0;
        if is_nine
            && let Some((number, left)) = (NINES..).zip(&mut self.nines_left).find(|(_, left)| **left > 0)
        {
            *left -= 1;
            return (number, attacker_address(number), Step::Guess);
        }
        // They become active one after the other over the first four fifths of the capture.
        let Settings { messages, attackers, .. } = self.settings;
        let active = (1 + place * attackers * 10 / (messages * 8)).min(attackers);
        let id = loop {
            self.turn += 1;
            let id = self.turn.wrapping_mul(7) % active;
            if id % 10 != 9 {
                break id;
            }
        };
        let step = match id % 10 {
            0..=3 => Step::Guess,
            4..=6 => Step::Enumerate,
            _ => Step::Scan,
        };
        (id, attacker_address(id), step)
    }

    fn honest(&mut self) -> (u64, u32, Step) {
        let phone = self.random.below(self.settings.phones - self.wrong_passwords());
        let address = self.phone_address(phone);
        match self.random.below(100) {
            0..=54 => (phone, address, Step::Register),
            55..=87 => (phone, address, Step::Options),
            _ => {
                self.calls += 1;
                (phone | (self.calls << 24), address, Step::Invite)
            }
        }
    }

    /// Puts what this message leads to in the queue.
    fn follow(&mut self, due: &Due, place: u64) {
        let next = |step, cseq| Due { step, cseq, after: place, variant: Variant::Usual, ..*due };
        match due.step {
            Step::Register => self.answer(place, next(Step::RegisterChallenge, 1)),
            Step::RegisterChallenge => self.ask(place, next(Step::RegisterAgain, 2)),
            Step::RegisterAgain => {
                let at = self.server(place);
                let is_stale = self.random.below(20) == 0;
                let step = match (due.variant, is_stale) {
                    (Variant::WrongPassword, _) => Step::RegisterRefused,
                    (_, true) => Step::RegisterStale,
                    (_, false) => Step::RegisterOk,
                };
                self.push(at, Due { step, cseq: 2, after: place, ..*due });
            }
            Step::RegisterStale => self.ask(place, next(Step::RegisterThird, 3)),
            Step::RegisterThird => self.answer(place, next(Step::RegisterOk, 3)),
            Step::RegisterRefused => {
                let again = Due { step: Step::RegisterAgain, cseq: due.cseq + 1, after: place, ..*due };
                self.push(place + self.packets_in(30_000_000), again);
            }
            Step::Options => self.answer(place, next(Step::OptionsOk, 1)),
            Step::Invite => self.answer(place, next(Step::InviteChallenge, 1)),
            Step::InviteChallenge => {
                let at = self.client(place);
                self.push(at, next(Step::AckChallenge, 1));
                self.push(at + 1, next(Step::InviteAgain, 2));
            }
            Step::InviteAgain => self.ring(due, place),
            Step::InviteOk => self.talk(due, place),
            Step::Bye => self.answer(place, next(Step::ByeOk, 3)),
            Step::Guess => {
                self.answer(place, next(Step::GuessRefused, due.cseq));
                if due.variant == Variant::Slow {
                    let again = Due { cseq: due.cseq + 1, after: 0, ..*due };
                    self.push(place + self.packets_in(7_000_000), again);
                }
            }
            Step::Enumerate => {
                let at = self.server(place);
                let variant = if self.random.below(20) == 0 { Variant::Exists } else { Variant::Usual };
                self.push(at, Due { variant, ..next(Step::EnumerateAnswer, 1) });
            }
            Step::Scan => self.answer(place, next(Step::ScanOk, 1)),
            Step::RegisterOk | Step::OptionsOk | Step::AckChallenge | Step::Trying | Step::Ringing => {}
            Step::AckOk | Step::ByeOk | Step::GuessRefused | Step::EnumerateAnswer | Step::ScanOk => {}
        }
    }

    /// The callee rings at once and picks up seconds later.
    fn ring(&mut self, due: &Due, place: u64) {
        let next = |step| Due { step, cseq: 2, after: place, variant: Variant::Usual, ..*due };
        let at = self.server(place);
        self.push(at, next(Step::Trying));
        self.push(at + self.packets_in(60_000), next(Step::Ringing));
        let rings = 2_000_000 + self.random.below(3_000_000);
        self.push(at + self.packets_in(rings), next(Step::InviteOk));
    }

    /// The caller confirms, and hangs up within a minute or so.
    fn talk(&mut self, due: &Due, place: u64) {
        let next = |step, cseq| Due { step, cseq, after: place, variant: Variant::Usual, ..*due };
        let at = self.client(place);
        self.push(at, next(Step::AckOk, 2));
        let talks = 5_000_000 + self.random.below(60_000_000);
        self.push(at + self.packets_in(talks), next(Step::Bye, 3));
    }

    fn answer(&mut self, place: u64, due: Due) {
        let at = self.server(place);
        self.push(at, due);
    }

    fn ask(&mut self, place: u64, due: Due) {
        let at = self.client(place);
        self.push(at, due);
    }

    /// When the server answers: 0.2 to 3 ms later.
    fn server(&mut self, place: u64) -> u64 {
        let micros = 200 + self.random.below(2_800);
        place + 1 + self.packets_in(micros)
    }

    /// When a client goes on: 5 to 40 ms later.
    fn client(&mut self, place: u64) -> u64 {
        let micros = 5_000 + self.random.below(35_000);
        place + 1 + self.packets_in(micros)
    }

    /// Keeps the truth.
    fn note(&mut self, due: &Due, place: u64) {
        let now = self.time(place);
        let Settings { threshold, window_seconds, .. } = self.settings;
        let mark = |source: &mut Source, asked| {
            source.mark((asked, place), now, threshold, window_seconds * 1_000_000);
        };
        if due.step.is_request() {
            if due.step.is_attack() || due.variant == Variant::WrongPassword {
                let source = self.truth.entry(due.client).or_insert_with(|| Source::new(due, place));
                if due.step == Step::Scan {
                    mark(source, place);
                }
            }
            return;
        }
        let is_refused = matches!(due.step, Step::RegisterRefused | Step::GuessRefused);
        let is_bad = is_refused || due.step == Step::EnumerateAnswer && due.variant != Variant::Exists;
        if is_bad && let Some(source) = self.truth.get_mut(&due.client) {
            mark(source, due.after);
        }
    }
}

impl Step {
    fn is_attack(self) -> bool {
        matches!(
            self,
            Self::Guess
                | Self::GuessRefused
                | Self::Enumerate
                | Self::EnumerateAnswer
                | Self::Scan
                | Self::ScanOk
        )
    }

    fn is_request(self) -> bool {
        match self {
            Self::Register | Self::RegisterAgain | Self::RegisterThird | Self::Options => true,
            Self::Invite | Self::InviteAgain | Self::AckChallenge | Self::AckOk | Self::Bye => true,
            Self::Guess | Self::Enumerate | Self::Scan => true,
            Self::RegisterChallenge | Self::RegisterStale | Self::RegisterOk | Self::RegisterRefused => false,
            Self::OptionsOk | Self::InviteChallenge | Self::Trying | Self::Ringing | Self::InviteOk => false,
            Self::ByeOk | Self::GuessRefused | Self::EnumerateAnswer | Self::ScanOk => false,
        }
    }
}

/// 203.x.y.z, the same for the same number.
fn attacker_address(number: u64) -> u32 {
    let hash = u32::try_from(number.wrapping_mul(2_654_435_761) & 0xff_ffff).unwrap_or(0);
    let last = u32::try_from(1 + number % 250).unwrap_or(0);
    0xCB00_0000 | ((hash ^ 0x5a_5a5a) & 0xff_ff00) | last
}
