//! What the survey counts in a window of an RDB part.

use std::cmp::Reverse;

use super::duplicates::{Fingerprints, LIBRARIES};
use super::tally::LIBRARY_SPOTS_MAX;
use super::{Surveyed, Tally};
use crate::command::deadline::Clock;
use crate::error::{Result, shown};
use crate::partition::values::{Step, names, walk};
use crate::rdb::{Fault, Item, Kind, Repeats, Value, fields, library, loadable};
use crate::route::{Reach, Routed, Rules};
use crate::source::window::unreadable;
use crate::source::{Position, Source};

/// Biggest keys that are listed.
const BIGGEST_MAX: usize = 20;

/// Values of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindTally {
    /// How many.
    pub keys: u64,
    /// Their bytes in the source, keys and attributes included.
    pub bytes: u64,
}

/// One of the biggest values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Biggest {
    /// Its bytes in the source.
    pub bytes: u64,
    /// How it is stored.
    pub kind: Kind,
    /// Its database.
    pub db: u32,
    /// Its key, escaped.
    pub key: String,
    /// Where it stands.
    pub at: Position,
}

/// Counts the entries of a window, and looks whether a server would load them.
pub(super) fn tally(
    source: &Source,
    surveyed: &Surveyed,
    rules: &Rules,
    fingerprints: &Fingerprints,
    tally: &mut Tally,
) -> Result<()> {
    let start = surveyed.window.start;
    let mut repeats = Repeats::default();
    let mut run = Run::default();
    let failed = |fault| unreadable(source, start.segment, fault);
    walk(source, surveyed, rules, |step| {
        let at = Position { offset: start.offset + step.start, ..start };
        tally.total += 1;
        match step.item {
            Item::Value(value) => {
                loadable::check(&value.object, &mut repeats)
                    .map_err(|fault| failed(fault).place("key", shown(&value.key)))?;
                run.count(value.object.kind, &step, tally);
                tally.count_value(value, &step, at, rules.clock);
                if !value.is_empty {
                    tally.fingerprints.push(fingerprints.of(step.db, &value.key));
                }
            }
            Item::Function(code) => {
                tally.libraries += 1;
                if tally.library_spots.len() < LIBRARY_SPOTS_MAX {
                    tally.library_spots.push((at, step.len));
                }
                let name = library::name(code)
                    .map_err(|expected| failed(not_a_library(at.offset, expected, code)))?;
                tally.fingerprints.push(fingerprints.of(LIBRARIES, &name));
            }
            Item::ModuleAux { .. } => tally.kinds.entry(Kind::Module).or_default().keys += 1,
            _ => {}
        }
        match (step.routed, step.item) {
            (Routed::Lane(lane, _, Reach::Set(hash) | Reach::Key(hash)), Item::Value(value)) => {
                tally.see_key(rules.routing.own_lane(hash), step.db, &value.key);
                tally.count_entry(lane, &step);
                if rules.routing.is_foreign(lane, step.db, &value.key, step.ordinal) {
                    tally.foreign_bytes += step.len;
                }
            }
            (Routed::Every(_), _) => (0..tally.lanes.len()).for_each(|lane| tally.count_entry(lane, &step)),
            (Routed::Nowhere, _) => tally.dropped += 1,
            (Routed::Refused(refusal), item) => tally.refuse(refusal, at, || names(item)),
            _ => {}
        }
        Ok(())
    })?;
    run.add_to(tally);
    Ok(())
}

/// Values of one kind and database that stand together.
#[derive(Default)]
struct Run {
    of: Option<(Kind, u32)>,
    counts: KindTally,
}

impl Run {
    #[inline]
    fn count(&mut self, kind: Kind, step: &Step<'_, '_>, tally: &mut Tally) {
        if self.of != Some((kind, step.db)) {
            self.add_to(tally);
            *self = Run { of: Some((kind, step.db)), counts: KindTally::default() };
        }
        self.counts.add(KindTally { keys: 1, bytes: step.len });
    }

    fn add_to(&self, tally: &mut Tally) {
        if let Some((kind, db)) = self.of {
            tally.kinds.entry(kind).or_default().add(self.counts);
            *tally.databases.entry(db).or_default() += self.counts.keys;
            tally.db_max = tally.db_max.max(db);
        }
    }
}

impl KindTally {
    fn add(&mut self, more: KindTally) {
        self.keys += more.keys;
        self.bytes += more.bytes;
    }
}

/// A library of functions that no server takes.
fn not_a_library(at: u64, expected: &'static str, code: &[u8]) -> Fault {
    const SHOWN_BYTES: usize = 40;
    Fault::Damage { at, expected, found: shown(code.get(..SHOWN_BYTES).unwrap_or(code)) }
}

impl Tally {
    fn count_value(&mut self, value: &Value<'_>, step: &Step<'_, '_>, at: Position, clock: Clock) {
        if let Some(deadline) = value.deadline_ms {
            self.deadlines += 1;
            self.past_deadlines += u64::from(deadline <= clock.now_ms);
            self.deadline_ms_max = self.deadline_ms_max.max(deadline);
        }
        if value.object.kind.has_field_deadlines() && matches!(fields::deadlines(&value.object), Ok(Some(_)))
        {
            self.deadlines += 1;
        }
        if self.biggest.last().is_none_or(|smallest| smallest.bytes < step.len)
            || self.biggest.len() < BIGGEST_MAX
        {
            let (kind, key) = (value.object.kind, shown(&value.key));
            self.keep_biggest(Biggest { bytes: step.len, kind, db: step.db, key, at });
        }
    }

    fn count_entry(&mut self, lane: usize, step: &Step<'_, '_>) {
        self.lanes[lane].commands += 1;
        self.lanes[lane].bytes += step.len;
    }

    fn keep_biggest(&mut self, one: Biggest) {
        let place = self.biggest.partition_point(|other| Reverse(other.bytes) <= Reverse(one.bytes));
        self.biggest.insert(place, one);
        self.biggest.truncate(BIGGEST_MAX);
    }

    /// Adds the counts of what follows in the source.
    pub(super) fn add_values(&mut self, later: &Tally) {
        for (kind, more) in &later.kinds {
            self.kinds.entry(*kind).or_default().add(*more);
        }
        later.biggest.iter().for_each(|one| self.keep_biggest(one.clone()));
    }
}
