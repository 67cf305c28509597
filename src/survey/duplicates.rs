//! Finds keys, and libraries of functions, that stand twice in an RDB part, at which a server that loads it ends (`RDB
//! has duplicated key`, rdb.c).
//!
//! Exactly, and in bounded memory: a filter of the keys' fingerprints, filled while the survey walks the source anyway,
//! yields suspects: every key that was there before, and now and then one that was not. If there are any, a second look
//! at the source compares the suspects' keys themselves. Only where a source has more keys than the filter can tell
//! apart is it walked some more times, each for a share of the fingerprints.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use rayon::prelude::*;

use super::Surveyed;
use crate::error::{Error, Kind, Result, shown};
use crate::rdb::{self, Item, library};
use crate::source::window::{Content, Window, unreadable};
use crate::source::{Position, Source};

/// The filter's size at most, in bytes.
const FILTER_BYTES_MAX: u64 = 64 << 20;
const FILTER_BYTES_MIN: u64 = 64 << 10;
/// The filter has two bits for each byte of the RDB parts if that is not too many. With values of a few bytes that are
/// about 60 for each key, with which not one in ten million is suspected wrongly.
const SOURCE_BYTES_PER_FILTER_BYTE: u64 = 4;
/// Suspects kept in one walk, of 8 bytes each.
const SUSPECTS_MAX: usize = 1 << 17;
/// In a walk for a share of the fingerprints the filter has so many bits for each.
const BITS_PER_KEY: u64 = 40;
/// More shares than this mean that the filter does not tell keys apart for another reason.
const SHARES_MAX: u64 = 1 << 16;
/// A line of the filter, as long as one of the processor's cache: a fingerprint sets a bit in each word of one line.
const LINE_WORDS: usize = 8;
const WORD_BITS_LOG: u32 = u64::BITS.ilog2();
/// Odd numbers without any pattern, one for each word (those of the split block filters of Apache Parquet).
const FACTORS: [u32; LINE_WORDS] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// Stands for the database of libraries of functions, which are told by their names; no database has this number.
pub(super) const LIBRARIES: u32 = u32::MAX;

/// Fingerprints that are taken in at a time: their lines come from memory side by side.
const AT_A_TIME: usize = 32;

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Line([u64; LINE_WORDS]);
const _: () = assert!(size_of::<Line>() == 64);

/// What a key of a database is told by, but for the rare case that others have the same.
#[derive(Debug, Clone)]
pub struct Fingerprints(RandomState);

impl Fingerprints {
    /// Other ones in every run, so that no source can have keys that are alike by intent.
    pub fn new() -> Self {
        Fingerprints(RandomState::default())
    }

