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
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rayon::prelude::*;

use crate::error::Result;
use crate::partition::{self, Spot, Step, Trace, walk};
use crate::rdb::Item;
use crate::route::homes::Filter;
use crate::route::{Command, Reach, Routed, Rules, Touches, key_hash};
use crate::source::window::{Behind, Content, Tail, Window, Windows};
use crate::source::{Position, Source};

/// Most commands that are remembered for [`Survey::spots`]: 48 MiB.
const SPOTS_MAX: usize = 4 << 20;

/// Most commands that are remembered for [`Survey::traces`], but for those of windows under way: about 80 MiB.
const TRACED_MAX: usize = 16 << 20;

/// Windows looked at in parallel in one go, for each thread.
const WINDOWS_PER_THREAD: usize = 2;

/// What the survey found.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Where the source ends for the load.
    pub end: Position,
    /// What lies behind that end and is dropped, as a server drops it.
    pub tail: Option<Tail>,
    /// Checksum (crc32) of all windows, if the survey was for a load.
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
    /// For each window all its commands, if the survey was for a report, names were seen to be tied together before,
    /// and there was room.
    pub traces: Vec<Option<Trace>>,
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
    /// Checksum (crc32) of its bytes, if the survey was for a load.
    pub sum: u32,
    /// Commands of the source before it.
    pub before: u64,
    /// Commands in it.
    pub commands: u64,
}

/// What a survey is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Loading: windows get their checksums, by which later changes of the source are noticed.
    Load,
    /// Only a report, for which values need not be read. Checksums are 0.
    Report,
}

