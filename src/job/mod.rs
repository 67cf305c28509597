//! What a run does, from the checked plan to the report: the only place that wires the rest together.

mod abandon;
mod dry_run;
mod load;
mod placing;
mod refusal;
mod rehearsal;
mod run;
mod scratch;
mod shifted;
mod ship;
mod start;
mod targets;

use std::io::IsTerminal;
use std::path::Path;

use crate::config::{Job, Mode, Output, same_file, would_overwrite};
use crate::error::{Error, Kind, Result};
use crate::report::color_on;
use crate::sink::{Sink, Stop};
use crate::source::Source;

/// What is to be printed, and how the run ended.
#[derive(Debug)]
pub struct Ended {
    /// The result, for stdout: text, or JSON if asked for.
    pub output: Option<String>,
    /// Why it did not end well.
    pub error: Option<Error>,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Ended { output: None, error: Some(error) }
    }
}

/// Puts a lane's sink into another, which sees all that is asked of it and may fail in its place.
pub type Wrap<'w> = dyn for<'s> Fn(Box<dyn Sink + 's>) -> Box<dyn Sink + 's> + 'w;

/// Does what the plan says; `stop` asks for an early end.
pub fn run(job: &Job, stop: &Stop) -> Ended {
    run_through(job, stop, &|sink| sink)
}

/// The same with the sinks of a load in others, so that it can be cut off between any two steps.
pub fn run_through(job: &Job, stop: &Stop, wrap: &Wrap<'_>) -> Ended {
    let pool = match threads(job) {
        Ok(pool) => pool,
        Err(error) => return error.into(),
    };
    match job.mode {
        Mode::Load => load::load(job, stop, &pool, wrap),
        Mode::DryRun { check_topology } => {
            dry_run::dry_run(job, check_topology, stop, &pool).unwrap_or_else(Ended::from)
        }
        Mode::Abandon => abandon::abandon(job, stop).unwrap_or_else(Ended::from),
    }
}

/// How much the threads that frame and route stand back behind others (as for nice).
const PARTITION_NICE: i32 = 10;

fn threads(job: &Job) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(job.threads)
        .thread_name(|number| format!("partition-{number}"))
        // The writers, which feed the targets, and the targets themselves go first where cores are few.
        .start_handler(|_| {
            let _ = rustix::process::setpriority_process(None, PARTITION_NICE);
        })
        .build()
        .map_err(|error| {
            Error::new(Kind::Local, "cannot start threads")
                .remedy("give a smaller number with --threads, or raise the limit on processes (ulimit -u)")
                .caused_by(error)
        })
}

/// Refuses a checkpoint where a file of the source is.
fn apart_from(source: &Source, checkpoint: &Path) -> Result<()> {
    match source.files().find(|file| same_file(file, checkpoint)) {
        Some(file) => Err(would_overwrite("a file of the source", file)),
        None => Ok(()),
    }
}

/// A report as the user wants it on stdout.
fn shown(
    output: Output,
    text: impl FnOnce(bool) -> String,
    json: impl FnOnce() -> serde_json::Value,
) -> String {
    if output.json {
        json().to_string()
    } else {
        text(color_on(output.color, std::io::stdout().is_terminal()))
    }
}

/// The current Unix time in milliseconds.
fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
