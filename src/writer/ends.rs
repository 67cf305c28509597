//! Why a lane ends before its load does.

use crate::error::{Error, Kind};
use crate::marker::Marker;
use crate::source::{Position, Source};

/// What helps where a target has diverged.
pub(super) const MEND: &str =
    "mend the target so that it accepts the command, then start over with --restart --flush-targets";
/// The same if a script did, which may fail on every server.
pub(super) const MEND_SCRIPT: &str = "if the script itself makes this error, load the source into a spare redis-server and \
                           BGREWRITEAOF, which leaves no scripts; else mend the target; then start over with \
                           --restart --flush-targets";
/// The commands that run scripts.
pub(super) const SCRIPTS: [&str; 3] = ["EVAL", "EVALSHA", "FCALL"];

/// The end that a signal asked for.
pub fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "a signal asked to stop; what was under way is applied")
        .remedy("run the same command again; it resumes")
}

/// The error for a target that has lost what cannot be brought again.
pub fn fell_back(name: &str) -> Error {
    Error::new(Kind::Stopped, "a target has fallen behind since it was complete").place("target", name).remedy(
        "bring back the server that was complete and run the same command again; or start over with --restart",
    )
}

pub(super) fn taken_over(name: &str) -> Error {
    Error::new(Kind::Conflict, "another loader has taken over this load")
        .place("target", name)
        .remedy("let it finish; run one loader at a time")
}

pub(super) fn foreign_marker(name: &str, marker: &Marker) -> Error {
    Error::new(Kind::Conflict, "a target holds the marker of another load or lane")
        .place("target", name)
        .place("found", marker.to_string())
        .remedy("put the sets of the topology file back in their order, or finish the other load first")
}

pub(super) fn lost_marker(name: &str) -> Error {
    Error::new(Kind::Conflict, "a target has lost its marker but holds keys")
        .place("target", name)
        .remedy(
            "if another loader has finished this load, all is done; otherwise somebody else has written to it: start over \
             with --restart --flush-targets",
        )
}

/// The error for a load that has diverged in an earlier run.
pub fn diverged_before(source: &Source, at: Position) -> Error {
    source
        .error(Kind::Diverged, "the load has diverged: a target answered as no loading server would", at)
        .remedy("mend the target so that it accepts the command there, then start over with --restart --flush-targets")
}
