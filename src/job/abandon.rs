//! Gives a load up for good: puts right what it left in the targets.

use super::{Ended, scratch, targets};
use crate::checkpoint::{self, Checkpoint, Found, Lock, Status};
use crate::config::Job;
use crate::error::{Error, Kind, Result};
use crate::sink::{Stop, abandon, inspect};
use crate::topology::Target;

/// Puts deadlines right, removes markers, and at last the checkpoint.
pub fn abandon(job: &Job, stop: &Stop) -> Result<Ended> {
    let _lock = Lock::take(&job.checkpoint)?;
    let found = targets::inspect(job)?;
    let mut lines = Vec::new();
    for (set, found) in job.topology.sets.iter().zip(&found) {
        let Some(marker) = &found.marker else {
            lines.push(format!("{}: no marker, nothing to put right", found.name));
            continue;
        };
        match &set.target {
            Target::Aof { directory } => abandon::directory(directory)?,
            Target::Server(members) => {
                let (name, mut connection) = targets::connect(job, members)?;
                abandon::server(&mut connection, &job.marker_key, marker, &name, stop)
                    .map_err(|fault| inspect::fatal(&name, fault))?;
            }
        }
        lines.push(format!("{}: deadlines put right, marker removed", found.name));
    }
    let mut tidied = found.iter().any(|found| found.marker.is_some());
    if scratch::remove_leftovers(job)? {
        lines.push("scratch: removed".to_owned());
        tidied = true;
    }
    if scratch::abandon(job)? {
        lines.push("scratch: emptied, marker removed".to_owned());
        tidied = true;
    }
    if !tidied && !is_under_way(&checkpoint::read(&job.checkpoint)?) {
        lines.push("no load is under way; nothing was changed".to_owned());
        return Ok(Ended { output: Some(lines.join("\n")), error: None });
    }
    match std::fs::remove_file(&job.checkpoint) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(Kind::Local, "cannot remove the checkpoint")
                .file(&job.checkpoint)
                .caused_by(error))
        }
        _ => {
            lines.push("the load is abandoned; what it had written stays in the servers".to_owned());
            Ok(Ended { output: Some(lines.join("\n")), error: None })
        }
    }
}

/// Whether the record is one of a load that is not complete. That of a complete one keeps a rerun from loading again.
fn is_under_way(recorded: &Found) -> bool {
    match recorded {
        Found::Nothing | Found::Checkpoint(Checkpoint { status: Status::Complete, .. }) => false,
        Found::Checkpoint(_) | Found::Unreadable(_) => true,
    }
}
