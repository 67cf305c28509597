//! A transaction under way: takes its replies one by one, and says what became of it.
//!
//! On the wire it is `WATCH marker`, `GET marker`, `MULTI`, the commands of one or more batches,
//! `SET marker`, `EXEC`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::futile::fails_everywhere;
use super::reply::{Inbox, Text, Token};
use super::verdict::{self, Executed};
use super::{Answered, Applied, Divergence, Fault, Ignored, control};
use crate::batch::order::Sent;
use crate::batch::{Batch, Written};
use crate::error::{Error, Kind, shown};
use crate::marker::Marker;
use crate::partition::{Action, LanePart, Op};
use crate::resp::frame::Arguments;
use crate::source::Source;

/// Which reply comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Watch,
    /// The marker: what GET says.
    Guard,
    Multi,
    /// QUEUED, after so many of them.
    Queued(usize),
    /// Element number `index` of EXEC's reply, of which `values` replies are still to come.
    Element {
        index: usize,
        values: u64,
    },
    Done,
}

/// A batch of a transaction.
#[derive(Debug)]
struct Piece {
    part: Arc<LanePart>,
    batch: Batch,
    /// Its commands; the first of them is number `first` of the transaction.
    sent: Vec<Sent>,
    first: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Transaction {
    pieces: Vec<Piece>,
    /// The marker's text before.
    expected: String,
    /// The marker after the last batch.
    marker: Marker,
    /// The database that is selected at the end of what is written.
    pub(super) db: u32,
    /// Commands written since MULTI.
    commands: usize,
    /// Whether EXEC is written.
    is_closed: bool,
    next: Next,
    ignored: Vec<Ignored>,
    diverged: Option<Answered>,
    /// Whether keys are looked at ahead; not any more once a server has refused it.
    looks_ahead: Arc<AtomicBool>,
}

impl Transaction {
    /// One that has just been begun in database 0, on a marker with this text.
    pub(super) fn begun(expected: String, marker: Marker, looks_ahead: Arc<AtomicBool>) -> Self {
        Transaction {
            pieces: Vec::new(),
            expected,
            marker,
            db: 0,
            commands: 0,
            is_closed: false,
            next: Next::Watch,
            ignored: Vec::new(),
            diverged: None,
            looks_ahead,
        }
    }

    /// Counts commands of the loader's own that were written.
    pub(super) fn add_own(&mut self, commands: usize) {
        self.commands += commands;
    }

    /// Adds a batch that was written; `marker` stands behind it.
    pub(super) fn add(&mut self, part: Arc<LanePart>, batch: Batch, marker: Marker, written: Written) {
        let first = self.commands + written.before;
        self.commands = first + written.sent.len();
        self.db = written.db;
        self.marker = marker;
        self.pieces.push(Piece { part, batch, sent: written.sent, first });
    }

    /// EXEC was written.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// The marker that it sets.
    pub(super) fn marker(&self) -> &Marker {
        &self.marker
    }

    /// The batches that were added so far.
    pub(super) fn batches(&self) -> impl Iterator<Item = (&LanePart, &Batch)> {
        self.pieces.iter().map(|piece| (&*piece.part, &piece.batch))
    }

    /// Their bytes in the source.
    pub(super) fn bytes(&self) -> usize {
        self.batches().map(|(_, batch)| batch.bytes as usize).sum()
    }

    /// Whether the server is known to watch the marker, and the marker to be what it must be.
    pub(super) fn is_guarded(&self) -> bool {
        !matches!(self.next, Next::Watch | Next::Guard | Next::Multi)
    }

