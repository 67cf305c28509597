//! Finds what stands twice among the members or fields of one value.
//!
//! Exactly, and in bounded memory: a table of marks, a few bits of a hash each, yields suspects: every member that was
//! there before, and hardly ever one that was not. Only if there are suspects, the value is gone through once more and
//! the members themselves are compared.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::elements::{Element, Look, look};
use super::fault::Bad;
use super::reader::Object;

/// Members looked at in one go; more are gone through several times, each time for a share of the hashes. With four
/// bytes for a mark, and twice as many places as members, this is 32 MiB.
const MEMBERS_AT_A_TIME: u64 = 1 << 22;
/// Hashes that are taken in at a time.
const AT_A_TIME: usize = 32;
/// A table of more places is given back as soon as its value is done.
const PLACES_KEPT: usize = 1 << 16;
/// So many suspects without one that is right do not occur.
const SUSPECTS_MAX: usize = 64;

/// The table, which is used for one value after the other.
#[derive(Debug, Default)]
pub struct Repeats {
    /// Other hashes in every run, so that no source can have members that are alike by intent.
    state: RandomState,
    /// 0 is a free place.
    marks: Vec<u32>,
}

impl Repeats {
    /// A member or field that stands in a value of `count` elements twice. Damage that is met is an error.
    pub(super) fn find(
        &mut self,
        object: &Object<'_>,
        how: Look,
        count: u64,
    ) -> Result<Option<Vec<u8>>, nom::Err<Bad>> {
        let shares = count.div_ceil(MEMBERS_AT_A_TIME).max(1);
        let places = (2 * count.min(MEMBERS_AT_A_TIME)).next_power_of_two() as usize;
        let mut found = None;
        for share in 0..shares {
            self.marks.clear();
            self.marks.resize(places, 0);
            let suspects = self.suspects(object, how, |hash| hash % shares == share)?;
            if !suspects.is_empty() {
                found = self.compare(object, how, &suspects)?;
            }
            if found.is_some() {
                break;
            }
        }
        if places > PLACES_KEPT {
            self.marks = Vec::new();
        }
        Ok(found)
    }

    /// Hashes of members that may have been there before.
    fn suspects(
        &mut self,
        object: &Object<'_>,
        how: Look,
        is_wanted: impl Fn(u64) -> bool,
    ) -> Result<Vec<u64>, nom::Err<Bad>> {
        let Repeats { state, marks } = self;
        let mut suspects = Vec::new();
        let (mut waiting, mut count) = ([0; AT_A_TIME], 0);
        look(object, how, |element| {
            let hash = hash(state, name(&element));
            if is_wanted(hash) {
                waiting[count] = hash;
                count += 1;
            }
            if count == AT_A_TIME {
                take_in(marks, &waiting, &mut suspects);
                count = 0;
            }
        })?;
        take_in(marks, &waiting[..count], &mut suspects);
        Ok(suspects)
    }

    fn compare(
        &self,
        object: &Object<'_>,
        how: Look,
        suspects: &[u64],
    ) -> Result<Option<Vec<u8>>, nom::Err<Bad>> {
        let mut seen: HashMap<u64, Vec<Vec<u8>>, RandomState> = HashMap::default();
        let mut twice = None;
        look(object, how, |element| {
            let name = name(&element);
            let hash = hash(&self.state, name);
            if twice.is_none() && suspects.contains(&hash) {
                let others = seen.entry(hash).or_default();
                if others.iter().any(|other| other == name) {
                    twice = Some(name.to_vec());
                } else {
                    others.push(name.to_vec());
                }
            }
        })?;
        Ok(twice)
    }
}

fn hash(state: &RandomState, name: &[u8]) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(name);
    hasher.finish()
}

/// What an element is told by in its value.
fn name<'e>(element: &Element<'e>) -> &'e [u8] {
    match *element {
        Element::Piece { bytes, .. } | Element::Item(bytes) | Element::Member(bytes) => bytes,
        Element::Scored { member, .. } => member,
        Element::Field { field, .. } => field,
        // Servers look for no repeats in streams.
        Element::Bare { .. } | Element::Entry { .. } | Element::Ids { .. } => b"",
    }
}

/// Puts the marks of hashes into the table; those that are there become suspects.
fn take_in(marks: &mut [u32], hashes: &[u64], suspects: &mut Vec<u64>) {
    // The places of a large table come from memory side by side.
    let places = hashes.iter().map(|hash| marks[*hash as usize & (marks.len() - 1)]);
    std::hint::black_box(places.fold(0, |all, mark| all | mark));
    for hash in hashes {
        if !is_new(marks, *hash) && suspects.len() < SUSPECTS_MAX {
            suspects.push(*hash);
        }
    }
}

/// Puts the mark of a hash into the table, unless it is there.
#[inline]
fn is_new(marks: &mut [u32], hash: u64) -> bool {
    let mark = (hash >> 32) as u32 | 1;
    let mut at = hash as usize;
    for _ in 0..marks.len() {
        at &= marks.len() - 1;
        match marks[at] {
            0 => {
                marks[at] = mark;
                return true;
            }
            there if there == mark => return false,
            _ => at += 1,
        }
    }
    // More members than were counted: to be safe, a suspect.
    false
}
