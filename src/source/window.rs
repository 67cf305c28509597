//! Cuts the source into windows: the stretches of commands, or of the entries of an RDB part, that are
//! partitioned, and resumed, as one.
//!
//! Windows are a pure function of the source and the size given, so that every run, on any machine,
//! cuts the same ones. A transaction lies in one window unless it is larger than
//! [`TRANSACTION_BYTES_MAX`]; past that the cut does not change the outcome, only how much of it can
//! be seen half-done on the way.

use super::{Position, Source};
use crate::error::{Error, Kind, Result};
use crate::rdb::{self, Item, Reader, Version, crc64};
use crate::resp::frame::{self, Fault, Record};
use crate::route::Command;

/// A transaction of the source larger than this is cut, so that memory stays bounded.
pub const TRANSACTION_BYTES_MAX: u64 = 64 << 20;

/// How far behind the place where a window may end the next command is looked for.
const FORESEEN_WITHIN: usize = 16 << 10;

const REPAIR: &str = "take the file from the server or a backup again, redis-server refuses this one too; or cut it \
                      with redis-check-aof --fix, by which the damaged place and all that lies behind is lost";

/// What a window is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// RESP commands.
    Commands,
    /// Entries of an RDB part of this version; where the part begins, its header too.
    Rdb(Version),
}

/// A stretch of the source with the reader's state at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Where it starts.
    pub start: Position,
    /// Offset of its end in the same segment.
    pub end: u64,
    /// The selected database at its start.
    pub db: u32,
    /// Whether a MULTI is open at its start.
    pub in_transaction: bool,
    /// What it is made of.
    pub content: Content,
}

impl Window {
    /// Its bytes.
    pub fn bytes<'s>(&self, source: &'s Source) -> &'s [u8] {
        source
            .bytes(self.start.segment)
            .get(self.start.offset as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start.offset
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader of the entries of an RDB part from the window's start on; it does not stop at the window's
    /// end. `segment` holds the bytes of the window's segment.
    pub fn entries<'s>(&self, segment: &'s [u8]) -> std::result::Result<Reader<'s>, rdb::Fault> {
        match self.content {
            Content::Rdb(version) if self.start.offset > 0 => {
                Ok(Reader::resume(segment, self.start.offset, u64::from(self.db), version))
            }
            _ => Reader::new(segment),
        }
    }
}

/// The reader's state behind a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Offset of the window's last record in it.
    pub last: u64,
    /// The selected database.
    pub db: u32,
    /// Whether a MULTI is open.
    pub in_transaction: bool,
}

/// The error for an RDB part that cannot be read.
pub fn unreadable(source: &Source, segment: u32, fault: rdb::Fault) -> Error {
    let at = |offset: u64| Position { segment, offset };
    match fault {
        rdb::Fault::Cut { at: offset } => source
            .error(Kind::Source, "the RDB part of the source is cut off", at(offset)).unwritten()
            .remedy("take the file from a server or a backup again; redis-server refuses it too"),
        rdb::Fault::Damage { at: offset, expected, found } => source
            .error(Kind::Source, "the RDB part of the source is damaged", at(offset)).unwritten()
            .place("expected", expected)
            .place("found", found)
            .remedy("take the file from a server or a backup again; redis-server refuses it too"),
        rdb::Fault::Unsupported { at: offset, what } => source
            .error(Kind::Unsupported, "the RDB part of the source cannot be read", at(offset)).unwritten()
            .place("found", what)
            .remedy("have the server write commands instead: CONFIG SET aof-use-rdb-preamble no, then BGREWRITEAOF"),
    }
}

/// Servers count databases in an `int` and refuse a file that names one past theirs (`rdbLoadRioWithLoadingCtx`).
fn no_such_database(source: &Source, window: Position, db: u64) -> Error {
    source
        .error(Kind::Source, "the RDB part of the source is damaged", window)
        .unwritten()
        .place("expected", "a database that a server can have")
        .place("found", format!("database {db} in the entries from there on"))
        .remedy("take the file from a server or a backup again; redis-server refuses it too")
}

fn wrong_checksum(source: &Source, end: Position, computed: u64, written: u64) -> Error {
    let at = Position { offset: end.offset.saturating_sub(size_of::<u64>() as u64), ..end };
    source
        .error(Kind::Source, "the RDB part of the source is damaged", at)
        .unwritten()
        .place("expected", format!("the checksum of what stands before, {computed:016x}"))
        .place("found", format!("{written:016x}"))
        .remedy("take the file from a server or a backup again; redis-server refuses it too")
}

/// The part of a source's end that a server drops when it loads the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Where the dropped part begins.
    pub at: Position,
    /// How many bytes are dropped.
    pub bytes: u64,
    /// True for a transaction without EXEC, false for a cut command.
    pub open_transaction: bool,
}

/// An RDB part under way.
#[derive(Debug)]
struct Part {
    version: Version,
    /// The checksum of its bytes so far.
    digest: crc64::Digest,
}

