//! Decides what a run has to do, from what the targets and the checkpoint hold.
//!
//! The markers in the targets are the truth. The checkpoint is heard only where they are silent.

use crate::checkpoint::{self, Checkpoint, Status};
use crate::config::{Job, Restart};
use crate::error::{Error, Kind, Result};
use crate::job::targets::Found;
use crate::marker::{LoadId, Marker, Phase};
use crate::report::human::counted;
use crate::source::Position;
use crate::source::Source;
use crate::writer::diverged_before;

/// What a run has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Begin a load.
    Fresh,
    /// Go on with this one.
    Resume(LoadId),
    /// All lanes of this load are settled: only markers remain to be removed.
    Finish(LoadId),
    /// This load is done.
    Complete(LoadId),
}

/// Decides; `warn` is told what the user should know but need not act on.
pub fn decide(
    job: &Job,
    source: &Source,
    checkpoint: checkpoint::Found,
    found: &[Found],
    warn: &dyn Fn(String),
) -> Result<Start> {
    if job.restart == Restart::Yes {
        return Ok(Start::Fresh);
    }
    let unreadable = matches!(checkpoint, checkpoint::Found::Unreadable(_));
    let checkpoint = match checkpoint {
        checkpoint::Found::Nothing => None,
        checkpoint::Found::Checkpoint(checkpoint) => Some(checkpoint),
        checkpoint::Found::OtherVersion(version) => {
            return Err(Error::new(Kind::Conflict, "the checkpoint was written by another version")
                .file(&job.checkpoint)
                .place("version", version)
                .remedy("use the version of redcluster-load that wrote it, or start over with --restart"));
        }
        checkpoint::Found::Unreadable(why) => {
            let path = job.checkpoint.display();
            warn(format!(
                "the checkpoint {path} cannot be read ({why}); going by the markers in the targets"
            ));
            None
        }
    };
    let recorded = checkpoint.as_ref().and_then(|checkpoint| checkpoint.markers().next());
    let markers: Vec<&Marker> = found.iter().filter_map(|found| found.marker.as_ref()).collect();
    let Some(first) = markers.first() else {
        if unreadable && !found.iter().all(Found::is_empty) {
            return Err(other_checkpoint(
                job,
                "the checkpoint cannot be read, and the targets hold keys and no markers",
            ));
        }
        return without_markers(job, source, checkpoint.as_ref().zip(recorded), found, warn);
    };
    let load = first.load.clone();
    agree(found, &load)?;
    same_kinds(job, &load)?;
    if recorded.as_ref().is_some_and(|recorded| recorded.load != load) {
        return Err(other_checkpoint(
            job,
            "the markers in the targets belong to another load than the checkpoint",
        ));
    }
    for marker in &markers {
        if let Phase::Diverged(at) = marker.phase {
            return Err(diverged_before(source, at));
        }
    }
    if let Some(Phase::Diverged(at)) = diverged(checkpoint.as_ref()) {
        return Err(diverged_before(source, at));
    }
    // A lane is settled only after all of them are applied, and markers go only after all are settled.
    let settled = markers.iter().all(|marker| marker.phase == Phase::Settled);
    if settled {
        match checkpoint.as_ref().map(|checkpoint| checkpoint.status) {
            Some(Status::Complete) => return Ok(Start::Complete(load)),
            Some(Status::Finishing) => return Ok(Start::Finish(load)),
            _ if removal_has_begun(found) => return Ok(Start::Finish(load)),
            _ => {}
        }
    }
    resumable(job, found)?;
    say_what_is_unseen(checkpoint.as_ref(), found, warn);
    Ok(Start::Resume(load))
}

/// Where all markers that are left say "settled": whether the others are missing because they were
/// removed, and not because their targets have lost everything.
fn removal_has_begun(found: &[Found]) -> bool {
    let mut markerless = found.iter().filter(|found| found.marker.is_none()).peekable();
    markerless.peek().is_none() || markerless.any(|found| !found.is_empty())
}

/// A run that ended in good order has recorded where its markers stand. Where one stands further on, the replies to
/// the last transaction may never have been read.
fn say_what_is_unseen(checkpoint: Option<&Checkpoint>, found: &[Found], warn: &dyn Fn(String)) {
    let place = |marker: &Marker| (marker.window, marker.batch);
    let recorded: Vec<Marker> = checkpoint.iter().flat_map(|checkpoint| checkpoint.markers()).collect();
    let unseen = found.iter().filter_map(|found| found.marker.as_ref()).filter(|marker| {
        let known = recorded.iter().find(|known| known.lane == marker.lane).map(place).unwrap_or_default();
        marker.phase == Phase::Loading && place(marker) > known
    });
    let count = unseen.count();
    if count > 0 {
        let targets = counted(count as u64, "target");
        warn(format!(
            "the run before was cut off: errors that single commands met in it are not counted here, and those in \
             the last transaction of {targets} are not known"
        ));
    }
}

fn diverged(checkpoint: Option<&Checkpoint>) -> Option<Phase> {
    checkpoint?.markers().map(|marker| marker.phase).find(|phase| matches!(phase, Phase::Diverged(_)))
}

