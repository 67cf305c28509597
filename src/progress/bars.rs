//! Progress on a terminal: a bar for the whole and a line for each shard.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Display;
use super::meter::{LaneRate, Meter, Rates};
use super::plain::{SHARDS_TOLD_MAX, amount, states};
use super::snapshot::{Lane, Phase, Snapshot};
use crate::counters::LaneState;
use crate::error::clean;
use crate::report::{Mood, human, painted};

/// Rates are measured over this time: short enough to see a stall, long enough to read a number.
const WINDOW: Duration = Duration::from_secs(3);

/// Longer names of targets lose their beginning. Every IPv4 address fits, and so does a line in a
/// terminal of 80 columns.
const TARGET_WIDTH_MAX: usize = 21;

/// Wide enough for every state's word.
const STATE_WIDTH: usize = 12;

/// Draws the bars.
pub struct Bars {
    screen: MultiProgress,
    whole: ProgressBar,
    rows: Vec<(ProgressBar, String)>,
    meter: Meter,
    color: bool,
}

impl Bars {
    pub fn new(screen: MultiProgress, color: bool) -> Bars {
        let whole = screen.add(ProgressBar::new(1));
        // The colour is written here by hand, since a style of the template would ask the environment
        // again, and `--color` has decided.
        let (on, off) = if color { ("\x1b[36m", "\x1b[0m") } else { ("", "") };
        let style = ProgressStyle::with_template(&format!("{{prefix:9}} {on}{{bar:24}}{off} {{wide_msg}}"));
        if let Ok(style) = style {
            whole.set_style(style.progress_chars("━╸─"));
        }
        Bars { screen, whole, rows: Vec::new(), meter: Meter::new(WINDOW), color }
    }

    fn draw_rows(&mut self, lines: Vec<String>) {
        for (bar, _) in self.rows.drain(lines.len().min(self.rows.len())..) {
            self.screen.remove(&bar);
        }
        while self.rows.len() < lines.len() {
            let bar = self.screen.add(ProgressBar::new(0));
            if let Ok(style) = ProgressStyle::with_template("  {wide_msg}") {
                bar.set_style(style);
            }
            self.rows.push((bar, String::new()));
        }
        for ((bar, shown), line) in self.rows.iter_mut().zip(lines) {
            if *shown != line {
                bar.set_message(line.clone());
                *shown = line;
            }
        }
    }
}

impl Display for Bars {
    fn tick(&mut self, now: Snapshot) {
        let rates = self.meter.rates(&now);
        let phase = now.phase();
        let (done, total) = now.done(phase);
        self.whole.set_prefix(phase.word());
        self.whole.set_length(total.max(1));
        self.whole.set_position(done);
        self.whole.set_message(whole(&now, phase, &rates));
        self.draw_rows(lines(&now, phase, &rates, self.color));
    }

    fn end(&mut self, _: Snapshot) {
        for (bar, _) in self.rows.drain(..) {
            self.screen.remove(&bar);
        }
        self.whole.finish_and_clear();
        // If the terminal is gone there is nothing to clear.
        let _ = self.screen.clear();
    }
}

