//! The pass over the whole source before anything is written: is it sound, what is in it, where would
//! it go, what cannot be carried out.

mod duplicates;
mod placed;
mod scripts;
mod sketch;
mod tally;
mod values;

use duplicates::{Duplicates, Fingerprints, Look};
pub use placed::{Wanted, placed};
pub use scripts::scripts;
pub use sketch::Sketch;
pub use tally::{LaneTally, Refused, Tally};
pub use values::{Biggest, KindTally};

use std::sync::Arc;

use rayon::prelude::*;

use crate::error::Result;
use crate::partition::{self, Spot, Step, walk};
use crate::rdb::Item;
use crate::route::homes::Filter;
use crate::route::{Command, Reach, Routed, Rules, Touches, key_hash};
use crate::source::window::{Content, Tail, Window, Windows};
use crate::source::{Position, Source};

/// Most commands that are remembered for [`Survey::spots`]: 48 MiB.
const SPOTS_MAX: usize = 4 << 20;

/// Windows looked at in parallel in one go, for each thread.
const WINDOWS_PER_THREAD: usize = 2;

/// What the survey found.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Where the source ends for the load.
    pub end: Position,
    /// What lies behind that end and is dropped, as a server drops it.
    pub tail: Option<Tail>,
    /// Checksum (crc32) of all windows.
    pub sum: u32,
    /// The windows, in order.
    pub windows: Vec<Surveyed>,
    /// Counts over all of them.
    pub tally: Tally,
    /// The keys of commands that tie names together.
    pub ties: Arc<Filter>,
    /// For each window the commands that matter to the lives of names; `None` if there were too many to remember, so
    /// that they have to be looked for again.
    pub spots: Option<Vec<Vec<Spot>>>,
}

impl Survey {
    /// Whether there are libraries of functions, or commands that may load some.
    pub fn has_functions(&self) -> bool {
        self.tally.libraries > 0 || self.tally.commands.keys().any(|name| name.starts_with("FUNCTION"))
    }
}

/// A window with what the survey found out about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surveyed {
    /// The window.
    pub window: Window,
    /// Checksum (crc32) of its bytes.
    pub sum: u32,
    /// Commands of the source before it.
    pub before: u64,
}

