//! The report of a load: how it ended, what each shard got, what was ignored or left out.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::human;
use super::table::Mood;
use crate::counters::{Counters, LaneState};
use crate::error::Kind;
use crate::route::Refusal;
use crate::source::{Position, Source};
use crate::survey::{Refused, Survey};

/// The first word of the JSON; a change of its fields changes the number.
const FORMAT: &str = "redcluster-load-report/1";

/// How a load ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything is loaded and settled.
    Complete,
    /// An earlier run has done it all.
    AlreadyComplete,
    /// A signal ended it.
    Interrupted,
    /// A failure ended it.
    Stopped,
    /// A target answered differently from a server that loads the source.
    Diverged,
}

impl Outcome {
    /// How a load ended that failed with an error of this kind.
    pub fn of(kind: Kind) -> Outcome {
        match kind {
            Kind::Interrupted => Outcome::Interrupted,
            Kind::Diverged => Outcome::Diverged,
            Kind::Local
            | Kind::Usage
            | Kind::Source
            | Kind::Unsupported
            | Kind::Target
            | Kind::Conflict
            | Kind::Stopped => Outcome::Stopped,
        }
    }

    /// Whether the same command goes on where this run ended.
    pub fn is_resumable(self) -> bool {
        matches!(self, Outcome::Interrupted | Outcome::Stopped)
    }

    pub(super) fn mood(self) -> Mood {
        match self {
            Outcome::Complete | Outcome::AlreadyComplete => Mood::Good,
            Outcome::Interrupted => Mood::Doubtful,
            Outcome::Stopped | Outcome::Diverged => Mood::Bad,
        }
    }
}

/// A place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file.
    pub file: String,
    /// Bytes from the file's start.
    pub offset_bytes: u64,
    /// Bytes of the whole source before it; differs from `offset_bytes` after the first file.
    pub source_bytes: u64,
}

impl Place {
    /// The place at a position.
    pub fn of(source: &Source, at: Position) -> Place {
        Place {
            file: source.file(at.segment).display().to_string(),
            offset_bytes: at.offset,
            source_bytes: source.bytes_before(at),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of {}", self.offset_bytes, self.file)
    }
}

/// How long the parts of a run took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Times {
    /// The survey.
    pub survey_s: f64,
    /// The load itself; rates refer to it.
    pub load_s: f64,
    /// Settling.
    pub settle_s: f64,
    /// The whole run.
    pub total_s: f64,
}

/// What one shard got in this run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShardReport {
    /// Its number in the topology, from 0.
    pub shard: usize,
    /// Whether it is none, but what directories cannot run: the lane behind those of the shards.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub scratch: bool,
    /// Its target.
    pub target: String,
    /// Commands that the target has applied in this run.
    pub commands: u64,
    /// Their bytes in the source.
    pub bytes: u64,
    /// Commands a second while loading.
    pub commands_per_s: f64,
    /// Bytes a second while loading.
    pub bytes_per_s: f64,
    /// Commands answered with an error that a loading server gets and ignores as well.
    pub ignored_errors: u64,
    /// Times the target was lost and found again.
    pub reconnects: u64,
    /// Keys removed or looked at while settling.
    pub settled_keys: u64,
    /// What the shard was doing at the end, in one word.
    pub state: &'static str,
}

impl ShardReport {
    /// All shards, from the counters and the time that the load took.
    pub fn all(counters: &Counters, load: Duration) -> Vec<ShardReport> {
        let report = |(shard, lane): (usize, &crate::counters::LaneCounters)| {
            let (commands, bytes) =
                (lane.commands.load(Ordering::Relaxed), lane.bytes.load(Ordering::Relaxed));
            ShardReport {
                shard,
                scratch: shard >= counters.lanes.len(),
                target: counters.target(shard).to_owned(),
                commands,
                bytes,
                commands_per_s: rate(commands, load.as_secs_f64()),
                bytes_per_s: rate(bytes, load.as_secs_f64()),
                ignored_errors: lane.ignored.load(Ordering::Relaxed),
                reconnects: lane.reconnects.load(Ordering::Relaxed),
                settled_keys: lane.settled_keys.load(Ordering::Relaxed),
                state: lane.state().word(),
            }
        };
        counters.all().enumerate().map(report).collect()
    }

    pub(super) fn mood(&self) -> Mood {
        match self.state {
            word if word == LaneState::Done.word() => Mood::Good,
            word if word == LaneState::Stopped.word() => Mood::Bad,
            word if word == LaneState::Reconnecting.word() => Mood::Doubtful,
            _ => Mood::Plain,
        }
    }
}

/// A command of the source that something is said about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Occurrence {
    /// The file it stands in.
    pub file: String,
    /// Bytes from the file's start.
    pub offset_bytes: u64,
    /// Its name, escaped.
    pub command: String,
    /// Its key, escaped.
    pub key: String,
    /// What is said: the server's answer, or the reason it was refused.
    pub text: String,
}

impl Occurrence {
    /// A refused command and the reason.
    pub fn refused(refused: &Refused, source: &Source) -> Occurrence {
        Occurrence {
            file: source.file(refused.at.segment).display().to_string(),
            offset_bytes: refused.at.offset,
            command: refused.command.clone(),
            key: refused.key.clone(),
            text: refused.refusal.reason().into_owned(),
        }
    }
}

