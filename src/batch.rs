//! Cuts a lane's part of a window into batches and writes their commands. Pure: no I/O of its own.
//!
//! Where batches end depends on the source, the routing and the two limits alone, all of which the
//! marker holds, so that a resumed load cuts the same ones.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Write};
use std::ops::Range;

mod ahead;
mod append;
pub mod order;
mod value;

pub use append::append_commands;
use order::{SET_START_BYTES, Sent, order};

use crate::command::{Rewrite, deadline, lookup, trim};
use crate::partition::{Action, LanePart, Op, split_unit};
use crate::rdb::{self, Item};
use crate::resp::encode;
use crate::resp::frame::Arguments;
use crate::route::{Form, Reach, Rules, Takes, scripts};
use crate::source::Source;

/// A transaction of the source with more commands than this in one lane is cut into several batches.
const TRANSACTION_COMMANDS_MAX: usize = 10_000;
/// The same for its bytes.
const TRANSACTION_BYTES_MAX: u64 = 64 << 20;

/// A server keeps the last 500 scripts that came with EVAL (7.4 and later); of no more than so many is it counted on.
const BODIES_MAX: usize = 100;

/// A run of one lane's commands, applied together with the marker that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its steps, as indexes into [`LanePart::ops`].
    pub ops: Range<usize>,
    /// Its number in the window, counted from 1: the marker's `batch` once it is applied.
    pub number: u64,
    /// The database of its first command.
    pub db: u32,
    /// Its commands, without SELECTs.
    pub commands: u64,
    /// Their bytes in the source.
    pub bytes: u64,
    /// Whether a SWAPDB is among them.
    pub swaps: bool,
}

/// Cuts the batches of one part, in order.
#[derive(Debug, Clone)]
pub struct Batches<'p> {
    part: &'p LanePart,
    commands_max: usize,
    bytes_max: u64,
    next: usize,
    number: u64,
    db: u32,
}

impl<'p> Batches<'p> {
    /// All batches of `part`, of at most `commands_max` commands and `bytes_max` bytes each, unless a
    /// single command or transaction is larger.
    pub fn new(part: &'p LanePart, commands_max: usize, bytes_max: usize) -> Self {
        Batches { part, commands_max, bytes_max: bytes_max as u64, next: 0, number: 0, db: part.window.db }
    }

    fn is_full(&self, batch: &Batch, open: &Open, op: &Op) -> bool {
        let more = u64::from(op.len);
        if op.transaction != 0 && op.transaction == open.transaction {
            return open.steps >= TRANSACTION_COMMANDS_MAX || open.bytes + more > TRANSACTION_BYTES_MAX;
        }
        batch.ops.len() >= self.commands_max || batch.bytes + more > self.bytes_max
    }
}

/// What a batch has of the transaction that its last command belongs to.
#[derive(Default)]
struct Open {
    /// Its number; 0 for a command that belongs to none.
    transaction: u32,
    steps: usize,
    bytes: u64,
}

impl Open {
    fn take(&mut self, op: &Op) {
        if op.transaction != self.transaction {
            *self = Open { transaction: op.transaction, steps: 0, bytes: 0 };
        }
        self.steps += 1;
        self.bytes += u64::from(op.len);
    }
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let ops = &self.part.ops;
        let mut batch = Batch {
            ops: self.next..self.next,
            number: self.number + 1,
            db: self.db,
            commands: 0,
            bytes: 0,
            swaps: false,
        };
        let mut open = Open::default();
        while let Some(op) = ops.get(batch.ops.end) {
            if batch.commands > 0 && self.is_full(&batch, &open, op) {
                break;
            }
            if op.action == Action::Select {
                self.db = op.start;
                if batch.commands == 0 {
                    batch.db = op.start;
                }
            } else {
                batch.commands += 1;
                batch.bytes += u64::from(op.len);
                batch.swaps |= matches!(op.action, Action::Swap(_));
            }
            open.take(op);
            batch.ops.end += 1;
        }
        self.next = batch.ops.end;
        self.number = batch.number;
        (batch.commands > 0).then_some(batch)
    }
}

/// What writing a batch's commands came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Commands written before the first of `sent`: 1 if a SELECT was needed, else 0.
    pub before: usize,
    /// The database that is selected after the last one.
    pub db: u32,
    /// The commands written.
    pub sent: Vec<Sent>,
}