    /// The fingerprint of a key.
    #[inline]
    pub fn of(&self, db: u32, key: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u32(db);
        hasher.write(key);
        hasher.finish()
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Duplicates {
    /// How many bytes the filter has once it is needed.
    bytes: u64,
    lines: Vec<Line>,
    suspects: Vec<u64>,
    /// Fingerprints taken in.
    keys: u64,
}

impl Duplicates {
    /// For a source that was not walked yet.
    pub(super) fn new(source: &Source) -> Self {
        let segments = (0..source.segments()).map(|segment| source.bytes(segment as u32));
        let bytes: u64 = segments.filter(|bytes| rdb::is_rdb(bytes)).map(|bytes| bytes.len() as u64).sum();
        let bytes = (bytes / SOURCE_BYTES_PER_FILTER_BYTE).clamp(FILTER_BYTES_MIN, FILTER_BYTES_MAX);
        Duplicates { bytes, lines: Vec::new(), suspects: Vec::new(), keys: 0 }
    }

    /// Takes fingerprints in; those that may have been there before become suspects.
    pub(super) fn add(&mut self, fingerprints: &[&[u64]]) {
        let keys = fingerprints.iter().map(|some| some.len() as u64).sum::<u64>();
        if keys == 0 {
            return;
        }
        self.keys += keys;
        let count = self.bytes as usize / size_of::<Line>();
        self.lines.resize(count, Line::default());
        let share = count.div_ceil(rayon::current_num_threads());
        let found = self.lines.par_chunks_mut(share).enumerate().map(|(nth, lines)| {
            let mut suspects = Vec::new();
            let mut ours = [(0, 0); AT_A_TIME];
            for some in fingerprints.iter().flat_map(|window| window.chunks(AT_A_TIME)) {
                let (mut taken, mut touched) = (0, 0);
                for fingerprint in some {
                    // The high bits say which line.
                    let at = ((u128::from(*fingerprint) * count as u128) >> 64) as usize;
                    let Some(at) = at.checked_sub(nth * share) else { continue };
                    let Some(line) = lines.get(at) else { continue };
                    touched |= line.0[0];
                    ours[taken] = (at, *fingerprint);
                    taken += 1;
                }
                std::hint::black_box(touched);
                for (at, fingerprint) in &ours[..taken] {
                    if lines[*at].takes_in(*fingerprint) {
                        suspects.push(*fingerprint);
                    }
                }
            }
            suspects
        });
        let found: Vec<Vec<u64>> = found.collect();
        let room = SUSPECTS_MAX - self.suspects.len();
        self.suspects.extend(found.into_iter().flatten().take(room));
    }

    /// Forgets all fingerprints.
    fn clear(&mut self) {
        self.lines.clear();
        self.suspects.clear();
    }

    fn are_too_many(&self) -> bool {
        self.suspects.len() == SUSPECTS_MAX
    }

    /// Refuses the source if a key stands twice in it.
    pub(super) fn refuse(mut self, look: &Look<'_>) -> Result<()> {
        look.at_suspects(&self.suspects)?;
        let mut shares = (self.keys * BITS_PER_KEY).div_ceil(self.bytes * 8).max(2);
        while self.are_too_many() && shares <= SHARES_MAX {
            for share in 0..shares {
                self.clear();
                look.walk(
                    |fingerprint| fingerprint % shares == share,
                    |found| {
                        let fingerprints: Vec<u64> =
                            found.iter().map(|(fingerprint, _)| *fingerprint).collect();
                        self.add(&[&fingerprints]);
                        Ok(())
                    },
                )?;
                look.at_suspects(&self.suspects)?;
                if self.are_too_many() {
                    break;
                }
            }
            shares *= 2;
        }
        Ok(())
    }
}

impl Line {
    /// Sets a fingerprint's bits, one in each word; whether all of them were set.
    #[inline]
    fn takes_in(&mut self, fingerprint: u64) -> bool {
        let mut all = true;
        for (word, factor) in self.0.iter_mut().zip(FACTORS) {
            // The low half of the fingerprint: the high one has chosen the line.
            let mask = 1 << ((fingerprint as u32).wrapping_mul(factor) >> (u32::BITS - WORD_BITS_LOG));
            all &= *word & mask != 0;
            *word |= mask;
        }
        all
    }
}

/// A key of a walk: its fingerprint, and where it stands.
type Found = (u64, Place);

#[derive(Debug, Clone, Copy)]
struct Place {
    at: Position,
    db: u32,
    /// Number of the run of RDB parts between which no command stands: for a server they are as one.
    run: u32,
}

/// What it takes to look at a surveyed source once more.
pub(super) struct Look<'l> {
    pub(super) source: &'l Source,
    pub(super) windows: &'l [Surveyed],
    pub(super) fingerprints: &'l Fingerprints,
    pub(super) go_on: &'l (dyn Fn() -> Result<()> + Sync),
}

impl<'l> Look<'l> {
    /// Walks all RDB parts in order and hands out the keys whose fingerprints are wanted, window by window.
    fn walk(
        &self,
        wanted: impl Fn(u64) -> bool + Sync,
        mut each: impl FnMut(&[Found]) -> Result<()>,
    ) -> Result<()> {
        let mut run = 0;
        let mut numbered: Vec<(&Window, u32)> = Vec::new();
        for Surveyed { window, .. } in self.windows {
            match window.content {
                Content::Rdb(_) => numbered.push((window, run)),
                Content::Commands => run += 1,
            }
        }
        for group in numbered.chunks(super::WINDOWS_PER_THREAD * rayon::current_num_threads()) {
            (self.go_on)()?;
            let found = group.par_iter().map(|(window, run)| {
                let mut found = Vec::new();
                self.keys(window, |at, db, key| {
                    let fingerprint = self.fingerprints.of(db, key);
                    if wanted(fingerprint) {
                        found.push((fingerprint, Place { at, db, run: *run }));
                    }
                })?;
                Ok(found)
            });
            found.collect::<Result<Vec<Vec<Found>>>>()?.iter().try_for_each(|found| each(found))?;
        }
        Ok(())
    }

