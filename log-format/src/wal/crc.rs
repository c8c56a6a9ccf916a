//! What a CRC32C says beyond right and wrong.

/// The polynomial of CRC32C, lowest power in the highest bit, as the checksum is computed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The number of the one bit that must be turned for the bytes to have this checksum; `None` if no single bit does it.
/// Bits are counted from the lowest of the first byte.
pub(crate) fn flipped_bit(bytes: &[u8], expected: u32) -> Option<usize> {
    // A checksum is linear: turning one bit changes it by an amount that depends on the bit's distance from the end
    // only. That amount starts, for the very last bit, as the polynomial and takes one step for each bit before it.
    let difference = crc32c::crc32c(bytes) ^ expected;
    let mut change = POLYNOMIAL;
    for bit in (0..bytes.len().checked_mul(8)?).rev() {
        if change == difference {
            return Some(bit);
        }
        change = (change >> 1) ^ if change & 1 == 1 { POLYNOMIAL } else { 0 };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_found_and_two_are_not() {
        let good: Vec<u8> = (0..100).collect();
        let expected = crc32c::crc32c(&good);
        for bit in 0..800 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(flipped_bit(&bad, expected), Some(bit));
            bad[(bit / 8 + 5) % 100] ^= 2;
            assert_eq!(flipped_bit(&bad, expected), None);
        }
    }
}
