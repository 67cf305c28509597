//! A batch whose replies are awaited: takes them one by one and says what became of the batch.

use std::sync::Arc;

use super::reply::{Inbox, Token};
use super::server::out_of_step;
use super::verdict::{self, Executed};
use super::{Answered, Applied, Fault, Ignored, control};
use crate::batch::Batch;
use crate::error::shown;
use crate::marker::Marker;
use crate::merge::Sent;
use crate::partition::{Action, LanePart};
use crate::resp::frame::Arguments;
use crate::source::Source;

/// Which reply comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Watch,
    Guard,
    Multi,
    Queued(usize),
    Exec,
    /// Element number `index` of EXEC's reply, of which `values` replies are still to come.
    Element {
        index: usize,
        values: u64,
    },
    Done,
}

fn queued_left(left: usize) -> Next {
    if left == 0 { Next::Exec } else { Next::Queued(left) }
}

/// How many commands a transaction has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queued {
    /// Before the first of `sent`.
    pub(super) before: usize,
    /// Between MULTI and EXEC.
    pub(super) total: usize,
    /// Those that carry out the batch's steps.
    pub(super) sent: Vec<Sent>,
}

/// A batch under way.
#[derive(Debug)]
pub(super) struct Pending {
    part: Arc<LanePart>,
    batch: Batch,
    marker: Marker,
    /// Commands of the transaction before the first of `sent`.
    before: usize,
    /// The commands that carry out the batch's steps.
    sent: Vec<Sent>,
    next: Next,
    guard_holds: bool,
    /// Whether WATCH, MULTI or a command to be queued was refused.
    bare: bool,
    /// The first error before EXEC.
    refused: Option<Vec<u8>>,
    /// Commands of the transaction, so also elements of EXEC's reply.
    elements: usize,
    ignored: Vec<Ignored>,
    diverged: Option<Answered>,
}

impl Pending {
    /// A batch that was just written. `guarded`: the replies to WATCH and guard are still to come.
    pub(super) fn new(
        part: Arc<LanePart>,
        batch: Batch,
        marker: Marker,
        queued: Queued,
        guarded: bool,
    ) -> Self {
        Pending {
            part,
            batch,
            marker,
            before: queued.before,
            sent: queued.sent,
            elements: queued.total,
            next: if guarded { Next::Watch } else { Next::Multi },
            guard_holds: true,
            bare: false,
            refused: None,
            ignored: Vec::new(),
            diverged: None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.batch.bytes as usize
    }

    /// Takes the replies that have come; the outcome once all are there.
    pub(super) fn digest(
        &mut self,
        inbox: &mut Inbox,
        source: &Source,
        name: &str,
    ) -> Result<Option<Applied>, Fault> {
        loop {
            if let Next::Queued(left) = self.next {
                self.next = queued_left(left - inbox.queued(left));
            }
            let token = match inbox.token() {
                Ok(Some(token)) => token,
                Ok(None) => return Ok(None),
                Err(error) => return Err(out_of_step(name, &error.to_string())),
            };
            self.take(token, source, name)?;
            if self.next == Next::Done {
                return self.outcome().map(Some);
            }
        }
    }

    fn take(&mut self, token: Token, source: &Source, name: &str) -> Result<(), Fault> {
        match (self.next, token) {
            (Next::Element { index, values }, token) => self.element(index, values, token, source),
            (Next::Exec, Token::Array(Some(count))) => {
                if count != self.elements as u64 {
                    return Err(out_of_step(name, "EXEC answered for another number of commands"));
                }
                self.next = if count == 0 { Next::Done } else { Next::Element { index: 0, values: 1 } };
            }
            (Next::Exec, Token::Array(None) | Token::Bulk) => {
                let why = if self.guard_holds {
                    "was touched by somebody else"
                } else {
                    "is not what was expected"
                };
                return Err(Fault::Marker(format!("the marker of {name} {why}")));
            }
            (Next::Exec, Token::Error(text)) => {
                return Err(Fault::Refused(Box::new(self.aborted(&text, name))));
            }
            (_, token) => self.before_exec(token),
        }
        Ok(())
    }

    /// WATCH, the guard, MULTI, and what is queued.
    fn before_exec(&mut self, token: Token) {
        if let Token::Error(text) = &token {
            self.refused.get_or_insert_with(|| text.clone());
            self.bare |= self.next != Next::Guard;
        }
        self.next = match self.next {
            Next::Watch => Next::Guard,
            Next::Guard => {
                // A guard that could not be carried out says nothing. But the batches before this one
                // were applied, or it would not be looked at, so the marker is as it should be.
                self.guard_holds = matches!(token, Token::Integer(1) | Token::Error(_));
                Next::Multi
            }
            Next::Multi => queued_left(self.elements),
            Next::Queued(left) => queued_left(left - 1),
            other => other,
        };
    }

    fn element(&mut self, index: usize, values: u64, token: Token, source: &Source) {
        let mut values = values - 1;
        match token {
            Token::Array(Some(count)) => values += count,
            Token::Error(text) => self.answered(index, &text, source),
            _ => {}
        }
        self.next = match values {
            0 if index + 1 == self.elements => Next::Done,
            0 => Next::Element { index: index + 1, values: 1 },
            _ => Next::Element { index, values },
        };
    }

    /// An error inside EXEC: either a loading server gets it too, or the target has diverged.
    fn answered(&mut self, index: usize, text: &[u8], source: &Source) {
        let sent = index.checked_sub(self.before).and_then(|command| self.sent.get(command));
        let op = sent.and_then(|sent| self.part.ops.get(sent.first()));
        let (at, command, key) = match op {
            Some(op) if op.action != Action::Select => {
                let mut arguments = Arguments::of(self.part.bytes(source, op));
                let mut word = || arguments.next().map(shown).unwrap_or_default();
                (self.part.position(op), word(), word())
            }
            _ => (self.part.window.start, "SELECT or SET of the marker".to_owned(), String::new()),
        };
        let answered = Answered { at, command, key, text: shown(text) };
        match verdict::executed(text) {
            Executed::Ignored(label) => self.ignored.push(Ignored { label, answered }),
            Executed::Divergence => {
                self.diverged.get_or_insert(answered);
            }
        }
    }

    fn aborted(&self, text: &[u8], name: &str) -> Fault {
        match &self.refused {
            Some(first) => control::refused(name, first),
            None => control::refused(name, text),
        }
    }

    fn outcome(&mut self) -> Result<Applied, Fault> {
        // The guard's touch can have no effect, and an error before EXEC leaves a part of the batch out.
        if !self.guard_holds || self.bare {
            let why = self.refused.as_deref().unwrap_or(b"the guard did not hold");
            self.diverged.get_or_insert_with(|| Answered {
                at: self.part.window.start,
                command: "EXEC".to_owned(),
                key: String::new(),
                text: format!("a batch was applied out of its place: {}", shown(why)),
            });
        }
        if let Some(diverged) = self.diverged.take() {
            return Err(Fault::Diverged(Box::new(diverged)));
        }
        Ok(Applied {
            marker: self.marker.clone(),
            commands: self.batch.commands,
            bytes: self.batch.bytes,
            ignored: std::mem::take(&mut self.ignored),
        })
    }
}