/// Where the first line from `from` on begins that looks like a command's or an annotation's; `None` if there is none
/// nearby, or only the segment's end.
fn line_of_command(segment: &[u8], from: u64) -> Option<u64> {
    let before = from.saturating_sub(2) as usize;
    let near = segment.get(before..segment.len().min(before.saturating_add(FORESEEN_WITHIN)))?;
    let found = near.windows(3).position(|bytes| matches!(bytes, b"\r\n*" | b"\r\n#"))?;
    Some((before + found + 2) as u64)
}

/// Steps over the windows of a source, checking its framing and the checksums of its RDB parts on the way.
#[derive(Debug)]
pub struct Windows<'s> {
    source: &'s Source,
    window_bytes: u64,
    /// No record at or past this place is looked at.
    end: Position,
    at: Position,
    db: u32,
    /// Where the open MULTI stands, if there is one.
    multi: Option<u64>,
    /// The RDB part that the reader is in, if it is in one.
    part: Option<Part>,
    tail: Option<Tail>,
    /// Set once the reader has come to the end.
    done: bool,
}

impl<'s> Windows<'s> {
    /// All windows up to `end`, each of about `window_bytes`.
    pub fn new(source: &'s Source, window_bytes: u64, end: Position) -> Self {
        let at = Position::default();
        Windows {
            source,
            window_bytes,
            end,
            at,
            db: 0,
            multi: None,
            part: None,
            tail: None,
            done: source.segments() == 0,
        }
    }

    /// The dropped end of the source, known once all windows have been taken.
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// Where the windows taken so far end.
    pub fn at(&self) -> Position {
        self.at
    }

    /// The next window that is not empty.
    pub fn next_window(&mut self) -> Result<Option<Window>> {
        while !self.done {
            self.source.check(self.at.segment)?;
            let window = if self.is_in_rdb()? { self.cut_rdb()? } else { self.cut()? };
            if !window.is_empty() {
                return Ok(Some(window));
            }
        }
        Ok(None)
    }

    /// Whether what comes next is an RDB part or the rest of one; only a segment's start can begin one.
    fn is_in_rdb(&mut self) -> Result<bool> {
        let segment = self.segment_bytes();
        if self.at.offset == 0 && rdb::is_rdb(segment) {
            let version =
                rdb::header(segment).map_err(|fault| unreadable(self.source, self.at.segment, fault))?;
            self.part = Some(Part { version, digest: crc64::Digest::new() });
        }
        Ok(self.part.is_some())
    }

    /// Guesses where the next windows lie, at most so many, from where lines begin as commands do: they are right if they
    /// end where one does, and leave the reader's state as it was, which [`Windows::accept`] decides.
    pub fn foresee(&self, most: usize) -> Result<Vec<Window>> {
        let (segment, mut start) = (self.segment_bytes(), self.at);
        let begins_rdb = start.offset == 0 && rdb::is_rdb(segment);
        let mut foreseen = Vec::new();
        if self.done || self.part.is_some() || self.multi.is_some() || begins_rdb {
            return Ok(foreseen);
        }
        self.source.check(start.segment)?;
        while foreseen.len() < most {
            let Some(end) = line_of_command(segment, start.offset.saturating_add(self.window_bytes)) else {
                break;
            };
            let content = Content::Commands;
            foreseen.push(Window { start, end, db: self.db, in_transaction: false, content });
            start.offset = end;
        }
        Ok(foreseen)
    }

    /// Goes on behind a foreseen window that was walked through, if it is the one that comes next: `behind` is the state
    /// that its commands lead to.
    pub fn accept(&mut self, window: &Window, behind: Behind) -> bool {
        let ends_there = behind.last < self.window_bytes && self.window_bytes <= window.len();
        let same_state = behind.db == self.db && !behind.in_transaction;
        let is_next = window.start == self.at && ends_there && same_state;
        if is_next {
            self.at.offset = window.end;
        }
        is_next
    }

    /// Walks entries up to the next place where a window may end, or to the end of the RDB part.
    fn cut_rdb(&mut self) -> Result<Window> {
        let (segment, start) = (self.segment_bytes(), self.at);
        let Some(part) = &mut self.part else { return self.cut() };
        let content = Content::Rdb(part.version);
        let mut window = Window { start, end: start.offset, db: self.db, in_transaction: false, content };
        let mut entries =
            window.entries(segment).map_err(|fault| unreadable(self.source, start.segment, fault))?;
        let mut sum = None;
        while entries.offset() - start.offset < self.window_bytes {
            if entries.short_string().is_some() {
                continue;
            }
            match entries.next().transpose().map_err(|fault| unreadable(self.source, start.segment, fault))? {
                Some(rdb::Entry { item: Item::End { crc }, .. }) => sum = Some(crc),
                Some(_) => {}
                None => break,
            }
        }
        window.end = entries.offset();
        self.db = i32::try_from(entries.db())
            .map_err(|_| no_such_database(self.source, start, entries.db()))? as u32;
        self.at.offset = window.end;
        let bytes = segment.get(start.offset as usize..window.end as usize).unwrap_or_default();
        let Some(crc) = sum else {
            part.digest.update(bytes);
            return Ok(window);
        };
        if let Some(crc) = crc {
            part.digest.update(&bytes[..bytes.len().saturating_sub(size_of::<u64>())]);
            if part.digest.value() != crc {
                return Err(wrong_checksum(self.source, self.at, part.digest.value(), crc));
            }
        }
        self.part = None;
        // What follows is loaded by a client of its own.
        self.db = 0;
        if self.at.offset == segment.len() as u64 {
            self.next_segment();
        }
        Ok(window)
    }

