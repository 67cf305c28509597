//! Rates, from counters at two moments. The time since the start would be the wrong divisor: it
//! forgets stalls too slowly, and a resumed load does not start at 0.

use std::collections::VecDeque;
use std::time::Duration;

use super::snapshot::{Phase, Snapshot};
use crate::counters::LaneState;

/// Moments that are kept, which bounds the memory whatever the window is.
const SAMPLES_MAX: u32 = 32;

/// How fast one lane is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LaneRate {
    pub commands_per_s: f64,
    pub bytes_per_s: f64,
}

/// How fast all of it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates {
    /// The phase's work in a second, see [`Snapshot::done`].
    pub done_per_s: f64,
    /// All lanes together.
    pub total: LaneRate,
    /// By lane.
    pub lanes: Vec<LaneRate>,
    /// How long the rest of the phase will take; `None` if nothing moves.
    pub eta_s: Option<f64>,
}

#[derive(Debug)]
struct Sample {
    at: Duration,
    done: u64,
    /// Commands and bytes.
    lanes: Vec<(u64, u64)>,
}

/// Measures rates over the last while.
#[derive(Debug)]
pub struct Meter {
    window: Duration,
    samples: VecDeque<Sample>,
    /// Phase and number of lanes that wait: where this changes, what is done jumps.
    stage: Option<(Phase, usize)>,
}

impl Meter {
    pub fn new(window: Duration) -> Meter {
        Meter { window, samples: VecDeque::new(), stage: None }
    }

    /// Takes a moment in and gives the rates up to it.
    pub fn rates(&mut self, now: &Snapshot) -> Rates {
        let phase = now.phase();
        let stage = Some((phase, now.in_state(LaneState::Waiting)));
        if self.stage != stage {
            self.stage = stage;
            self.samples.clear();
        }
        let (done, total) = now.done(phase);
        let lanes = now.lanes.iter().map(|lane| (lane.commands, lane.bytes)).collect();
        let sample = Sample { at: now.at, done, lanes };
        // One sample older than the window stays, so that there is always a whole window to measure.
        while self.samples.get(1).is_some_and(|second| now.at.saturating_sub(second.at) >= self.window) {
            self.samples.pop_front();
        }
        let rates = self.samples.front().map_or_else(
            || Rates { lanes: vec![LaneRate::default(); now.lanes.len()], ..Rates::default() },
            |first| between(first, &sample, total),
        );
        let spacing = self.window / SAMPLES_MAX;
        if self.samples.back().is_none_or(|last| now.at.saturating_sub(last.at) >= spacing) {
            self.samples.push_back(sample);
        }
        rates
    }
}

fn between(first: &Sample, last: &Sample, total: u64) -> Rates {
    let seconds = last.at.saturating_sub(first.at).as_secs_f64();
    let rate =
        |from: u64, to: u64| if seconds > 0.0 { to.saturating_sub(from) as f64 / seconds } else { 0.0 };
    let lane = |(from, to): (&(u64, u64), &(u64, u64))| LaneRate {
        commands_per_s: rate(from.0, to.0),
        bytes_per_s: rate(from.1, to.1),
    };
    let lanes: Vec<LaneRate> = first.lanes.iter().zip(&last.lanes).map(lane).collect();
    let done_per_s = rate(first.done, last.done);
    let left = total.saturating_sub(last.done);
    Rates {
        done_per_s,
        total: LaneRate {
            commands_per_s: lanes.iter().map(|lane| lane.commands_per_s).sum(),
            bytes_per_s: lanes.iter().map(|lane| lane.bytes_per_s).sum(),
        },
        lanes,
        eta_s: (done_per_s > 0.0 && left > 0).then(|| left as f64 / done_per_s),
    }
}
