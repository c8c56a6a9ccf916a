//! The one-time password: printed by the host for whoever sits at it, good for one sign-in.

use std::sync::Mutex;
use std::time::Duration;

use argon2::Argon2;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::lock;
use crate::error::{ApiError, Code};
use crate::ports::{NoRandomness, Random};

/// Letters and digits that nobody mixes up when reading them from a terminal (Crockford's base 32, in small letters).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of a password: 125 bits.
const CHARACTERS: usize = 25;
/// Characters between hyphens.
const GROUP: usize = 5;
/// A longer password is not even hashed: nobody was given one.
const LONGEST_INPUT: usize = 128;
/// Hashes at once: each takes 19 MiB and some 30 ms of a core.
const HASHES_AT_ONCE: usize = 2;
/// An attempt waits this long for its turn to be hashed, then the caller is told that the host is busy.
const LONGEST_QUEUE: Duration = Duration::from_secs(5);

type Hash = [u8; 32];
type Salt = [u8; 16];

/// What is left of a password that was given out.
#[derive(Clone, Copy)]
struct Pending {
    salt: Salt,
    hash: Hash,
}

/// At most one password waits to be used; a new one replaces it.
pub(super) struct OneTimePasswords {
    pending: Mutex<Option<Pending>>,
    /// Compared when nothing is pending, so that this costs the same. No password has this hash but by chance.
    decoy: Pending,
    turns: Semaphore,
}

impl OneTimePasswords {
    /// Nothing is pending.
    pub(super) fn new(random: &Random) -> Result<Self, NoRandomness> {
        let mut decoy = Pending { salt: [0; 16], hash: [0; 32] };
        random(&mut decoy.salt)?;
        random(&mut decoy.hash)?;
        Ok(Self { pending: Mutex::new(None), decoy, turns: Semaphore::new(HASHES_AT_ONCE) })
    }

    /// Makes a password. Only its hash is kept.
    pub(super) fn issue(&self, random: &Random) -> Result<String, NoRandomness> {
        let (mut draw, mut salt) = ([0; CHARACTERS], Salt::default());
        random(&mut draw)?;
        random(&mut salt)?;
        let characters =
            draw.map(|byte| char::from(ALPHABET.get(usize::from(byte % 32)).copied().unwrap_or(b'0')));
        let groups: Vec<String> = characters.chunks(GROUP).map(|group| group.iter().collect()).collect();
        let password = groups.join("-");
        let hash = hash(&normalised(&password), &salt);
        *lock(&self.pending) = hash.map(|hash| Pending { salt, hash });
        Ok(password)
    }

    /// Whether this is the pending password; if it is, it is spent. Of two callers with the right password at the same
    /// time one gets in.
    pub(super) async fn spend(&self, password: String) -> Result<bool, ApiError> {
        let turn = tokio::time::timeout(LONGEST_QUEUE, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(ApiError::new(Code::Busy, "many attempts wait; try again").retry_after(LONGEST_QUEUE));
        };
        let asked = *lock(&self.pending);
        let Pending { salt, hash: expected } = asked.unwrap_or(self.decoy);
        let input = normalised(&password);
        let computed = tokio::task::spawn_blocking(move || hash(&input, &salt)).await.ok().flatten();
        let is_right = computed.is_some_and(|computed| bool::from(computed.ct_eq(&expected)));
        Ok(is_right && self.take(&expected))
    }

    /// Removes the pending password if it is still the one that was compared.
    fn take(&self, expected: &Hash) -> bool {
        lock(&self.pending).take_if(|pending| bool::from(pending.hash.ct_eq(expected))).is_some()
    }
}

/// What people may add or change when they copy it: hyphens, white space, capitals.
fn normalised(password: &str) -> String {
    let kept = password.chars().filter(|character| *character != '-' && !character.is_whitespace());
    kept.take(LONGEST_INPUT).collect::<String>().to_ascii_lowercase()
}

/// argon2id with the crate's defaults (19 MiB, two passes, one lane: OWASP's first choice).
fn hash(password: &str, salt: &Salt) -> Option<Hash> {
    let mut hash = Hash::default();
    let hashed = Argon2::default().hash_password_into(password.as_bytes(), salt, &mut hash);
    hashed.ok().map(|()| hash)
}