/// No target holds a marker: what the checkpoint says counts.
fn without_markers(
    job: &Job,
    source: &Source,
    recorded: Option<(&Checkpoint, Marker)>,
    found: &[Found],
    warn: &dyn Fn(String),
) -> Result<Start> {
    let Some((checkpoint, marker)) = recorded else { return Ok(Start::Fresh) };
    if marker.load.lanes != found.len() {
        return Err(other_checkpoint(job, "the checkpoint is of a load with another number of replica sets")
            .place("checkpoint", format!("{} sets", marker.load.lanes))
            .place("topology", format!("{} sets", found.len())));
    }
    if checksum(source, marker.load.end) != Some(marker.load.sum) {
        return Err(other_checkpoint(
            job,
            "the checkpoint is of another source, or the source has changed since",
        ));
    }
    same_kinds(job, &marker.load)?;
    // Behind them there may be the scratch lane.
    let recorded = checkpoint.lanes.iter().map(|lane| &lane.target).take(found.len());
    let ended = matches!(checkpoint.status, Status::Complete | Status::Finishing);
    if ended && !recorded.eq(super::targets::names(job).iter()) {
        return Err(other_checkpoint(
            job,
            "the checkpoint is of a load into other targets, which is complete",
        ));
    }
    match checkpoint.status {
        Status::Complete | Status::Finishing => Ok(Start::Complete(marker.load)),
        Status::Diverged => Err(diverged_before(source, marker.window)),
        Status::Loading if found.iter().all(Found::is_empty) => {
            warn(
                "the targets are empty and hold no markers: the load starts again from its beginning".into(),
            );
            Ok(Start::Resume(marker.load))
        }
        Status::Loading => Err(Error::new(
            Kind::Conflict,
            "the checkpoint tells of a load under way, but the targets hold keys and no markers",
        )
        .file(&job.checkpoint)
        .remedy("check that the topology names the same targets as before; or start over with --restart")),
    }
}

/// All markers must be of one load, each in its own lane.
fn agree(found: &[Found], load: &LoadId) -> Result<()> {
    if load.lanes != found.len() {
        return Err(Error::new(
            Kind::Conflict,
            "the targets hold markers of a load with another number of sets",
        )
        .place("markers", format!("{} sets", load.lanes))
        .place("topology", format!("{} sets", found.len()))
        .remedy("name the same sets as when the load began, or finish or --abandon that load first"));
    }
    for (lane, found) in found.iter().enumerate() {
        let Some(marker) = &found.marker else { continue };
        if marker.load != *load {
            return Err(Error::new(Kind::Conflict, "the targets hold markers of different loads")
                .shard(lane, &found.name)
                .place("found", marker.to_string())
                .remedy("finish or --abandon the other load first, or start over with --restart"));
        }
        if marker.lane != lane {
            return Err(Error::new(
                Kind::Conflict,
                "the replica sets are in another order than when the load began",
            )
            .shard(lane, &found.name)
            .place("marker", format!("of set {}", marker.lane))
            .remedy("put the sets of the topology file back in their order"));
        }
    }
    Ok(())
}

/// Directories cannot go on with what was begun for servers, nor servers with what was begun for directories.
fn same_kinds(job: &Job, load: &LoadId) -> Result<()> {
    if load.kinds == job.topology.kinds() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Conflict,
        "other replica sets are directories, or servers, than when the load began",
    )
    .file(&job.checkpoint)
    .remedy(
        "name the same targets as when the load began; or --abandon that load first; or, for a load of its own, name \
         another file with --checkpoint",
    ))
}

/// A target without marker may only join a load under way if it is empty, or if the load has not begun
/// to write and may empty it.
fn resumable(job: &Job, found: &[Found]) -> Result<()> {
    let begun =
        found.iter().any(|found| found.marker.as_ref().is_some_and(|marker| marker.phase != Phase::Prepared));
    for (lane, found) in found.iter().enumerate() {
        if found.marker.is_some() || found.is_empty() || (job.flush_targets && !begun && found.live.is_some())
        {
            continue;
        }
        let error = if begun { Kind::Conflict } else { Kind::Target };
        return Err(Error::new(error, "a target of a load under way has no marker, but is not empty")
            .shard(lane, &found.name)
            .place("holds", found.holds.clone())
            .remedy(
                "check that the topology names the same targets as before; or start over with --restart",
            ));
    }
    Ok(())
}

fn other_checkpoint(job: &Job, what: &str) -> Error {
    Error::new(Kind::Conflict, what)
        .file(&job.checkpoint)
        .remedy("name another file with --checkpoint, or start over with --restart")
}

/// The checksum of the source up to `end`; `None` if it does not reach that far.
fn checksum(source: &Source, end: Position) -> Option<u32> {
    let mut hasher = crc32fast::Hasher::new();
    for segment in 0..end.segment {
        hasher.update(source.bytes(segment));
    }
    hasher.update(source.bytes(end.segment).get(..usize::try_from(end.offset).ok()?)?);
    Some(hasher.finalize())
}