    /// Takes the replies that have come; the outcome once all are there. After an error nothing more can be
    /// said about the connection: it has to be closed, which discards what is not executed.
    pub(super) fn digest(
        &mut self,
        inbox: &mut Inbox,
        source: &Source,
        name: &str,
    ) -> Result<Option<Applied>, Fault> {
        let strange = |error: super::reply::NotAReply| out_of_step(name, &error.to_string());
        loop {
            match self.next {
                Next::Done => return self.outcome().map(Some),
                Next::Guard => match inbox.text().map_err(strange)? {
                    Some(text) => self.guard(text, name)?,
                    None => return Ok(None),
                },
                Next::Queued(seen) if seen < self.commands => {
                    let more = inbox.queued(self.commands - seen);
                    self.next = Next::Queued(seen + more);
                    if more == 0 {
                        let Some(token) = inbox.token().map_err(strange)? else { return Ok(None) };
                        return Err(self.not_queued(seen, token, source, name));
                    }
                }
                Next::Queued(_) if !self.is_closed => return Ok(None),
                Next::Element { index, values: 1 } => {
                    // Nearly all commands are answered with a number, about which there is nothing to say.
                    let plain = inbox.plain(self.commands - index);
                    if plain > 0 {
                        self.next = self.behind(index + plain - 1);
                        continue;
                    }
                    match inbox.token().map_err(strange)? {
                        Some(token) => self.element(index, 1, token, source),
                        None => return Ok(None),
                    }
                }
                _ => match inbox.token().map_err(strange)? {
                    Some(token) => self.take(token, source, name)?,
                    None => return Ok(None),
                },
            }
        }
    }

    fn guard(&mut self, text: Text, name: &str) -> Result<(), Fault> {
        match text {
            Text::Value(Some(found)) if found == self.expected.as_bytes() => self.next = Next::Multi,
            Text::Value(_) => {
                return Err(Fault::Marker(format!("the marker of {name} is not what was expected")));
            }
            Text::Error(text) => return Err(control::refused(name, &text)),
        }
        Ok(())
    }

    /// A command was answered otherwise than with QUEUED: the transaction will not be executed.
    fn not_queued(&self, index: usize, token: Token, source: &Source, name: &str) -> Fault {
        let Token::Error(text) = token else {
            return out_of_step(name, "a command of a transaction was not queued");
        };
        match control::refused(name, &text) {
            // Who is permitted all that the load needs may lack this.
            Fault::Fatal(_) if self.is_ahead(index) => {
                self.looks_ahead.store(false, Ordering::Relaxed);
                Fault::Lost(format!("{name}: going on without EXISTS, which was refused: {}", shown(&text)))
            }
            Fault::Fatal(error) => {
                let answered = self.answered(index, &text, source);
                let error = error.file(source.file(answered.at.segment)).offset(answered.at.offset);
                Fault::Fatal(error.place("command", answered.command).key(answered.key))
            }
            fault => fault,
        }
    }

    /// The replies to WATCH, MULTI, EXEC, and those inside EXEC's.
    fn take(&mut self, token: Token, source: &Source, name: &str) -> Result<(), Fault> {
        match (self.next, token) {
            (Next::Element { index, values }, token) => self.element(index, values, token, source),
            (Next::Watch, Token::Simple(_)) => self.next = Next::Guard,
            (Next::Multi, Token::Simple(_)) => self.next = Next::Queued(0),
            (Next::Multi, Token::Error(text)) => {
                // The commands behind it were run on their own, then.
                let answered = Answered {
                    command: "MULTI".to_owned(),
                    key: String::new(),
                    ..self.answered(0, &text, source)
                };
                return Err(Fault::Diverged(Box::new(Divergence { answered, applied: None })));
            }
            (Next::Queued(_), Token::Array(Some(count))) if count == self.commands as u64 => {
                self.next = Next::Element { index: 0, values: 1 };
            }
            (Next::Queued(_), Token::Array(None) | Token::Bulk) => {
                return Err(Fault::Marker(format!("the marker of {name} was touched by somebody else")));
            }
            (Next::Watch | Next::Queued(_), Token::Error(text)) => return Err(control::refused(name, &text)),
            _ => return Err(out_of_step(name, "WATCH, MULTI or EXEC was answered for something else")),
        }
        Ok(())
    }

