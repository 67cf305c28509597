//! Estimates how many different keys were seen, in constant memory (HyperLogLog).

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

/// 2^12 registers: a standard error of 1.6 %.
const INDEX_BITS: u32 = 12;
const REGISTERS: usize = 1 << INDEX_BITS;

/// A set that only knows its approximate size.
#[derive(Debug, Clone)]
pub struct Sketch {
    registers: Box<[u8; REGISTERS]>,
}

impl Default for Sketch {
    fn default() -> Self {
        Sketch { registers: Box::new([0; REGISTERS]) }
    }
}

impl Sketch {
    /// Adds a name.
    #[inline(always)]
    pub fn insert(&mut self, db: u32, key: &[u8]) {
        let mut hasher = FixedState::with_seed(u64::from(db)).build_hasher();
        hasher.write(key);
        // The hasher's low bits are not mixed as well as its high ones.
        let hash = hasher
            .finish()
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(32)
            .wrapping_mul(0xd6e8_feb8_6659_fd93);
        let register = (hash >> (64 - INDEX_BITS)) as usize;
        let rank = ((hash << INDEX_BITS) | (1 << (INDEX_BITS - 1))).leading_zeros() as u8 + 1;
        if rank > self.registers[register] {
            self.registers[register] = rank;
        }
    }

    /// Adds all that another sketch has seen.
    pub fn merge(&mut self, other: &Sketch) {
        for (mine, theirs) in self.registers.iter_mut().zip(&*other.registers) {
            *mine = (*mine).max(*theirs);
        }
    }

    /// The estimated number of different names.
    pub fn estimate(&self) -> u64 {
        let count = REGISTERS as f64;
        let sum: f64 = self.registers.iter().map(|rank| (-f64::from(*rank)).exp2()).sum();
        let raw = 0.7213 / (1.0 + 1.079 / count) * count * count / sum;
        let zeros = self.registers.iter().filter(|rank| **rank == 0).count();
        // Small sets are counted better by the registers that are still empty.
        let estimate =
            if raw <= 2.5 * count && zeros > 0 { count * (count / zeros as f64).ln() } else { raw };
        estimate.round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_close() {
        for count in [0u32, 1, 100, 20_000, 300_000] {
            let mut sketch = Sketch::default();
            for number in 0..count {
                sketch.insert(number % 3, format!("key:{number}").as_bytes());
                sketch.insert(number % 3, format!("key:{number}").as_bytes());
            }
            let error = (sketch.estimate() as f64 - f64::from(count)).abs();
            assert!(error <= f64::from(count) * 0.06 + 1.0, "{count}: {}", sketch.estimate());
        }
    }
}