    /// The keys of a window that a server would load.
    fn keys(&self, window: &Window, mut each: impl FnMut(Position, u32, &[u8])) -> Result<()> {
        let failed = |fault| unreadable(self.source, window.start.segment, fault);
        let mut entries = window.entries(self.source.bytes(window.start.segment)).map_err(failed)?;
        while entries.offset() < window.end {
            let at = Position { offset: entries.offset(), ..window.start };
            let db = u32::try_from(entries.db()).unwrap_or(LIBRARIES);
            if let Some(value) = entries.short_string() {
                each(at, db, &value.key);
                continue;
            }
            let Some(entry) = entries.next() else { break };
            match entry.map_err(failed)?.item {
                // The attributes before a value may hold a change of the database.
                Item::Value(value) if !value.is_empty => {
                    each(at, u32::try_from(entries.db()).unwrap_or(LIBRARIES), &value.key);
                }
                Item::Function(code) => {
                    each(at, LIBRARIES, &library::name(&code).unwrap_or_default());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Compares the keys behind suspicious fingerprints; refuses the source at the first that is there already.
    fn at_suspects(&self, suspects: &[u64]) -> Result<()> {
        let suspects: HashSet<u64, RandomState> = suspects.iter().copied().collect();
        if suspects.is_empty() {
            return Ok(());
        }
        let mut seen: HashMap<u64, Vec<Place>, RandomState> = HashMap::default();
        self.walk(
            |fingerprint| suspects.contains(&fingerprint),
            |found| {
                for (fingerprint, place) in found {
                    let others = seen.entry(*fingerprint).or_default();
                    let key = self.key(place.at);
                    let is_same = |other: &&Place| {
                        (other.db, other.run) == (place.db, place.run) && self.key(other.at) == key
                    };
                    if let Some(first) = others.iter().find(is_same) {
                        return Err(self.duplicate(first, place, key.as_deref().unwrap_or_default()));
                    }
                    others.push(*place);
                }
                Ok(())
            },
        )
    }

    /// The key of the entry at a place.
    fn key(&self, at: Position) -> Option<Cow<'l, [u8]>> {
        let nth = self.windows.partition_point(|surveyed| surveyed.window.start <= at).checked_sub(1)?;
        let window = Window { start: at, ..self.windows.get(nth)?.window };
        match window.entries(self.source.bytes(at.segment)).ok()?.next()?.ok()?.item {
            Item::Value(value) => Some(value.key),
            Item::Function(code) => library::name(&code).ok().map(Cow::Owned),
            _ => None,
        }
    }

    fn duplicate(&self, first: &Place, second: &Place, key: &[u8]) -> Error {
        let file = self.source.file(first.at.segment).display();
        let error = |what: &str| {
            let what = format!("{what} stands twice in the RDB data of the source");
            self.source.error(Kind::Source, what, second.at).unwritten()
        };
        let error = match second.db {
            LIBRARIES => error("a library of functions").place("library", shown(key)),
            db => error("a key").place("database", db.to_string()).place("key", shown(key)),
        };
        error
            .place("first", format!("{file} byte {}", first.at.offset))
            .remedy("take the file from a server or a backup again; redis-server refuses it too")
    }
}

#[cfg(test)]
#[path = "duplicates_tests.rs"]
mod tests;