/// Surveys `source` up to `end`, in windows of `window_bytes`.
///
/// `advance` is told the bytes that are done, for progress, and says whether to go on.
pub fn survey(
    source: &Source,
    rules: &Rules,
    window_bytes: u64,
    end: Position,
    advance: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Survey> {
    let survey = survey_to(source, rules, window_bytes, end, advance)?;
    match survey.tail {
        // A transaction that was never ended began in a window that has been counted already: what
        // lies behind its start does not belong to the source.
        Some(tail) if survey.windows.last().is_some_and(|last| end_of(&last.window) > tail.at) => {
            let again = survey_to(source, rules, window_bytes, tail.at, advance)?;
            Ok(Survey { tail: Some(tail), ..again })
        }
        _ => Ok(survey),
    }
}

fn survey_to(
    source: &Source,
    rules: &Rules,
    window_bytes: u64,
    end: Position,
    advance: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Survey> {
    let lanes = rules.lanes();
    let group = WINDOWS_PER_THREAD * rayon::current_num_threads();
    let mut windows = Windows::new(source, window_bytes, end);
    let mut found: Vec<Surveyed> = Vec::new();
    let mut hasher = crc32fast::Hasher::new();
    let mut tally = Tally::new(lanes);
    let ties = Filter::default();
    let fingerprints = Fingerprints::new();
    let mut duplicates = Duplicates::new(source);
    let (mut spots, mut spots_count) = (Some(Vec::new()), 0);
    let mut next = take(&mut windows, group)?;
    while !next.is_empty() {
        // One thread steps over the frames of the next windows while the others look into these.
        let (tallies, after) = rayon::join(
            || {
                next.par_iter()
                    .map(|window| look_at(source, window, rules, (&ties, &fingerprints)))
                    .collect::<Result<Vec<_>>>()
            },
            || take(&mut windows, group),
        );
        let tallies = tallies?;
        duplicates.add(&tallies.iter().map(|(tally, _)| tally.fingerprints.as_slice()).collect::<Vec<_>>());
        for (window, (mut window_tally, window_hasher)) in next.iter().zip(tallies) {
            found.push(Surveyed {
                window: *window,
                sum: window_hasher.clone().finalize(),
                before: tally.total,
            });
            hasher.combine(&window_hasher);
            tally.add(&window_tally);
            spots_count += window_tally.spots.len();
            window_tally.spots.shrink_to_fit();
            spots = spots.filter(|_| spots_count <= SPOTS_MAX);
            spots.iter_mut().for_each(|spots| spots.push(std::mem::take(&mut window_tally.spots)));
            advance(source.bytes_before(end_of(window)))?;
        }
        next = after?;
    }
    let go_on = || advance(source.bytes_before(windows.at()));
    duplicates.refuse(&Look { source, windows: &found, fingerprints: &fingerprints, go_on: &go_on })?;
    let end = windows.tail().map_or(windows.at(), |tail| tail.at);
    Ok(Survey {
        end,
        tail: windows.tail(),
        sum: hasher.finalize(),
        windows: found,
        tally,
        ties: Arc::new(ties),
        spots,
    })
}

/// Counts a window; also gives the hasher that has seen its bytes.
fn look_at(
    source: &Source,
    window: &Window,
    rules: &Rules,
    (ties, fingerprints): (&Filter, &Fingerprints),
) -> Result<(Tally, crc32fast::Hasher)> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(window.bytes(source));
    // Numbers of commands do not matter yet.
    let surveyed = Surveyed { window: *window, sum: 0, before: 0 };
    Ok((tally::tally(source, &surveyed, rules, (ties, fingerprints))?, hasher))
}

/// Finds out which commands are the last on their keys: a pass of its own over a surveyed source, for
/// sources with deadlines. `go_on` says whether to, window by window.
pub fn touches(
    source: &Source,
    rules: &Rules,
    survey: &Survey,
    go_on: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Touches> {
    let touches = Touches::new(survey.tally.total);
    let look = |surveyed: &Surveyed| {
        go_on()?;
        if let Content::Rdb(_) = surveyed.window.content {
            return partition::values::walk(source, surveyed, rules, |step| {
                if let Item::Value(value) = step.item {
                    touches.key(step.db, key_hash(&value.key), step.ordinal);
                }
                Ok(())
            });
        }
        walk(source, surveyed, rules, |step| {
            let Command { db, ordinal, .. } = step.command;
            match step.routed {
                Routed::Lane(_, _, Reach::Set(hash) | Reach::Key(hash)) => touches.key(db, hash, ordinal),
                Routed::Lane(_, _, Reach::Arguments) | Routed::Parts => {
                    let arguments = step.command.arguments();
                    arguments.iter().for_each(|argument| touches.key(db, key_hash(argument), ordinal));
                }
                // Libraries and scripts are no keys.
                Routed::Every(_) if ["FUNCTION", "SCRIPT"].contains(&name_of(step)) => {}
                Routed::Lane(_, _, Reach::All) | Routed::Every(_) => touches.any(ordinal),
                Routed::State(_) | Routed::Nowhere | Routed::Tied | Routed::Refused(_) => {}
            }
        })
    };
    survey.windows.par_iter().try_for_each(look)?;
    Ok(touches)
}

/// The first word of a command's name in the table.
fn name_of(step: &Step<'_>) -> &'static str {
    step.spec.map_or("", |spec| spec.name.split(' ').next().unwrap_or_default())
}

fn take(windows: &mut Windows<'_>, most: usize) -> Result<Vec<Window>> {
    let mut taken = Vec::with_capacity(most);
    while taken.len() < most {
        match windows.next_window()? {
            Some(window) => taken.push(window),
            None => break,
        }
    }
    Ok(taken)
}

fn end_of(window: &Window) -> Position {
    Position { segment: window.start.segment, offset: window.end }
}
