//! The checksum of RDB files and RESTORE payloads: CRC-64 of the Jones polynomial, reflected, initial
//! value 0 (crc64.c).

use crc_fast::CrcAlgorithm::Crc64Redis;

/// A checksum under way: the bytes can come in pieces of any size.
#[derive(Debug, Clone, Copy)]
pub struct Digest(crc_fast::Digest);

impl Default for Digest {
    fn default() -> Self {
        Digest::new()
    }
}

impl Digest {
    /// The checksum of nothing.
    pub fn new() -> Self {
        Digest(crc_fast::Digest::new(Crc64Redis))
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

/// The checksum of some bytes.
pub fn checksum(bytes: &[u8]) -> u64 {
    crc_fast::checksum(Crc64Redis, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_value() {
        assert_eq!(checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(Digest::new().value(), 0);
    }

    /// Bit by bit, as the polynomial is defined.
    fn slow(bytes: &[u8]) -> u64 {
        const REFLECTED: u64 = 0xad93_d235_94c9_35a9_u64.reverse_bits();
        bytes.iter().fold(0, |crc, byte| {
            (0..8).fold(crc ^ u64::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { REFLECTED } else { 0 })
        })
    }

    proptest! {
        #[test]
        fn pieces_and_the_whole_agree(bytes in prop::collection::vec(any::<u8>(), 0..2000), cuts in prop::collection::vec(0usize..2000, 0..5)) {
            let mut digest = Digest::new();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut start = 0;
            for cut in cuts {
                digest.update(&bytes[start..cut]);
                start = cut;
            }
            prop_assert_eq!(digest.value(), slow(&bytes));
            prop_assert_eq!(checksum(&bytes), slow(&bytes));
        }
    }
}