/// Writes the commands of a batch for a live server; `db` is the database that is selected before.
///
/// They come in another order and plain SETs merged, and keys looked at ahead if `looks_ahead`. Large arguments are
/// handed to `out` as they lie in the map, so that a buffering writer passes them on uncopied.
pub fn write_commands<W: Write>(
    out: &mut W,
    source: &Source,
    rules: &Rules,
    lane: usize,
    (part, batch): (&LanePart, &Batch),
    (db, looks_ahead): (u32, bool),
) -> io::Result<Written> {
    let takes = rules.live.get(lane).copied().flatten();
    let ordered = order(part, batch, source);
    let planned = if looks_ahead { ahead::plan(ordered, part) } else { ordered };
    let mut writer = Commands::new(out, source, rules, lane, part, db);
    let mut sent = Vec::with_capacity(planned.len());
    let before = usize::from(writer.begin(batch)?);
    for (nth, step) in planned.iter().enumerate() {
        let commands = match step {
            Sent::One(step) => writer.one(&part.ops[*step as usize], takes)?,
            Sent::Sets(steps) => writer.sets(steps).map(|()| 1)?,
            Sent::Ahead(commands) => {
                writer.ahead(planned.get(nth + 1..=nth + commands).unwrap_or_default()).map(|()| 1)?
            }
        };
        // A value that is taken apart makes several commands.
        sent.extend(std::iter::repeat_n(step, commands.max(1)).cloned());
    }
    Ok(Written { before, db: writer.db, sent })
}

/// Writes single commands, keeping track of the database.
struct Commands<'w, W> {
    out: &'w mut W,
    source: &'w Source,
    rules: &'w Rules,
    lane: usize,
    part: &'w LanePart,
    /// The bytes of the part's window.
    window: &'w [u8],
    db: u32,
    /// Kept to be filled again.
    text: Vec<u8>,
    /// Digests of the scripts that the target is sure to have, and bodies sent since the first of them.
    brought: HashSet<Vec<u8>>,
    bodies: usize,
}

impl<'w, W: Write> Commands<'w, W> {
    fn new(
        out: &'w mut W,
        source: &'w Source,
        rules: &'w Rules,
        lane: usize,
        part: &'w LanePart,
        db: u32,
    ) -> Self {
        let (window, text) = (part.window.bytes(source), Vec::new());
        Commands { out, source, rules, lane, part, window, db, text, brought: HashSet::new(), bodies: 0 }
    }

    /// Selects the database of a batch's first command; whether that took a command.
    fn begin(&mut self, batch: &Batch) -> io::Result<bool> {
        let selects = self.part.ops.get(batch.ops.start).is_some_and(|op| op.action == Action::Select);
        let selected = batch.db == self.db || selects;
        if !selected {
            self.select(batch.db)?;
        }
        Ok(!selected)
    }

    fn select(&mut self, db: u32) -> io::Result<()> {
        let mut command = Vec::with_capacity(32);
        encode::select(&mut command, db);
        self.db = db;
        self.out.write_all(&command)
    }

    /// See [`ahead`].
    fn ahead(&mut self, of: &[Sent]) -> io::Result<()> {
        self.text.clear();
        ahead::write(&mut self.text, of, self.part, self.window).ok_or_else(changed)?;
        self.out.write_all(&self.text)
    }

    /// Writes one step; how many commands that were.
    fn one(&mut self, op: &Op, takes: Option<Takes>) -> io::Result<usize> {
        match op.action {
            Action::Select => self.select(op.start)?,
            Action::Send(form) | Action::Swap(form) => self.command(op, form)?,
            Action::Value(form) => {
                let offset_ms = (form == Form::Rewritten).then_some(self.rules.clock.offset_ms);
                let (Some(takes), Item::Value(value)) = (takes, self.entry(op)?) else {
                    return Err(changed());
                };
                return value::write(self.out, &value, takes, offset_ms);
            }
            Action::Library => match self.entry(op)? {
                Item::Function(library) => {
                    write_arguments(self.out, &[b"FUNCTION".as_slice(), b"LOAD", b"REPLACE", &library])?;
                }
                _ => return Err(changed()),
            },
        }
        Ok(1)
    }

