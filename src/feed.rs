//! Hands a lane its parts, window by window, from any window on.
//!
//! Parts normally come through a bounded queue from the thread that partitions for all lanes. What the
//! queue does not hold (a lane that has to go back after its target was lost, or one that was left
//! behind while its target was away) is partitioned again here: windows are a pure function of the
//! source, so it is the same part.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use crate::error::{Error, Kind, Result};
use crate::partition::{LanePart, Spare, partition};
use crate::route::Rules;
use crate::source::{Position, Source};
use crate::survey::Surveyed;

/// A part with the number of its window.
pub type Numbered = (usize, Arc<LanePart>);

/// What all lanes read: the source, cut into windows with their checksums.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'s> {
    /// The source.
    pub source: &'s Source,
    /// How commands are routed.
    pub rules: &'s Rules,
    /// The windows, in order.
    pub windows: &'s [Surveyed],
    /// Memory for their parts.
    pub spare: &'s Spare,
}

impl<'s> Plan<'s> {
    /// The number of the window that starts at `start`; the first one for the very start of the source.
    pub fn number_of(&self, start: Position) -> Result<usize> {
        if start == Position::default() {
            return Ok(0);
        }
        self.windows.binary_search_by_key(&start, |surveyed| surveyed.window.start).map_err(|_| {
            self.source
                .error(Kind::Conflict, "a marker names a place in the source where no window starts", start)
                .remedy("use the version of redcluster-load that began the load, or --restart")
        })
    }

    /// All lanes' parts of a window.
    pub fn partition(&self, number: usize) -> Result<Vec<LanePart>> {
        match self.windows.get(number) {
            Some(surveyed) => partition(self.source, surveyed, self.rules, self.spare),
            None => Ok(Vec::new()),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Feed<'s> {
    plan: Plan<'s>,
    lane: usize,
    queue: Option<Receiver<Numbered>>,
    /// A part from the queue that is not due yet.
    held: Option<Numbered>,
    next: usize,
}

impl<'s> Feed<'s> {
    /// A feed for one lane; without a queue it partitions everything itself.
    pub fn new(plan: Plan<'s>, lane: usize, queue: Option<Receiver<Numbered>>) -> Self {
        Feed { plan, lane, queue, held: None, next: 0 }
    }

    /// Goes on with the window that starts at `start`.
    pub fn rewind(&mut self, start: Position) -> Result<()> {
        self.next = self.plan.number_of(start)?;
        Ok(())
    }

    /// The next part; `None` at the end of the source.
    pub fn next_part(&mut self) -> Result<Option<Arc<LanePart>>> {
        if self.next >= self.plan.windows.len() {
            return Ok(None);
        }
        while self.held.as_ref().is_none_or(|(number, _)| *number < self.next) {
            match self.queue.as_ref().map(Receiver::recv) {
                Some(Ok(numbered)) => self.held = Some(numbered),
                // Nothing more comes through the queue: it is at its end, or all are to stop, which is
                // for the caller to see.
                Some(Err(_)) => self.queue = None,
                None => break,
            }
        }
        let part = match self.held.take() {
            Some((number, part)) if number == self.next => part,
            later => {
                self.held = later;
                self.own_part()?
            }
        };
        self.next += 1;
        Ok(Some(part))
    }

    fn own_part(&self) -> Result<Arc<LanePart>> {
        let mut parts = self.plan.partition(self.next)?;
        if self.lane >= parts.len() {
            return Err(Error::new(Kind::Conflict, "the topology has fewer sets than the load")
                .remedy("use the topology that the load began with"));
        }
        Ok(Arc::new(parts.swap_remove(self.lane)))
    }
}