    /// Frames up to the next place where a window may end, or to the segment's end.
    fn cut(&mut self) -> Result<Window> {
        let start = self.at;
        let mut window = Window {
            start,
            end: start.offset,
            db: self.db,
            in_transaction: self.multi.is_some(),
            content: Content::Commands,
        };
        let segment = self.segment_bytes();
        let mut rest = segment.get(start.offset as usize..).unwrap_or_default();
        let mut framer = frame::Framer::default();
        while !rest.is_empty() {
            let offset = (segment.len() - rest.len()) as u64;
            let length = offset - start.offset;
            let room = self.window_bytes + if self.multi.is_some() { TRANSACTION_BYTES_MAX } else { 0 };
            if length >= room {
                break;
            }
            match framer.record(rest) {
                Ok((next, Record::Command(head))) => {
                    let bytes = &rest[..rest.len() - next.len()];
                    self.follow(&Command { bytes, head, db: self.db, ordinal: 0 }, offset);
                    rest = next;
                }
                Ok((next, Record::Annotation)) => rest = next,
                Err(
                    nom::Err::Error(Fault::Malformed { left, expected })
                    | nom::Err::Failure(Fault::Malformed { left, expected }),
                ) => {
                    return Err(self.damaged(segment, segment.len() - left, expected));
                }
                Err(_) => return self.cut_tail(window, offset, false),
            }
        }
        window.end = (segment.len() - rest.len()) as u64;
        self.at.offset = window.end;
        if rest.is_empty() {
            if let Some(multi) = self.multi {
                return self.cut_tail(window, multi, true);
            }
            self.next_segment();
        }
        Ok(window)
    }

    /// Keeps the state that commands change: the database and whether a transaction is open.
    #[inline]
    fn follow(&mut self, command: &Command<'_>, offset: u64) {
        let name = command.name();
        match name.len() {
            6 if name.eq_ignore_ascii_case(b"SELECT") && command.head.argc == 2 => {
                self.db = crate::command::names::database(command.first()).unwrap_or(self.db);
            }
            5 if name.eq_ignore_ascii_case(b"MULTI") && self.multi.is_none() => self.multi = Some(offset),
            4 if name.eq_ignore_ascii_case(b"EXEC") => self.multi = None,
            _ => {}
        }
    }

    fn segment_bytes(&self) -> &'s [u8] {
        let bytes = self.source.bytes(self.at.segment);
        if self.at.segment == self.end.segment {
            &bytes[..bytes.len().min(self.end.offset as usize)]
        } else {
            bytes
        }
    }

    /// Ends the window before a part that a server drops, if this is the source's end.
    fn cut_tail(&mut self, mut window: Window, offset: u64, open_transaction: bool) -> Result<Window> {
        // A cut command inside an open transaction takes the whole transaction with it.
        let (offset, open_transaction) = self.multi.map_or((offset, open_transaction), |multi| (multi, true));
        let at = Position { segment: self.at.segment, offset };
        if self.at.segment as usize + 1 < self.source.segments() {
            let what = if open_transaction { "a transaction without EXEC" } else { "a cut command" };
            return Err(self
                .source
                .error(Kind::Source, format!("a file that is not the last of the source ends in {what}"), at)
                .remedy(REPAIR));
        }
        self.tail = Some(Tail { at, bytes: self.segment_bytes().len() as u64 - offset, open_transaction });
        // An open transaction may have begun in an earlier window, which the caller learns from the tail.
        window.end = offset.max(window.start.offset);
        self.at.offset = offset;
        self.done = true;
        Ok(window)
    }

    fn next_segment(&mut self) {
        if self.at.segment >= self.end.segment || self.at.segment as usize + 1 >= self.source.segments() {
            self.done = true;
        } else {
            // Each file is loaded by a client of its own, which starts in database 0.
            self.at = Position { segment: self.at.segment + 1, offset: 0 };
            self.db = 0;
        }
    }

    fn damaged(&self, segment: &[u8], offset: usize, expected: &str) -> Error {
        let found = segment.get(offset..).unwrap_or_default();
        let at = Position { segment: self.at.segment, offset: offset as u64 };
        self.source
            .error(Kind::Source, "the source is damaged", at)
            .unwritten()
            .place("expected", expected)
            .place("found", crate::error::shown(&found[..found.len().min(24)]))
            .remedy(REPAIR)
    }
}
