//! Places the names that commands tie together across lanes.
//!
//! Commands such as RENAME or SUNIONSTORE need all their keys on one server. So names that such commands tie together
//! get one *home*, a lane on which every command of theirs runs as it stands, in the order of the source. Nothing
//! waits, nothing is emulated. What is left in the end under a name that is at home on another lane than its own is
//! brought there when the load settles. The rules, and why they are right, are in docs/correctness.md.
//!
//! It takes another look at the commands that matter to it, or at the whole source if they were too many for the survey
//! to remember; a source without such commands does not pay for it. The outcome is
//! a pure function of source, routing, and which of the lanes are directories.

mod events;
mod lives;

use rayon::prelude::*;

use crate::error::{Error, Kind, Result};
use crate::route::Homes;
use crate::route::Rules;
use crate::source::Source;
use crate::survey::Survey;
use lives::Lives;

/// Windows looked at in parallel in one go, for each thread.
const WINDOWS_PER_THREAD: usize = 2;

/// Where a key's bytes stand in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Number of the file.
    pub segment: u32,
    /// Its length in bytes.
    pub len: u32,
    /// Its first byte.
    pub offset: u64,
}

impl Span {
    /// The bytes.
    pub fn bytes(self, source: &Source) -> &[u8] {
        let segment = source.bytes(self.segment);
        segment.get(self.offset as usize..).and_then(|rest| rest.get(..self.len as usize)).unwrap_or_default()
    }
}

/// What is left at the end under a name that is not at home on its own lane, if anything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// The database, by the number that it has at the end.
    pub db: u32,
    /// The key.
    pub key: Span,
    /// The lane that holds it.
    pub home: u16,
    /// The lane on which it belongs.
    pub own: u16,
}

/// What placing came to.
#[derive(Debug, Clone, Default)]
pub struct Placing {
    /// What has to be brought to its own lane at the end, sorted by the lane that holds it, then by database.
    pub foreign: Vec<Foreign>,
    /// Groups of lives that are tied together across lanes.
    pub groups: u64,
    /// Lives in the largest of them.
    pub largest: u64,
    /// Those of the groups that are at home on the lane behind all others.
    pub needs_scratch: u64,
}

/// Places the names of a surveyed source. The lane behind those of `rules` is for names that are tied to a
/// directory's, which cannot run anything. `go_on` says whether to, window by window.
pub fn place(
    source: &Source,
    rules: &Rules,
    survey: &Survey,
    bytes_max: u64,
    go_on: &(dyn Fn() -> Result<()> + Sync),
) -> Result<(Homes, Placing)> {
    let mut lives = Lives::new(&rules.routing);
    let windows: Vec<usize> = (0..survey.windows.len()).collect();
    for group in windows.chunks(WINDOWS_PER_THREAD * rayon::current_num_threads()) {
        let hasher = lives.hasher();
        let look = |window: &usize| {
            go_on()?;
            let spots = survey.spots.as_ref().and_then(|spots| spots.get(*window)).map(Vec::as_slice);
            events::in_window(source, &survey.windows[*window], rules, spots, (&survey.ties, hasher))
        };
        for events in group.par_iter().map(look).collect::<Result<Vec<_>>>()? {
            if !lives.follow(&events, bytes_max) {
                return Err(too_many(bytes_max));
            }
        }
    }
    let is_directory: Vec<bool> = rules.live.iter().map(Option::is_none).collect();
    Ok(lives.place(&is_directory))
}

fn too_many(bytes_max: u64) -> Error {
    Error::new(
        Kind::Unsupported,
        "commands tie together more names than may be kept in memory",
    ).unwritten()
    .place("limit", format!("{bytes_max} bytes"))
    .remedy(
        "raise --placement-bytes (about 300 bytes for each name that such commands name); or load the source \
             into a spare redis-server and BGREWRITEAOF: what is left then ties nothing",
    )
}