/// One kind of error that targets answered and that a loading server ignores as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IgnoredError {
    /// The kind, such as `WRONGTYPE`.
    pub label: String,
    /// How often.
    pub count: u64,
    /// The first time; its text is the server's answer.
    pub first: Occurrence,
}

/// Commands that `--skip-unsupported` left out for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The reason.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// The first of them, if it is among those that the survey lists.
    pub first: Option<Occurrence>,
}

impl LeftOut {
    /// What a survey refused, by reason.
    pub fn all(survey: &Survey, source: &Source) -> Vec<LeftOut> {
        let left_out = |(refusal, count): (&Refusal, &u64)| LeftOut {
            reason: refusal.reason().into_owned(),
            count: *count,
            first: survey
                .tally
                .refused
                .iter()
                .find(|refused| refused.refusal == *refusal)
                .map(|refused| Occurrence::refused(refused, source)),
        };
        survey.tally.refusals.iter().map(left_out).collect()
    }
}

/// The cut end of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DroppedTail {
    /// Where it begins.
    #[serde(flatten)]
    pub at: Place,
    /// How many bytes were dropped.
    pub bytes: u64,
    /// True for a transaction without EXEC, false for a cut command.
    pub open_transaction: bool,
}

impl DroppedTail {
    /// The tail that a survey found, if there is one.
    pub fn of(survey: &Survey, source: &Source) -> Option<DroppedTail> {
        let tail = survey.tail?;
        let at = Place::of(source, tail.at);
        Some(DroppedTail { at, bytes: tail.bytes, open_transaction: tail.open_transaction })
    }
}

impl fmt::Display for DroppedTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.open_transaction { "a transaction without EXEC" } else { "a cut command" };
        write!(f, "{what}, {} from {}", human::counted(self.bytes, "byte"), self.at)
    }
}

/// Whether the declared replicas have what their masters have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Replicas {
    /// The topology declares none.
    NoneDeclared,
    /// The load did not get so far as to ask.
    NotAsked,
    /// All of them have everything.
    Confirmed,
    /// Those that are there have everything; after a failover the master of before is away.
    Unconfirmed {
        /// Targets of which that is so.
        targets: Vec<String>,
    },
}

/// All that is said at the end of a load.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// How it ended.
    pub outcome: Outcome,
    /// Why it ended so, in one sentence; nothing to say if it is complete.
    pub reason: Option<String>,
    /// The source's path.
    pub source: String,
    /// Bytes of the source that the load covers.
    pub source_bytes: u64,
    /// Bytes of the source that all shards have applied, earlier runs included.
    pub applied_bytes: u64,
    /// Where this run took up an earlier one.
    pub resumed_from: Option<Place>,
    /// How long it took.
    pub times: Times,
    /// Every shard, in order.
    pub shards: Vec<ShardReport>,
    /// Errors that were ignored, by kind.
    pub ignored_errors: Vec<IgnoredError>,
    /// Scripts and functions of the source that run, accepted though not all that they touch can be seen.
    pub scripts: u64,
    /// Commands that were left out, by reason.
    pub left_out: Vec<LeftOut>,
    /// The cut end of the source, if it had one.
    pub dropped_tail: Option<DroppedTail>,
    /// Whether replicas have everything.
    pub replicas: Replicas,
    /// The checkpoint file.
    pub checkpoint: Option<String>,
    /// Warnings that were given on the way.
    pub warnings: Vec<String>,
}

impl LoadReport {
    /// The report for programs: raw numbers with their units in the names.
    pub fn json(&self) -> Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = value.as_object_mut() {
            let total = self.total();
            fields.insert("format".to_owned(), json!(FORMAT));
            fields.insert("resumable".to_owned(), json!(self.outcome.is_resumable()));
            fields.insert(
                "total".to_owned(),
                json!({
                    "commands": total.commands,
                    "bytes": total.bytes,
                    "commands_per_s": total.commands_per_s,
                    "bytes_per_s": total.bytes_per_s,
                    "ignored_errors": total.ignored_errors,
                    "reconnects": total.reconnects,
                }),
            );
        }
        value
    }

    pub(super) fn total(&self) -> ShardReport {
        let sum = |of: fn(&ShardReport) -> u64| self.shards.iter().map(of).sum::<u64>();
        let (commands, bytes) = (sum(|shard| shard.commands), sum(|shard| shard.bytes));
        ShardReport {
            shard: self.shards.len(),
            scratch: false,
            target: String::new(),
            commands,
            bytes,
            commands_per_s: rate(commands, self.times.load_s),
            bytes_per_s: rate(bytes, self.times.load_s),
            ignored_errors: sum(|shard| shard.ignored_errors),
            reconnects: sum(|shard| shard.reconnects),
            settled_keys: sum(|shard| shard.settled_keys),
            state: "",
        }
    }
}

/// 0 where no time has passed, which JSON could not say otherwise.
pub(super) fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
#[path = "load_tests.rs"]
pub(super) mod tests;
