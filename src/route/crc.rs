//! The crc32 of a key, made fast for the short keys that nearly all are.

/// Keys longer than this are left to crc32fast, whose vector code then wins.
const SHORT_BYTES_MAX: usize = 64;
/// The polynomial of IEEE 802.3, bits reversed.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Bytes of one step.
const STEP_BYTES: usize = 16;

/// For each byte what it does to the checksum with so many bytes behind it in the same step ("slicing", as by Kounavis,
/// Berry 2005).
static TABLES: [[u32; 256]; STEP_BYTES] = tables();

const fn tables() -> [[u32; 256]; STEP_BYTES] {
    let mut tables = [[0u32; 256]; STEP_BYTES];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut behind = 1;
    while behind < STEP_BYTES {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[behind - 1][byte];
            tables[behind][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        behind += 1;
    }
    tables
}

/// The crc32 of a key, as zlib and Red Cluster's clients compute it.
#[inline]
pub fn key_hash(key: &[u8]) -> u32 {
    if key.len() > SHORT_BYTES_MAX {
        return crc32fast::hash(key);
    }
    let look = |behind: usize, word: u32, byte: u32| TABLES[behind][((word >> (8 * byte)) & 0xff) as usize];
    let four = |behind: usize, word: u32| {
        look(behind + 3, word, 0)
            ^ look(behind + 2, word, 1)
            ^ look(behind + 1, word, 2)
            ^ look(behind, word, 3)
    };
    let mut sum = !0u32;
    let (sixteens, rest) = key.as_chunks::<STEP_BYTES>();
    for sixteen in sixteens {
        let words = u128::from_le_bytes(*sixteen);
        let word = |number: u32| (words >> (u32::BITS * number)) as u32;
        sum = four(12, word(0) ^ sum) ^ four(8, word(1)) ^ four(4, word(2)) ^ four(0, word(3));
    }
    let (eights, rest) = rest.as_chunks::<8>();
    for eight in eights {
        let word = u64::from_le_bytes(*eight);
        sum = four(4, word as u32 ^ sum) ^ four(0, (word >> 32) as u32);
    }
    let (fours, rest) = rest.as_chunks::<4>();
    for last in fours {
        sum = four(0, u32::from_le_bytes(*last) ^ sum);
    }
    for byte in rest {
        sum = (sum >> 8) ^ look(0, sum ^ u32::from(*byte), 0);
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_length_hash_as_crc32_says() {
        let bytes: Vec<u8> = (0..200u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for start in 0..8 {
            for end in start..bytes.len() {
                let key = &bytes[start..end];
                assert_eq!(key_hash(key), crc32fast::hash(key), "bytes {start} to {end}");
            }
        }
        assert_eq!(key_hash(b"123456789"), 0xcbf4_3926);
    }
}
