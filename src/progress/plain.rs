//! Progress as plain lines, for logs and pipes: one every interval, and one whenever a shard's state
//! changes.

use std::io::Write;
use std::time::Duration;

use super::meter::{Meter, Rates};
use super::snapshot::{Lane, Phase, Snapshot};
use super::{Display, write_line};
use crate::counters::LaneState;
use crate::error::clean;
use crate::report::human;

/// With more shards than this, only what goes wrong is told of each; the interval's lines count the rest.
pub const SHARDS_TOLD_MAX: usize = 16;

/// Rates are measured over the interval, but over no more than this.
const WINDOW_MAX: Duration = Duration::from_secs(60);

/// Writes the lines.
pub struct Plain<W> {
    out: W,
    interval: Duration,
    next: Duration,
    meter: Meter,
    watch: Watch,
}

impl<W: Write> Plain<W> {
    pub fn new(out: W, interval: Duration) -> Plain<W> {
        let interval = interval.max(Duration::from_millis(1));
        let meter = Meter::new(interval.min(WINDOW_MAX));
        Plain { out, interval, next: interval, meter, watch: Watch::default() }
    }

    fn changes(&mut self, now: &Snapshot) {
        for line in self.watch.changes(now) {
            write_line(&mut self.out, &line);
        }
    }
}

impl<W: Write + Send> Display for Plain<W> {
    fn tick(&mut self, now: Snapshot) {
        self.changes(&now);
        let rates = self.meter.rates(&now);
        if now.at >= self.next {
            self.next = now.at + self.interval;
            write_line(&mut self.out, &line(&now, &rates));
        }
    }

    fn end(&mut self, now: Snapshot) {
        self.changes(&now);
    }
}

/// `progress: 43% 1.20 GB of 2.80 GB, 512k commands/s, 3 shards loading, eta 12 s`
fn line(now: &Snapshot, rates: &Rates) -> String {
    let phase = now.phase();
    let word = if phase == Phase::Loading { "" } else { phase.word() };
    let words: Vec<String> =
        [word.to_owned(), amount(now, phase)].into_iter().filter(|w| !w.is_empty()).collect();
    let mut parts = vec![format!("progress: {}", words.join(" "))];
    match phase {
        Phase::Surveying if rates.done_per_s > 0.0 => parts.push(human::bytes_per_s(rates.done_per_s)),
        Phase::Shipping | Phase::Settling if rates.done_per_s > 0.0 => {
            parts.push(format!("{} keys/s", human::short(rates.done_per_s)))
        }
        Phase::Loading => parts.push(format!("{} commands/s", human::short(rates.total.commands_per_s))),
        _ => {}
    }
    if !matches!(phase, Phase::Surveying | Phase::Preparing) {
        parts.push(states(now));
    }
    parts.extend(rates.eta_s.map(|seconds| format!("eta {}", human::eta(seconds))));
    parts.join(", ")
}

/// `43% 1.20 GB of 2.80 GB`, or keys when settling; nothing where there is nothing to measure.
pub fn amount(now: &Snapshot, phase: Phase) -> String {
    let (done, total) = now.done(phase);
    let percent = human::percent(done, total);
    match phase {
        Phase::Preparing => String::new(),
        Phase::Shipping | Phase::Settling if total == 0 => String::new(),
        Phase::Shipping | Phase::Settling => {
            format!("{percent}% {} of {} keys", human::short(done as f64), human::short(total as f64))
        }
        _ => format!("{percent}% {} of {}", human::bytes(done), human::bytes(total)),
    }
}

/// `2 shards loading, 1 reconnecting`.
pub fn states(now: &Snapshot) -> String {
    const ORDER: [LaneState; 8] = [
        LaneState::Loading,
        LaneState::Shipping,
        LaneState::Settling,
        LaneState::Waiting,
        LaneState::Reconnecting,
        LaneState::Loaded,
        LaneState::Done,
        LaneState::Stopped,
    ];
    let shards = |state| now.lanes.iter().filter(|lane| lane.state == state && !lane.scratch).count();
    let counts = ORDER.iter().map(|state| (shards(*state), state.word())).filter(|(count, _)| *count > 0);
    let texts = counts.enumerate().map(|(place, (count, word))| match (place, count) {
        (0, 1) => format!("1 shard {word}"),
        (0, _) => format!("{count} shards {word}"),
        _ => format!("{count} {word}"),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Finds the shards whose state has changed.
#[derive(Debug, Default)]
struct Watch {
    told: Vec<Told>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    state: LaneState,
    /// A shard reconnects and has not said why: it gets one more moment to.
    waits_for_note: bool,
}

impl Watch {
    fn changes(&mut self, now: &Snapshot) -> Vec<String> {
        self.told.resize(now.lanes.len(), Told { state: LaneState::Waiting, waits_for_note: false });
        let few = now.lanes.len() <= SHARDS_TOLD_MAX;
        let mut lines = Vec::new();
        for (number, (lane, told)) in now.lanes.iter().zip(&mut self.told).enumerate() {
            if lane.state == told.state {
                told.waits_for_note = false;
                continue;
            }
            if lane.state == LaneState::Reconnecting && lane.note.is_empty() && !told.waits_for_note {
                told.waits_for_note = true;
                continue;
            }
            let change = change(told.state, lane, few);
            *told = Told { state: lane.state, waits_for_note: false };
            let name = match lane.scratch {
                true => lane.target.clone(),
                false => format!("shard {number} ({})", clean(&lane.target)),
            };
            lines.extend(change.map(|text| format!("{name}: {text}")));
        }
        lines
    }
}

fn change(before: LaneState, lane: &Lane, few: bool) -> Option<String> {
    let word = lane.state.word();
    let with_note = || match lane.note.as_str() {
        "" => word.to_owned(),
        note => format!("{word}: {}", clean(note)),
    };
    match lane.state {
        LaneState::Reconnecting | LaneState::Stopped => Some(with_note()),
        LaneState::Loading | LaneState::Shipping | LaneState::Settling
            if before == LaneState::Reconnecting =>
        {
            Some(format!("{word} again"))
        }
        LaneState::Loaded if few => Some(format!("{word}, {}", human::counted(lane.commands, "command"))),
        LaneState::Shipping | LaneState::Settling | LaneState::Done if few => Some(with_note()),
        _ => None,
    }
}
