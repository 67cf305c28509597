//! Gives a load up for good: puts right what it left in the targets.

use super::targets::Found;
use super::{Ended, apart_from, scratch, shown, targets};
use crate::checkpoint::{self, Checkpoint, Lock, Status};
use crate::config::Job;
use crate::error::{Error, Kind, Result};
use crate::marker::Marker;
use crate::report::{AbandonReport, Tidied};
use crate::sink::{Fault, Stop, abandon};
use crate::source::Source;
use crate::topology::Target;

/// Puts deadlines right, removes markers, and at last the checkpoint.
pub fn abandon(job: &Job, stop: &Stop) -> Result<Ended> {
    // It may be gone by now; then none of its files can be lost.
    if let Ok(source) = Source::open(&job.source) {
        apart_from(&source, &job.checkpoint)?;
    }
    let _lock = Lock::take(&job.checkpoint)?;
    let recorded = checkpoint::read(&job.checkpoint)?;
    let found = targets::inspect(job)?;
    let mut report = AbandonReport::default();
    for (set, found) in job.topology.sets.iter().zip(&found) {
        let tidied = match &found.marker {
            None => Ok(Tidied::Untouched),
            Some(marker) => tidy(job, &set.target, (found, marker), stop),
        };
        let tidied = tidied.map_err(|error| said(error, &report))?;
        report.targets.push((found.name.clone(), tidied));
    }
    if scratch::remove_leftovers(job)? {
        report.targets.push(("scratch".to_owned(), Tidied::FilesRemoved));
    }
    if scratch::abandon(job, stop).map_err(|error| said(error, &report))? {
        report.targets.push(("scratch".to_owned(), Tidied::Emptied));
    }
    report.was_under_way = report.has_tidied() || is_under_way(&recorded);
    if report.was_under_way {
        remove_checkpoint(job)?;
    }
    let output = shown(job.output, |_color| report.text(), || report.json());
    Ok(Ended { output: Some(output), error: None })
}

fn tidy(job: &Job, target: &Target, (found, marker): (&Found, &Marker), stop: &Stop) -> Result<Tidied> {
    match target {
        Target::Aof { directory } => abandon::directory(directory).map(|()| Tidied::FilesRemoved),
        Target::Server(members) => {
            let (name, mut connection) = targets::connect(job, members)?;
            let put_right = abandon::server(&mut connection, &job.marker_key, marker, &name, stop);
            put_right.map(|()| Tidied::PutRight).map_err(|fault| failed(&found.name, fault, stop))
        }
    }
}

/// Why a target could not be put right. It may have been changed already.
pub(super) fn failed(name: &str, fault: Fault, stop: &Stop) -> Error {
    if stop.requested() {
        return Error::new(Kind::Interrupted, "a signal asked to stop; not all is put right yet")
            .remedy("run the same command again; it goes on");
    }
    let error = |kind, text: String| {
        Error::new(kind, "a target cannot be put right").place("target", name).place("answer", text)
    };
    match fault {
        Fault::Fatal(error) => error,
        Fault::Marker(text) => {
            error(Kind::Conflict, text).remedy("stop the other loader; then run this again")
        }
        Fault::Lost(text) | Fault::Wait(text) => error(Kind::Stopped, text)
            .remedy("bring the target back and run the same command again; it goes on"),
        Fault::Diverged(divergence) => error(Kind::Stopped, divergence.answered.text.clone())
            .remedy("run the same command again; please report this with the text above"),
    }
}

/// An error that says that nothing was written means its own target.
fn said(error: Error, report: &AbandonReport) -> Error {
    if report.has_tidied() { error.wrote("nothing more was written") } else { error }
}

/// Whether the record is one of a load that is not complete. That of a complete one keeps a rerun from loading again.
fn is_under_way(recorded: &checkpoint::Found) -> bool {
    match recorded {
        checkpoint::Found::Nothing
        | checkpoint::Found::Checkpoint(Checkpoint { status: Status::Complete, .. }) => false,
        checkpoint::Found::Checkpoint(_)
        | checkpoint::Found::Unreadable(_)
        | checkpoint::Found::OtherVersion(_) => true,
    }
}

fn remove_checkpoint(job: &Job) -> Result<()> {
    match std::fs::remove_file(&job.checkpoint) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(Kind::Local, "cannot remove the checkpoint")
                .file(&job.checkpoint)
                .remedy("remove it; all else is put right")
                .caused_by(error))
        }
        _ => Ok(()),
    }
}
