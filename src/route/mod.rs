//! Decides which lane a key belongs to, and from that where a command goes.

mod rule;
pub mod scripts;
mod takes;
mod touches;
mod value;

pub use takes::Takes;
pub use touches::Touches;

pub use rule::{Command, Form, Reach, Refusal, Routed, Rules, State, database};

/// Says where the commands on a key go instead of the key's own lane.
///
/// Commands that tie keys of several shards together are carried out by giving all of those keys one
/// home; routing asks here before it hashes.
pub trait Placement: Sync {
    /// The home of `key` in database `db`, if it is not the lane that its hash names.
    fn home(&self, db: u32, key: &[u8]) -> Option<usize>;
}

/// Every key is at home on its own lane.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnLane;

impl Placement for OwnLane {
    #[inline]
    fn home(&self, _: u32, _: &[u8]) -> Option<usize> {
        None
    }
}

/// Names the lane of a key: `crc32(key) % shards`, as Red Cluster's clients compute it.
#[derive(Debug, Clone)]
pub struct Routing<P = OwnLane> {
    shards: u32,
    /// 2^64 divided by `shards`, rounded up: a remainder by two multiplications, which take a fraction of the time
    /// of a division and give the same for all 32-bit numbers (Lemire, Kaser, Kurz 2019).
    reciprocal: u64,
    placement: P,
}

impl<P: Placement> Routing<P> {
    /// A routing over `shards` shards; 0 is taken for 1.
    pub fn new(shards: usize, placement: P) -> Self {
        let shards = u32::try_from(shards).unwrap_or(u32::MAX).max(1);
        Routing { shards, reciprocal: (u64::MAX / u64::from(shards)).wrapping_add(1), placement }
    }

    /// Number of lanes.
    pub fn lanes(&self) -> usize {
        self.shards as usize
    }

    /// The lane on which commands on `key` in database `db` run.
    #[inline]
    pub fn lane(&self, db: u32, key: &[u8]) -> usize {
        self.lane_and_hash(db, key).0
    }

    /// The same with the key's crc32.
    #[inline]
    pub fn lane_and_hash(&self, db: u32, key: &[u8]) -> (usize, u32) {
        let hash = crc32fast::hash(key);
        (self.placement.home(db, key).unwrap_or_else(|| self.remainder(hash)), hash)
    }

    /// `hash % shards`.
    #[inline]
    fn remainder(&self, hash: u32) -> usize {
        let fraction = self.reciprocal.wrapping_mul(u64::from(hash));
        ((u128::from(fraction) * u128::from(self.shards)) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn remainders_are_those_of_a_division(hash: u32, shards in 1u32..) {
            let routing = Routing::new(shards as usize, OwnLane);
            prop_assert_eq!(routing.remainder(hash), (hash % shards) as usize);
            prop_assert_eq!(routing.remainder(u32::MAX), (u32::MAX % shards) as usize);
        }
    }

    #[test]
    fn remainders_by_small_numbers() {
        for shards in 1..=300u32 {
            let routing = Routing::new(shards as usize, OwnLane);
            for hash in (0..1000).chain(u32::MAX - 1000..=u32::MAX) {
                assert_eq!(routing.remainder(hash), (hash % shards) as usize, "{hash} % {shards}");
            }
        }
    }
}
