//! Where names are at home that commands tie to names of other lanes.
//!
//! A *life* of a name is its time between two moments at which it is certainly absent. All commands of a life go to
//! one lane, its home. Here are the lives whose home is not the lane that their key's hash names; how they are found
//! is the matter of [`crate::placement`].

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip128::SipHasher13;

/// Identifies a name by a keyed hash of its key, mixed with its database. Whether two names share one is as good as
/// impossible, even for who chooses the names, since the hash's own key is drawn anew in every run.
pub type NameHash = u128;

/// Hashes keys for [`NameHash`].
#[derive(Debug, Clone, Copy)]
pub struct KeyHasher(SipHasher13);

impl KeyHasher {
    /// One with a random key of its own.
    pub fn random() -> Self {
        KeyHasher(SipHasher13::new_with_keys(crate::random(), crate::random()))
    }

    /// The hash of a key alone.
    pub fn key(&self, key: &[u8]) -> u128 {
        self.0.hash(key).as_u128()
    }
}

/// The name of a key with this hash in database `db`.
pub fn named(key: u128, db: u32) -> NameHash {
    key ^ u128::from(db).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

/// Passes on a hash that is one already.
#[derive(Debug, Default)]
pub struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

/// A map by name.
pub type ByName<V> = HashMap<NameHash, V, BuildHasherDefault<Identity>>;

/// Tells in constant memory of most keys that they are not in a set: two bits of one word, which bits of their crc32
/// name, are set for all that are. Takes no memory before the first key.
#[derive(Debug)]
pub struct Filter {
    words: OnceLock<Vec<AtomicU64>>,
    bits: u32,
}

/// Most bits of a [`Filter`]: 16 MiB.
const FILTER_BITS_MAX: u32 = 1 << 27;
/// Bits if it is not known how many keys there will be: 2 MiB.
const FILTER_BITS: u32 = 1 << 24;
/// Bits for each key of a known number: one key of about 200 that are not in the set is taken for one that is.
const FILTER_BITS_PER_KEY: u32 = 32;

impl Default for Filter {
    fn default() -> Self {
        Filter { words: OnceLock::new(), bits: FILTER_BITS }
    }
}

impl Filter {
    /// One for so many keys.
    pub fn for_keys(keys: usize) -> Self {
        let wanted = u32::try_from(keys).unwrap_or(u32::MAX).saturating_mul(FILTER_BITS_PER_KEY);
        let bits = wanted.clamp(u64::BITS, FILTER_BITS_MAX).next_power_of_two();
        Filter { words: OnceLock::new(), bits }
    }

    /// Adds a key by its crc32.
    pub fn add(&self, hash: u32) {
        let words = self.words.get_or_init(|| {
            let mut words = Vec::new();
            words.resize_with((self.bits / u64::BITS) as usize, AtomicU64::default);
            words
        });
        let (word, bits) = self.place(hash);
        words[word].fetch_or(bits, Ordering::Relaxed);
    }

    /// Whether no key was added.
    pub fn is_empty(&self) -> bool {
        self.words.get().is_none()
    }

    /// Whether a key may be in the set.
    #[inline]
    pub fn may_have(&self, hash: u32) -> bool {
        let (word, bits) = self.place(hash);
        self.words.get().is_some_and(|words| words[word].load(Ordering::Relaxed) & bits == bits)
    }

    #[inline]
    fn place(&self, hash: u32) -> (usize, u64) {
        let word = (hash & (self.bits - 1)) / u64::BITS;
        // The highest bits, which the word's number has no use for but in the largest filters.
        let other = hash >> (u32::BITS - u64::BITS.ilog2());
        (word as usize, 1 << (hash % u64::BITS) | 1 << other)
    }
}

/// Which database goes by which number, as SWAPDBs leave them. A database itself is known by the number that it has
/// at the start of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Databases(BTreeMap<u32, u32>);

impl Databases {
    /// The database that goes by this number.
    pub fn behind(&self, number: u32) -> u32 {
        self.0.get(&number).copied().unwrap_or(number)
    }

    /// The number that this database goes by.
    pub fn number_of(&self, database: u32) -> u32 {
        self.0.iter().find(|(_, behind)| **behind == database).map_or(database, |(number, _)| *number)
    }

    /// What SWAPDB does.
    pub fn swap(&mut self, one: u32, other: u32) {
        let (behind_one, behind_other) = (self.behind(one), self.behind(other));
        self.0.insert(one, behind_other);
        self.0.insert(other, behind_one);
    }

    /// How many numbers it had to remember.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was ever swapped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A stretch of a name's lives with one home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    /// Number of the first command that it is for.
    pub from: u64,
    /// The home; `None` for the name's own lane.
    pub lane: Option<u16>,
    /// Whether it lasts to the end of the source, so that what is there then has to be brought to the own lane.
    pub lasts: bool,
}

/// The homes of all lives that are not at home on their own lane.
#[derive(Debug)]
pub struct Homes {
    hasher: KeyHasher,
    filter: Filter,
    /// For each name where its stays are in `stays`: the first, and how many.
    names: ByName<(u32, u32)>,
    stays: Vec<Stay>,
    /// The databases behind each SWAPDB, by its number.
    swaps: Vec<(u64, Databases)>,
}

impl Homes {
    /// Nobody's yet, with room for so many names.
    pub fn new(hasher: KeyHasher, swaps: Vec<(u64, Databases)>, names: usize) -> Self {
        let filter = Filter::for_keys(names);
        let names = ByName::with_capacity_and_hasher(names, BuildHasherDefault::default());
        Homes { hasher, filter, names, stays: Vec::new(), swaps }
    }

    /// Adds a name (of a key of crc32 `hash`) with its stays, sorted by their beginning.
    pub fn add(&mut self, name: NameHash, hash: u32, stays: impl IntoIterator<Item = Stay>) {
        let first = self.stays.len();
        self.stays.extend(stays);
        self.filter.add(hash);
        self.names.insert(name, (first as u32, (self.stays.len() - first) as u32));
    }

    /// Whether there may be a name of a key of this crc32.
    #[inline]
    pub fn may_have(&self, hash: u32) -> bool {
        self.filter.may_have(hash)
    }

    /// Where the name is that `key`, of crc32 `hash`, has in database number `db` when command number `ordinal` runs;
    /// `None` if that is not known to be anywhere but on its own lane.
    #[inline]
    pub fn stay(&self, db: u32, key: &[u8], hash: u32, ordinal: u64) -> Option<Stay> {
        if self.filter.may_have(hash) { self.look_up(db, key, ordinal) } else { None }
    }

    #[inline(never)]
    fn look_up(&self, db: u32, key: &[u8], ordinal: u64) -> Option<Stay> {
        let swaps = self.swaps.partition_point(|(at, _)| *at < ordinal);
        let database = swaps.checked_sub(1).map_or(db, |last| self.swaps[last].1.behind(db));
        let (first, count) = *self.names.get(&named(self.hasher.key(key), database))?;
        let stays = self.stays.get(first as usize..)?.get(..count as usize)?;
        let behind = stays.partition_point(|stay| stay.from <= ordinal);
        stays.get(behind.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::key_hash;

    #[test]
    fn databases_are_followed_through_swaps() {
        let mut databases = Databases::default();
        databases.swap(0, 3);
        databases.swap(3, 5);
        assert_eq!([0, 3, 5, 7].map(|number| databases.behind(number)), [3, 5, 0, 7]);
        assert_eq!([0, 3, 5, 7].map(|database| databases.number_of(database)), [5, 0, 3, 7]);
    }

    #[test]
    fn a_stay_is_found_by_name_and_time() {
        let mut databases = Databases::default();
        databases.swap(0, 1);
        let hasher = KeyHasher::random();
        let mut homes = Homes::new(hasher, vec![(20, databases)], 1);
        let stay = |from, lane| Stay { from, lane, lasts: false };
        let hash = key_hash(b"k");
        homes.add(named(hasher.key(b"k"), 0), hash, [stay(5, Some(2)), stay(9, None), stay(12, Some(1))]);
        let lane = |db, ordinal| homes.stay(db, b"k", hash, ordinal).and_then(|stay| stay.lane);
        assert_eq!(
            [4, 5, 8, 9, 11, 12, 20].map(|at| lane(0, at)),
            [None, Some(2), Some(2), None, None, Some(1), Some(1)]
        );
        assert_eq!((lane(0, 21), lane(1, 21), lane(1, 20)), (None, Some(1), None));
        assert_eq!(homes.stay(0, b"j", hash, 5), None);
    }
}
