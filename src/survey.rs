//! The pass over the whole source before anything is written: is it sound, what is in it, where would
//! it go, what cannot be carried out.

mod sketch;
mod tally;

pub use sketch::Sketch;
pub use tally::{LaneTally, Refused, Tally};

use rayon::prelude::*;

use crate::error::Result;
use crate::route::{Placement, Rules};
use crate::source::window::{Tail, Window, Windows};
use crate::source::{Position, Source};

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
    /// The windows with their checksums, in order.
    pub windows: Vec<(Window, u32)>,
    /// Counts over all of them.
    pub tally: Tally,
}

/// Surveys `source` up to `end`, in windows of `window_bytes`.
///
/// `advance` is told the bytes that are done, for progress, and says whether to go on.
pub fn survey<P: Placement>(
    source: &Source,
    rules: &Rules<P>,
    window_bytes: u64,
    end: Position,
    advance: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Survey> {
    let survey = survey_to(source, rules, window_bytes, end, advance)?;
    match survey.tail {
        // A transaction that was never ended began in a window that has been counted already: what
        // lies behind its start does not belong to the source.
        Some(tail) if survey.windows.last().is_some_and(|(last, _)| end_of(last) > tail.at) => {
            let again = survey_to(source, rules, window_bytes, tail.at, advance)?;
            Ok(Survey { tail: Some(tail), ..again })
        }
        _ => Ok(survey),
    }
}

fn survey_to<P: Placement>(
    source: &Source,
    rules: &Rules<P>,
    window_bytes: u64,
    end: Position,
    advance: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Survey> {
    let lanes = rules.routing.lanes();
    let group = WINDOWS_PER_THREAD * rayon::current_num_threads();
    let mut windows = Windows::new(source, window_bytes, end);
    let mut found: Vec<(Window, u32)> = Vec::new();
    let mut hasher = crc32fast::Hasher::new();
    let mut tally = Tally::new(lanes);
    let mut next = take(&mut windows, group)?;
    while !next.is_empty() {
        // One thread steps over the frames of the next windows while the others look into these.
        let (tallies, after) = rayon::join(
            || next.par_iter().map(|window| tally::tally(source, window, rules)).collect::<Result<Vec<_>>>(),
            || take(&mut windows, group),
        );
        for (window, (window_tally, window_hasher)) in next.iter().zip(tallies?) {
            found.push((*window, window_hasher.clone().finalize()));
            hasher.combine(&window_hasher);
            tally.add(&window_tally);
            advance(source.bytes_before(end_of(window)))?;
        }
        next = after?;
    }
    let end = windows.tail().map_or(windows.at(), |tail| tail.at);
    Ok(Survey { end, tail: windows.tail(), sum: hasher.finalize(), windows: found, tally })
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