    fn entry(&self, op: &Op) -> io::Result<Item<'w>> {
        self.part.entry(self.source, op).map(|entry| entry.item).ok_or_else(changed)
    }

    fn command(&mut self, op: &Op, form: Form) -> io::Result<()> {
        let bytes = op.bytes(self.window);
        if !self.brought.is_empty() && op.reach == Reach::All {
            self.forget(bytes);
        }
        if form == Form::Verbatim {
            return self.out.write_all(bytes);
        }
        let arguments: Vec<&[u8]> = Arguments::of(bytes).collect();
        match form {
            Form::Part => {
                let is_own =
                    |key: &[u8]| self.rules.routing.lane(self.db, key, self.part.ordinal(op)) == self.lane;
                write_arguments(self.out, &own_part(&arguments, is_own))
            }
            Form::Absolute | Form::Rewritten => {
                let offset_ms = if form == Form::Absolute { 0 } else { self.rules.clock.offset_ms };
                match rewritten(&arguments, deadline::Clock { offset_ms, ..self.rules.clock }) {
                    Some(arguments) => write_arguments(self.out, &arguments),
                    None => write_arguments(self.out, &arguments),
                }
            }
            Form::Body => match self.body(op, &arguments)? {
                Some(body) => {
                    let command = with_body(&arguments, body);
                    // Rejected for its keys it would not be kept.
                    if scripts::change(&command).is_some() {
                        self.brought.insert(arguments[1].to_ascii_lowercase());
                        self.bodies += 1;
                    }
                    write_arguments(self.out, &command)
                }
                // The target has it, or a loading server would not know it either.
                None => write_arguments(self.out, &arguments),
            },
            Form::Canonical | Form::Verbatim => write_arguments(self.out, &arguments),
        }
    }

    /// The body that an EVALSHA names, unless the source brings none, or this batch has sent it already: inside a
    /// transaction no script is lost.
    fn body(&self, op: &Op, arguments: &[&[u8]]) -> io::Result<Option<&'w [u8]>> {
        let (Some(scripts), Some(sha)) = (self.rules.scripts.as_ref(), arguments.get(1)) else {
            return Ok(None);
        };
        let Some((segment, body)) = scripts.body(sha, self.part.position(op)) else { return Ok(None) };
        if self.brought.contains(&sha.to_ascii_lowercase()) {
            return Ok(None);
        }
        let body = self.source.bytes(segment).get(body.start as usize..body.end as usize);
        // It may stand in another window, whose sum nobody looks at now.
        body.filter(|body| scripts::is_named(sha, body)).map(Some).ok_or_else(changed)
    }

    /// Before a command that may touch anything: which scripts the target may have lost then.
    fn forget(&mut self, bytes: &[u8]) {
        let name = Arguments::of(bytes).next().unwrap_or_default();
        self.bodies += usize::from(name.eq_ignore_ascii_case(b"EVAL"));
        if name.eq_ignore_ascii_case(b"SCRIPT") || self.bodies >= BODIES_MAX {
            self.brought.clear();
            self.bodies = 0;
        }
    }

    /// An MSET: what follows the name in each SET is a key and a value, framed already.
    fn sets(&mut self, steps: &[u32]) -> io::Result<()> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        encode::array(&mut text, 1 + 2 * steps.len());
        encode::bulk(&mut text, b"MSET");
        for step in steps {
            let op = &self.part.ops[*step as usize];
            let bytes = op.bytes(self.window);
            if let Action::Send(_) = op.action {
                text.extend_from_slice(bytes.get(SET_START_BYTES..).unwrap_or_default());
            } else if !rdb::append_bare_string(&mut text, bytes, encode::bulk_header) {
                let Item::Value(value) = self.entry(op)? else { return Err(changed()) };
                encode::bulk(&mut text, &value.key);
                encode::bulk(&mut text, &value::string(&value.object)?);
            }
        }
        self.text = text;
        self.out.write_all(&self.text)
    }
}

/// An EVALSHA as EVAL.
fn with_body<'a>(arguments: &[&'a [u8]], body: &'a [u8]) -> Vec<&'a [u8]> {
    let mut out = arguments.to_vec();
    out[0] = b"EVAL";
    out[1] = body;
    out
}

/// What the survey has seen is not there any more. The sum of the window tells the same before anything is
/// executed; this only ends the attempt.
fn changed() -> io::Error {
    io::Error::other("the source was changed while it was read")
}

fn write_arguments<W: Write, A: AsRef<[u8]>>(out: &mut W, arguments: &[A]) -> io::Result<()> {
    let mut header = Vec::with_capacity(24);
    encode::array(&mut header, arguments.len());
    for argument in arguments {
        let argument = argument.as_ref();
        encode::bulk_header(&mut header, argument.len());
        out.write_all(&header)?;
        out.write_all(argument)?;
        header.clear();
        header.extend_from_slice(b"\r\n");
    }
    out.write_all(&header)
}

/// The part of a splittable command that belongs to a lane.
fn own_part<'a>(arguments: &[&'a [u8]], is_own: impl Fn(&[u8]) -> bool) -> Vec<&'a [u8]> {
    let unit = split_unit(arguments);
    let mut own: Vec<&[u8]> = arguments.iter().take(1).copied().collect();
    for group in arguments.get(1..).unwrap_or_default().chunks(unit) {
        if is_own(group[0]) {
            own.extend_from_slice(group);
        }
    }
    own
}

/// The command that a live server needs in place of this one; `None` if it may stand.
fn rewritten<'a>(arguments: &[&'a [u8]], clock: deadline::Clock) -> Option<Vec<Cow<'a, [u8]>>> {
    let spec = lookup(arguments.first()?)?;
    if spec.rewrite == Rewrite::StreamTrim {
        return trim::rewrite(arguments, spec.name == "XADD");
    }
    match deadline::shift(spec.rewrite, arguments, clock) {
        deadline::Shifted::Changed(arguments, _) => Some(arguments),
        deadline::Shifted::AsItStands
        | deadline::Shifted::Refused(_)
        | deadline::Shifted::FieldRefused(_) => None,
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
pub(crate) mod tests;