    fn element(&mut self, index: usize, values: u64, token: Token, source: &Source) {
        let mut values = values - 1;
        match token {
            Token::Array(Some(count)) => values += count,
            // It would have changed nothing.
            Token::Error(_) if self.is_ahead(index) => self.looks_ahead.store(false, Ordering::Relaxed),
            // Either a loading server gets it too, or the target has diverged.
            Token::Error(text) => {
                let answered = self.answered(index, &text, source);
                // A server that cannot load the functions of an RDB part does not load the file.
                let library = self.step(index).is_some_and(|(_, op)| op.action == Action::Library);
                match verdict::executed(&text) {
                    Executed::Ignored(label) if !library => self.ignored.push(Ignored { label, answered }),
                    Executed::Divergence if self.fails_everywhere(index, source) => {
                        self.ignored.push(Ignored { label: "bad argument", answered });
                    }
                    _ => drop(self.diverged.get_or_insert(answered)),
                }
            }
            _ => {}
        }
        self.next = match values {
            0 => self.behind(index),
            _ => Next::Element { index, values },
        };
    }

    /// What comes after the last value of element number `index`.
    fn behind(&self, index: usize) -> Next {
        if index + 1 == self.commands { Next::Done } else { Next::Element { index: index + 1, values: 1 } }
    }

    /// Command number `index`, with what it belongs to; `None` for one of the loader's own.
    fn sent(&self, index: usize) -> Option<(&Piece, &Sent)> {
        let behind = self.pieces.partition_point(|piece| piece.first <= index);
        let piece = behind.checked_sub(1).and_then(|last| self.pieces.get(last))?;
        Some((piece, piece.sent.get(index - piece.first)?))
    }

    /// Whether command number `index` only looks at keys ahead.
    fn is_ahead(&self, index: usize) -> bool {
        matches!(self.sent(index), Some((_, Sent::Ahead(_))))
    }

    /// The step that command number `index` belongs to; `None` for one of the loader's own.
    fn step(&self, index: usize) -> Option<(&LanePart, &Op)> {
        let (piece, sent) = self.sent(index)?;
        let op =
            piece.part.ops.get(*sent.steps().first()? as usize).filter(|op| op.action != Action::Select)?;
        Some((&piece.part, op))
    }

    /// Whether command number `index` is one of the source's that no server carries out.
    fn fails_everywhere(&self, index: usize, source: &Source) -> bool {
        self.step(index).filter(|(_, op)| matches!(op.action, Action::Send(_))).is_some_and(|(part, op)| {
            fails_everywhere(&Arguments::of(part.bytes(source, op)).collect::<Vec<_>>())
        })
    }

    /// Command number `index`, with the error that it was answered with.
    fn answered(&self, index: usize, text: &[u8], source: &Source) -> Answered {
        let text = shown(text);
        if let Some((part, op)) = self.step(index) {
            let (command, key) = part.names(source, op);
            return Answered { at: part.position(op), command, key, text };
        }
        let behind = self.pieces.partition_point(|piece| piece.first <= index);
        let piece = behind.checked_sub(1).and_then(|last| self.pieces.get(last));
        let at = piece.or(self.pieces.first()).map(|piece| piece.part.window.start).unwrap_or_default();
        Answered { at, command: "SELECT or SET of the marker".to_owned(), key: String::new(), text }
    }

    fn outcome(&mut self) -> Result<Applied, Fault> {
        let applied = Applied {
            marker: self.marker.clone(),
            commands: self.batches().map(|(_, batch)| batch.commands).sum(),
            bytes: self.bytes() as u64,
            ignored: std::mem::take(&mut self.ignored),
        };
        match self.diverged.take() {
            Some(answered) => Err(Fault::Diverged(Box::new(Divergence { answered, applied: Some(applied) }))),
            None => Ok(applied),
        }
    }
}

/// An error for something that only a fault of this program could bring about.
fn out_of_step(name: &str, what: &str) -> Fault {
    Fault::Fatal(
        Error::new(Kind::Stopped, "a target's replies do not fit what was sent")
            .place("target", name)
            .place("found", shown(what.as_bytes()))
            .remedy(
                "check that no proxy rewrites the connection; then run the same command again, it resumes",
            ),
    )
}