/// Surveys `source` up to `end`, in windows of `window_bytes`.
///
/// `advance` is told the bytes that are done, for progress, and says whether to go on.
pub fn survey(
    source: &Source,
    rules: &Rules,
    (window_bytes, purpose): (u64, Purpose),
    end: Position,
    advance: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Survey> {
    let survey = survey_to(source, rules, (window_bytes, purpose), end, advance)?;
    match survey.tail {
        // A transaction that was never ended began in a window that has been counted already: what
        // lies behind its start does not belong to the source.
        Some(tail) if survey.windows.last().is_some_and(|last| end_of(&last.window) > tail.at) => {
            let again = survey_to(source, rules, (window_bytes, purpose), tail.at, advance)?;
            Ok(Survey { tail: Some(tail), ..again })
        }
        _ => Ok(survey),
    }
}

fn survey_to(
    source: &Source,
    rules: &Rules,
    (window_bytes, purpose): (u64, Purpose),
    end: Position,
    advance: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Survey> {
    let group = WINDOWS_PER_THREAD * rayon::current_num_threads();
    let (ties, fingerprints) = (Filter::default(), Fingerprints::new());
    let traced = AtomicUsize::new(0);
    let look = |window: &Window| {
        let traces = purpose == Purpose::Report && !ties.is_empty();
        let trace = (traces && traced.load(Relaxed) < TRACED_MAX).then(|| Trace::for_bytes(window.len()));
        let looked = look_at(source, window, (rules, purpose), (&ties, &fingerprints), trace)?;
        traced.fetch_add(looked.tally.trace.as_ref().map_or(0, Trace::len), Relaxed);
        Ok(looked)
    };
    let mut windows = Windows::new(source, window_bytes, end);
    let mut found = Found::new(source, rules.lanes());
    let mut trust = Trust::default();
    let mut next: Vec<Window> = Vec::new();
    loop {
        // Windows that lie where they were guessed to need not be stepped over first.
        if next.is_empty() && trust.is_due() {
            let foreseen = windows.foresee(group)?;
            let looked: Vec<_> = foreseen.par_iter().map(look).collect();
            let right = found.add_foreseen(&mut windows, foreseen.iter().zip(looked));
            trust.learn(right > 0 && right == foreseen.len());
            advance(source.bytes_before(windows.at()))?;
            continue;
        }
        if next.is_empty() {
            next = take(&mut windows, group)?;
        }
        if next.is_empty() {
            break;
        }
        trust.wait();
        // One thread steps over the frames of the next windows while the others look into these.
        let (looked, after) = rayon::join(
            || next.par_iter().map(look).collect::<Result<Vec<_>>>(),
            || if trust.is_due() { Ok(Vec::new()) } else { take(&mut windows, group) },
        );
        let looked = looked?;
        found
            .duplicates
            .add(&looked.iter().map(|looked| looked.tally.fingerprints.as_slice()).collect::<Vec<_>>());
        for (window, looked) in next.iter().zip(looked) {
            found.add(window, looked);
            advance(source.bytes_before(end_of(window)))?;
        }
        next = after?;
    }
    let go_on = || advance(source.bytes_before(windows.at()));
    let look = Look { source, windows: &found.windows, fingerprints: &fingerprints, go_on: &go_on };
    found.duplicates.refuse(&look)?;
    let end = windows.tail().map_or(windows.at(), |tail| tail.at);
    Ok(Survey {
        end,
        tail: windows.tail(),
        sum: found.hasher.finalize(),
        windows: found.windows,
        tally: found.tally,
        ties: Arc::new(ties),
        spots: found.spots,
        traces: found.traces,
    })
}

/// Whether windows are guessed or cut.
#[derive(Debug, Default)]
struct Trust {
    /// Groups that are to be cut before the next guess.
    groups: u32,
    /// Groups that were cut after the last guess that was wrong.
    patience: u32,
}

impl Trust {
    /// Most groups that are cut between two guesses.
    const PATIENCE_MAX: u32 = 64;

    /// Whether the next windows are to be guessed.
    fn is_due(&self) -> bool {
        self.groups == 0
    }

    /// Takes in that a group is cut.
    fn wait(&mut self) {
        self.groups = self.groups.saturating_sub(1);
    }

    /// Takes in whether all of a guess was right. Each that was not leaves the more to be cut.
    fn learn(&mut self, right: bool) {
        self.patience = if right { 0 } else { (self.patience * 2).clamp(1, Trust::PATIENCE_MAX) };
        self.groups = self.patience;
    }
}

/// What the survey has found so far.
struct Found {
    windows: Vec<Surveyed>,
    hasher: crc32fast::Hasher,
    tally: Tally,
    duplicates: Duplicates,
    /// See [`Survey::spots`].
    spots: Option<Vec<Vec<Spot>>>,
    spots_count: usize,
    /// See [`Survey::traces`].
    traces: Vec<Option<Trace>>,
}

impl Found {
    fn new(source: &Source, lanes: usize) -> Self {
        Found {
            windows: Vec::new(),
            hasher: crc32fast::Hasher::new(),
            tally: Tally::new(lanes),
            duplicates: Duplicates::new(source),
            spots: Some(Vec::new()),
            spots_count: 0,
            traces: Vec::new(),
        }
    }

    /// Adds what was found in windows that were guessed, as far as the guess was right; how many that are.
    fn add_foreseen<'w>(
        &mut self,
        windows: &mut Windows<'_>,
        looked: impl Iterator<Item = (&'w Window, Result<Looked>)>,
    ) -> usize {
        let before = self.windows.len();
        for (window, looked) in looked {
            // What cannot be read is told when it is stepped over.
            let Ok(looked) = looked else { break };
            if !looked.behind.is_some_and(|behind| windows.accept(window, behind)) {
                break;
            }
            self.add(window, looked);
        }
        self.windows.len() - before
    }

    /// Adds what was found in the next window.
    fn add(&mut self, window: &Window, Looked { mut tally, hasher, .. }: Looked) {
        let sum = hasher.clone().finalize();
        let before = self.tally.total;
        self.windows.push(Surveyed { window: *window, sum, before, commands: tally.total });
        self.hasher.combine(&hasher);
        self.tally.add(&tally);
        self.spots_count += tally.spots.len();
        tally.spots.shrink_to_fit();
        if self.spots_count > SPOTS_MAX {
            self.spots = None;
        }
        if let Some(spots) = &mut self.spots {
            spots.push(tally.spots);
        }
        self.traces.push(tally.trace);
    }
}

/// What was found in a window.
struct Looked {
    tally: Tally,
    /// Has seen its bytes.
    hasher: crc32fast::Hasher,
    /// The state behind it, if it is of commands.
    behind: Option<Behind>,
}

fn look_at(
    source: &Source,
    window: &Window,
    (rules, purpose): (&Rules, Purpose),
    (ties, fingerprints): (&Filter, &Fingerprints),
    trace: Option<Trace>,
) -> Result<Looked> {
    let mut hasher = crc32fast::Hasher::new();
    if purpose == Purpose::Load {
        hasher.update(window.bytes(source));
    }
    // Numbers of commands do not matter yet.
    let surveyed = Surveyed { window: *window, sum: 0, before: 0, commands: 0 };
    let (tally, behind) = tally::tally(source, &surveyed, (rules, purpose), (ties, fingerprints), trace)?;
    Ok(Looked { tally, hasher, behind })
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
        .map(drop)
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

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
