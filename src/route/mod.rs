//! Decides which lane a key belongs to, and from that where a command goes.

mod crc;
pub mod homes;
mod rule;
pub mod scripts;
mod takes;
mod touches;
mod value;

pub use crc::key_hash;
pub use takes::Takes;
pub use touches::Touches;

pub use homes::Homes;
pub use rule::{Command, Form, Reach, Refusal, Routed, Rules, State};

use std::sync::Arc;

/// Names the lane of a key: `crc32(key) % shards`, as Red Cluster's clients compute it, unless commands tie its name to
/// names of other lanes.
#[derive(Debug, Clone)]
pub struct Routing {
    shards: u32,
    /// 2^64 divided by `shards`, rounded up: a remainder by two multiplications, which take a fraction of the time
    /// of a division and give the same for all 32-bit numbers (Lemire, Kaser, Kurz 2019).
    reciprocal: u64,
    /// See [`Homes`]; none before the survey has found some.
    homes: Option<Arc<Homes>>,
}

impl Routing {
    /// A routing over `shards` shards, each name on its own lane; 0 is taken for 1.
    pub fn new(shards: usize) -> Self {
        let shards = u32::try_from(shards).unwrap_or(u32::MAX).max(1);
        Routing { shards, reciprocal: (u64::MAX / u64::from(shards)).wrapping_add(1), homes: None }
    }

    /// Gives homes to some names.
    pub fn set_homes(&mut self, homes: Homes) {
        self.homes = Some(Arc::new(homes));
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.shards as usize
    }

    /// The lane on which command number `ordinal` finds what `key` names in database `db`.
    #[inline]
    pub fn lane(&self, db: u32, key: &[u8], ordinal: u64) -> usize {
        self.lane_and_hash(db, key, ordinal).0
    }

    /// The same with the key's crc32.
    #[inline]
    pub fn lane_and_hash(&self, db: u32, key: &[u8], ordinal: u64) -> (usize, u32) {
        let hash = key_hash(key);
        let stay = self.homes.as_ref().and_then(|homes| homes.stay(db, key, hash, ordinal));
        let lane = stay.and_then(|stay| stay.lane).map_or_else(|| self.own_lane(hash), usize::from);
        (lane, hash)
    }

    /// Whether what command number `ordinal` leaves under a name, on this lane, has to be brought to the name's own lane
    /// at the end.
    #[inline]
    pub fn is_foreign(&self, lane: usize, db: u32, key: &[u8], ordinal: u64) -> bool {
        let Some(homes) = &self.homes else { return false };
        let hash = key_hash(key);
        lane != self.own_lane(hash) && homes.stay(db, key, hash, ordinal).is_some_and(|stay| stay.lasts)
    }

    /// Whether a key of this crc32 may at some time be away from its own lane.
    #[inline]
    pub fn may_be_away(&self, hash: u32) -> bool {
        self.homes.as_ref().is_some_and(|homes| homes.may_have(hash))
    }

    /// The lane on which a key of this crc32 belongs at the end: `hash % shards`.
    #[inline]
    pub fn own_lane(&self, hash: u32) -> usize {
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
            let routing = Routing::new(shards as usize);
            prop_assert_eq!(routing.own_lane(hash), (hash % shards) as usize);
            prop_assert_eq!(routing.own_lane(u32::MAX), (u32::MAX % shards) as usize);
        }
    }

    #[test]
    fn remainders_by_small_numbers() {
        for shards in 1..=300u32 {
            let routing = Routing::new(shards as usize);
            for hash in (0..1000).chain(u32::MAX - 1000..=u32::MAX) {
                assert_eq!(routing.own_lane(hash), (hash % shards) as usize, "{hash} % {shards}");
            }
        }
    }
}
