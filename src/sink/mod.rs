//! Where a lane's batches go: a live master, or a directory that becomes an append-only file.
//!
//! [`Sink`] is the seam between the writer, which decides, and the target, which may fail.

pub mod abandon;
pub mod aof;
pub mod control;
pub mod exchange;
mod fields;
mod futile;
pub mod inspect;
mod pipeline;
pub mod private;
pub mod reply;
pub mod server;
pub mod settle;
pub mod ship;
mod transaction;
pub mod verdict;
pub mod wire;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use exchange::Flush;

use crate::batch::Batch;
use crate::error::Error;
use crate::marker::Marker;
use crate::partition::LanePart;

/// Why a sink did not do what it was asked to.
#[derive(Debug)]
pub enum Fault {
    /// The connection is gone, or silent for too long: attach again and read the marker.
    Lost(String),
    /// The target asks for patience (LOADING, NOREPLICAS, a passing OOM …): the same, after a pause.
    Wait(String),
    /// The marker is not where this loader left it: somebody else moved it, or something was lost.
    Marker(String),
    /// A command was answered as no loading server would answer it. It was not rolled back.
    Diverged(Box<Divergence>),
    /// No use in trying again.
    Fatal(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Fatal(error)
    }
}

/// A command with the error that it was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Its place in the source.
    pub at: crate::source::Position,
    /// Its name, escaped.
    pub command: String,
    /// Its key, escaped, see [`crate::command::keys::told`].
    pub key: String,
    /// The error.
    pub text: String,
}

/// See [`Fault::Diverged`].
#[derive(Debug)]
pub struct Divergence {
    /// The command.
    pub answered: Answered,
    /// What was applied with it all the same.
    pub applied: Option<Applied>,
}

/// An error that a loading server gets as well and ignores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// What kind of error, for counting.
    pub label: &'static str,
    /// The command.
    pub answered: Answered,
}

/// A batch that is applied.
#[derive(Debug)]
pub struct Applied {
    /// The marker that its transaction set.
    pub marker: Marker,
    /// Its commands and their bytes in the source.
    pub commands: u64,
    /// See `commands`.
    pub bytes: u64,
    /// Errors that do not count.
    pub ignored: Vec<Ignored>,
}

/// A target as it was found.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The marker in it.
    pub marker: Option<Marker>,
    /// Whether it holds no key in any database.
    pub is_empty: bool,
    /// Names the server's life: it changes when the server is restarted, or another takes its place.
    pub server: u64,
}

/// What [`Sink::secure`] has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Secured {
    /// How many of the declared members were away and not waited for: after a failover the master of before may be.
    pub missing: usize,
}

/// Where in a target deadlines may be shifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shifted<'s> {
    /// On any key.
    Anywhere,
    /// On these keys (with their databases) at most, sorted by database.
    Keys(Vec<(u32, Cow<'s, [u8]>)>),
}

/// A command that the loader makes itself: its arguments, the name first.
pub type OwnCommand = Vec<Vec<u8>>;

/// What a lane's writer needs of a target. One call at a time.
pub trait Sink: Send {
    /// Finds and opens the target; whatever was under way is forgotten.
    fn attach(&mut self) -> Result<Attached, Fault>;

    /// Creates the marker of a lane that begins, in place of `found`, and empties the target in the same
    /// step as `flush` says.
    fn create(&mut self, found: Option<&Marker>, new: &Marker, flush: Flush) -> Result<(), Fault>;

    /// Puts `new` in place of `old` at once, and only if `old` is there.
    fn exchange(&mut self, old: &Marker, new: &Marker) -> Result<(), Fault>;

    /// Begins to apply a batch: its commands and `new`, and only if `old` is there. May return before
    /// the target has answered.
    fn apply(&mut self, part: &Arc<LanePart>, batch: Batch, old: &Marker, new: &Marker) -> Result<(), Fault>;

    /// The batches that have been applied since; waits for at least one if `wait` and one is under way.
    fn applied(&mut self, wait: bool) -> Result<Vec<Applied>, Fault>;

    /// Bytes begun and not yet applied.
    fn in_flight_bytes(&self) -> usize;

    /// Makes sure of what is applied before a longer rest.
    fn rest(&mut self) -> Result<(), Fault>;

    /// Runs commands of the loader's own in a database, all of them or none, and only if `marker` is there. Whoever
    /// calls sees to it that they do no harm when they are repeated.
    fn run(&mut self, marker: &Marker, db: u32, commands: &[OwnCommand]) -> Result<(), Fault>;

    /// Makes sure that what was written is not lost with the target: waits for the declared replicas, syncs files.
    fn secure(&mut self, marker: &Marker) -> Result<Secured, Fault>;

    /// Puts the deadlines right where they may be shifted. `progress` is told the keys looked at and the keys there
    /// are.
    fn settle(
        &mut self,
        marker: &Marker,
        shifted: &Shifted<'_>,
        progress: &dyn Fn(u64, u64),
    ) -> Result<(), Fault>;

    /// Takes the marker away; nothing of the loader remains in the target.
    fn finish(&mut self, marker: &Marker) -> Result<(), Fault>;

    /// Who the target is, for messages.
    fn name(&self) -> String;
}

/// Whether to end early; shared by all threads.
#[derive(Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks to end: finish what is under way, begin nothing new.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Takes a signal for such a request.
    pub fn on_signal(&self, signal: i32) -> std::io::Result<()> {
        signal_hook::flag::register(signal, Arc::clone(&self.0)).map(drop)
    }
}