/// `43% 1.20 GB of 2.80 GB, 120 MB/s, eta 12 s`
fn whole(now: &Snapshot, phase: Phase, rates: &Rates) -> String {
    let mut parts = vec![amount(now, phase)];
    if rates.done_per_s > 0.0 {
        parts.push(match phase {
            Phase::Shipping | Phase::Settling => format!("{} keys/s", human::short(rates.done_per_s)),
            _ => human::bytes_per_s(rates.done_per_s),
        });
    }
    parts.extend(rates.eta_s.map(|seconds| format!("eta {}", human::eta(seconds))));
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

/// The lines under the bar: all shards if they are few, or else those that need a look, and a line
/// that sums up the others.
fn lines(now: &Snapshot, phase: Phase, rates: &Rates, color: bool) -> Vec<String> {
    if matches!(phase, Phase::Surveying) {
        return Vec::new();
    }
    let lanes = now.lanes.iter().zip(&rates.lanes);
    if now.lanes.len() <= SHARDS_TOLD_MAX {
        let width = width(now.lanes.iter());
        return lanes.map(|(lane, rate)| line(lane, *rate, width, color)).collect();
    }
    let odd: Vec<_> = lanes.filter(|(lane, _)| needs_a_look(lane)).collect();
    let shown = odd.get(..SHARDS_TOLD_MAX).unwrap_or(&odd);
    let width = width(shown.iter().map(|(lane, _)| *lane));
    let mut lines: Vec<String> = shown.iter().map(|(lane, rate)| line(lane, **rate, width, color)).collect();
    if shown.len() < odd.len() {
        lines.push(format!("and {} more like these", odd.len() - shown.len()));
    }
    lines.push(sum(now, phase, rates));
    lines
}

fn needs_a_look(lane: &Lane) -> bool {
    matches!(lane.state, LaneState::Reconnecting | LaneState::Stopped) || !lane.note.is_empty()
}

fn sum(now: &Snapshot, phase: Phase, rates: &Rates) -> String {
    let mut text = states(now);
    if phase == Phase::Loading {
        let in_flight = now.lanes.iter().map(|lane| lane.in_flight_bytes).sum();
        text.push_str(&format!(": {}", speed(rates.total, in_flight, 0)));
    }
    let ignored: u64 = now.lanes.iter().map(|lane| lane.ignored).sum();
    if ignored > 0 {
        text.push_str(&format!(", {} ignored", human::counted(ignored, "error")));
    }
    text
}

/// `pad` widens the numbers, so that they stand below each other: 1 does, 0 leaves them as they are.
fn speed(rate: LaneRate, in_flight: u64, pad: usize) -> String {
    let commands = human::short(rate.commands_per_s);
    let bytes = human::bytes_per_s(rate.bytes_per_s);
    let (commands_width, bytes_width, in_flight_width) = (5 * pad, 9 * pad, 7 * pad);
    let in_flight = human::bytes(in_flight);
    format!(
        "{commands:>commands_width$} cmd/s, {bytes:>bytes_width$}, {in_flight:>in_flight_width$} in flight"
    )
}

fn width<'a>(lanes: impl Iterator<Item = &'a Lane>) -> usize {
    lanes.map(|lane| lane.target.chars().count()).max().unwrap_or(0).min(TARGET_WIDTH_MAX)
}

/// `10.0.0.1:6379  loading        512k cmd/s,  120 MB/s, 4.19 MB in flight`
fn line(lane: &Lane, rate: LaneRate, width: usize, color: bool) -> String {
    let target = shortened(&clean(&lane.target));
    let state = painted(&format!("{:STATE_WIDTH$}", lane.state.word()), mood(lane.state), color);
    let mut parts = match lane.state {
        LaneState::Loading => vec![speed(rate, lane.in_flight_bytes, 1)],
        LaneState::Shipping if lane.shipping_keys > 0 => vec![keys(lane.shipped_keys, lane.shipping_keys)],
        LaneState::Settling if lane.settling_keys > 0 => vec![keys(lane.settled_keys, lane.settling_keys)],
        LaneState::Loaded | LaneState::Done => vec![human::counted(lane.commands, "command")],
        _ => Vec::new(),
    };
    // Why it waits comes before what can wait itself: a narrow terminal cuts off the end.
    if !lane.note.is_empty() {
        parts.push(clean(&lane.note).into_owned());
    }
    if lane.ignored > 0 {
        parts.push(format!("{} ignored", human::counted(lane.ignored, "error")));
    }
    format!("{target:width$}  {state}  {}", parts.join(", ")).trim_end().to_owned()
}

fn keys(done: u64, total: u64) -> String {
    format!("{}% of {} keys", human::percent(done, total), human::short(total as f64))
}

fn mood(state: LaneState) -> Mood {
    match state {
        LaneState::Done => Mood::Good,
        LaneState::Reconnecting => Mood::Doubtful,
        LaneState::Stopped => Mood::Bad,
        LaneState::Waiting
        | LaneState::Loading
        | LaneState::Loaded
        | LaneState::Shipping
        | LaneState::Settling => Mood::Plain,
    }
}

/// The end of a path or address tells more than its beginning.
fn shortened(target: &str) -> String {
    let length = target.chars().count();
    if length <= TARGET_WIDTH_MAX {
        return target.to_owned();
    }
    std::iter::once('…').chain(target.chars().skip(length + 1 - TARGET_WIDTH_MAX)).collect()
}

#[cfg(test)]
#[path = "bars_tests.rs"]
mod tests;
