//! Reproducible randomness for message fields: tags, branches, nonces, Call-IDs.

/// The SplitMix64 generator. Good enough for fields that must differ; the registrar's secrecy does not matter.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice that roll the same numbers for the same seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next 32 bits.
    pub const fn roll_32(&mut self) -> u32 {
        (self.roll() >> 32) as u32
    }

    /// Thirty-two hexadecimal digits.
    pub fn hex_32(&mut self) -> String {
        format!("{:016x}{:016x}", self.roll(), self.roll())
    }

    /// Dice for another part, independent of this one's later rolls.
    pub const fn fork(&mut self) -> Self {
        Self(self.roll())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_roll_equal_numbers_and_others_do_not() {
        let (mut one, mut same, mut other) = (Dice::new(1), Dice::new(1), Dice::new(2));
        let first = one.hex_32();
        assert_eq!(first, same.hex_32());
        assert_ne!(first, other.hex_32());
        assert_ne!(first, one.hex_32());
        assert_ne!(one.fork().roll(), same.roll());
    }
}
