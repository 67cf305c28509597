//! Walks an RDB file entry by entry (`rdbLoadRioWithLoadingCtx`, rdb.c).

use std::borrow::Cow;
use std::ops::Range;

use nom::Parser;
use nom::number::complete::{le_i32, le_i64, le_u64};

use super::fault::{Fault, damage, unsupported};
use super::header::{HEADER_BYTES, Product, Version, header};
use super::kind::Kind;
use super::scan::{
    Parsed, Text, behind_short_text, byte, is_packed, is_shorter, length, number, short_plain, string, text,
};
use super::{extent, module};
use crate::resp::frame::AHEAD_BYTES;

/// The bytes before an entry that is not a value, and the attributes before one that is.
mod opcode {
    pub(super) const SLOT_IMPORT: u8 = 243;
    pub(super) const SLOT_INFO: u8 = 244;
    pub(super) const FUNCTION: u8 = 245;
    pub(super) const FUNCTION_EARLY: u8 = 246;
    pub(super) const MODULE_AUX: u8 = 247;
    pub(super) const IDLE: u8 = 248;
    pub(super) const FREQ: u8 = 249;
    pub(super) const AUX: u8 = 250;
    pub(super) const RESIZE_DB: u8 = 251;
    pub(super) const EXPIRE_TIME_MS: u8 = 252;
    pub(super) const EXPIRE_TIME: u8 = 253;
    pub(super) const SELECT_DB: u8 = 254;
    pub(super) const END: u8 = 255;
}

/// The type byte of a string (`RDB_TYPE_STRING`).
const STRING: u8 = 0;

/// The first version that ends in a checksum.
const CHECKSUM_SINCE: u32 = 5;

/// What is stored under a key: its type and its bytes as they stand in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<'a> {
    /// Type and encoding; gives the type byte too.
    pub kind: Kind,
    /// The bytes behind the type byte and the key.
    pub body: &'a [u8],
    /// Where they begin in the file.
    pub at: u64,
}

impl<'a> Object<'a> {
    /// The bytes of a string, borrowed where they are not compressed; `None` if this is something else.
    pub fn string(&self) -> Result<Option<Cow<'a, [u8]>>, Fault> {
        if self.kind != Kind::String {
            return Ok(None);
        }
        let parsed = string(self.body).map_err(|bad| Fault::new(bad, self.body, self.at))?;
        Ok(Some(parsed.1))
    }

    /// Whether this is a string of fewer than `limit` bytes once it is decoded, by what it declares.
    #[inline]
    pub fn is_string_below(&self, limit: usize) -> bool {
        self.kind == Kind::String && is_shorter(self.body, limit)
    }

    /// Whether this is a string that is stored as it is or as a number, so that there is nothing in it to decode.
    #[inline]
    pub fn is_bare(&self) -> bool {
        self.kind == Kind::String && !is_packed(self.body)
    }

    /// The name of the module's data type, if it is a value of a module; a server without the module
    /// takes neither the file nor the payload.
    pub fn module(&self) -> Option<String> {
        if self.kind != Kind::Module {
            return None;
        }
        length(self.body).ok().map(|(_, id)| module::name(id))
    }
}

/// A key and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value<'a> {
    /// The key, decoded.
    pub key: Cow<'a, [u8]>,
    /// What is stored under it.
    pub object: Object<'a>,
    /// Unix time in milliseconds at which the key expires.
    pub deadline_ms: Option<i64>,
    /// Seconds since the last access, under an LRU policy.
    pub idle_s: Option<u64>,
    /// Frequency of access, under an LFU policy.
    pub freq: Option<u8>,
    /// An aggregate without an element: a loading server skips it, and RESTORE refuses it.
    pub is_empty: bool,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// The keys that follow are in this database.
    SelectDb(u64),
    /// Something about the file, such as `redis-ver`; unknown ones are to be skipped.
    Aux {
        /// Its name.
        key: Cow<'a, [u8]>,
        /// Its value.
        value: Cow<'a, [u8]>,
    },
    /// The source of a library of functions.
    Function(Cow<'a, [u8]>),
    /// Data of a module outside the keyspace; a server without the module refuses the file.
    ModuleAux {
        /// Name of the module's data type.
        module: String,
    },
    /// How many keys the database has, and how many of them have deadlines: a hint.
    ResizeDb {
        /// Number of keys.
        keys: u64,
        /// Number of keys with a deadline.
        deadlines: u64,
    },
    /// How many keys a hash slot of Redis Cluster has: a hint.
    SlotInfo {
        /// The slot.
        slot: u64,
        /// Number of keys.
        keys: u64,
        /// Number of keys with a deadline.
        deadlines: u64,
    },
    /// Hash slots whose import into this node of a Valkey cluster was under way.
    SlotImport {
        /// Name of the migration.
        job: Cow<'a, [u8]>,
    },
    /// A key.
    Value(Value<'a>),
    /// The end of the RDB data; what follows are the records of the append-only file.
    End {
        /// The checksum of all bytes of the file up to the eight that hold it, the last of this entry;
        /// `None` if the file has none.
        crc: Option<u64>,
    },
}

/// An item and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its bytes in the file; for a value from the first of its attributes on, with all that stands between them and it.
    pub range: Range<u64>,
    /// What it is.
    pub item: Item<'a>,
}

/// Steps over the entries of an RDB file up to its end, or to the first fault.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    file: &'a [u8],
    at: usize,
    db: u64,
    version: Version,
    done: bool,
}

/// Appends the key and the string of an entry that is nothing else (no other type, no attributes: most of many files),
/// each framed by `frame`, which is told its length, and ended by CR LF. False, and nothing appended, if the entry is something else.
pub fn append_bare_string(out: &mut Vec<u8>, entry: &[u8], frame: impl Fn(&mut Vec<u8>, usize)) -> bool {
    let length = out.len();
    let both = || {
        let at_key = entry.strip_prefix(&[STRING])?;
        let (behind_key, key) = match short_plain(at_key) {
            Some((key, behind)) => (behind, Text::Plain(key)),
            None => text(at_key).ok()?,
        };
        Some([key, text(behind_key).ok()?.1])
    };
    let Some(both) = both() else { return false };
    for text in both {
        let Some(bytes) = text.len() else { return false };
        frame(out, bytes);
        if text.append_to(out).is_none() {
            out.truncate(length);
            return false;
        }
        out.extend_from_slice(b"\r\n");
    }
    true
}

impl<'a> Reader<'a> {
    /// Reads the next entry if it is but a short string under a short key that is stored as it is: most of many files,
    /// and read in a fraction of the time.
    #[inline(always)]
    pub fn short_string(&mut self) -> Option<Value<'a>> {
        if self.done {
            return None;
        }
        self.look_ahead();
        let (key, at_body) = short_plain(self.file.get(self.at..)?.strip_prefix(&[STRING])?)?;
        let rest = behind_short_text(at_body)?;
        self.at = self.file.len() - rest.len();
        let object = Object {
            kind: Kind::String,
            body: at_body.get(..at_body.len() - rest.len()).unwrap_or_default(),
            at: (self.file.len() - at_body.len()) as u64,
        };
        let key = Cow::Borrowed(key);
        Some(Value { key, object, deadline_ms: None, idle_s: None, freq: None, is_empty: false })
    }

    /// Reads the header of a file.
    pub fn new(file: &'a [u8]) -> Result<Self, Fault> {
        let version = header(file)?;
        Ok(Reader { file, at: HEADER_BYTES, db: 0, version, done: false })
    }

    /// Goes on at the boundary of an entry, with what an earlier reader told there.
    pub fn resume(file: &'a [u8], offset: u64, db: u64, version: Version) -> Self {
        let at = usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
        Reader { file, at, db, version, done: false }
    }

    /// Where the next entry begins.
    pub fn offset(&self) -> u64 {
        self.at as u64
    }

    /// The database of the next key.
    pub fn db(&self) -> u64 {
        self.db
    }

    /// The file's version.
    pub fn version(&self) -> Version {
        self.version
    }

    fn entry(&mut self) -> Result<Entry<'a>, Fault> {
        self.look_ahead();
        let input = self.file.get(self.at..).unwrap_or_default();
        let (rest, item) = self.item(input).map_err(|bad| Fault::new(bad, self.file, 0))?;
        let start = self.offset();
        self.at = self.file.len() - rest.len();
        match item {
            Item::SelectDb(db) => self.db = db,
            Item::End { .. } => self.done = true,
            _ => {}
        }
        Ok(Entry { range: start..self.offset(), item })
    }

    /// Has the processor fetch what comes later, as [`crate::resp::frame::record`] does.
    #[inline]
    fn look_ahead(&self) {
        std::hint::black_box(self.file.get(self.at.saturating_add(AHEAD_BYTES)).copied());
    }

    #[inline]
    fn item(&mut self, input: &'a [u8]) -> Parsed<'a, Item<'a>> {
        if let Some(behind_type) = input.strip_prefix(&[STRING]) {
            return self.value(Kind::String, Attributes::default(), behind_type);
        }
        let (at_type, attributes) = Attributes::default().read(input)?;
        let (rest, type_byte) = byte(at_type)?;
        match Kind::from_byte(type_byte, self.version.product) {
            Ok(kind) => self.value(kind, attributes, rest),
            Err(_) if attributes.is_any => self.apart(attributes, at_type),
            Err(unknown) => self.other(type_byte, unknown, at_type, rest),
        }
    }

    /// What comes behind attributes that do not stand before their value. A server keeps them for the next value,
    /// whatever comes in between; so that becomes part of the value's entry. None writes it so.
    #[cold]
    fn apart(&mut self, mut attributes: Attributes, mut input: &'a [u8]) -> Parsed<'a, Item<'a>> {
        loop {
            let at_type;
            (at_type, attributes) = attributes.read(input)?;
            let (rest, type_byte) = byte(at_type)?;
            let unknown = match Kind::from_byte(type_byte, self.version.product) {
                Ok(kind) => return self.value(kind, attributes, rest),
                Err(unknown) => unknown,
            };
            let (rest, item) = self.other(type_byte, unknown, at_type, rest)?;
            match item {
                Item::SelectDb(db) => self.db = db,
                Item::Aux { .. } | Item::ResizeDb { .. } | Item::SlotInfo { .. } => {}
                Item::End { .. } => return Ok((rest, item)),
                // It has to be an entry of its own.
                _ => return Err(damage(at_type, "the type of a value behind its attributes")),
            }
            input = rest;
        }
    }

    #[inline]
    fn value(&self, kind: Kind, attributes: Attributes, input: &'a [u8]) -> Parsed<'a, Item<'a>> {
        let (start, key) = string(input)?;
        let (rest, is_empty) = extent::skip(kind, start)?;
        let body = start.get(..start.len() - rest.len()).unwrap_or_default();
        let object = Object { kind, body, at: (self.file.len() - start.len()) as u64 };
        let Attributes { deadline_ms, idle_s, freq, .. } = attributes;
        Ok((rest, Item::Value(Value { key, object, deadline_ms, idle_s, freq, is_empty })))
    }

    fn other(&self, opcode: u8, unknown: &'static str, at: &'a [u8], rest: &'a [u8]) -> Parsed<'a, Item<'a>> {
        match opcode {
            opcode::SELECT_DB => number.map(Item::SelectDb).parse(rest),
            opcode::RESIZE_DB => {
                (number, number).map(|(keys, deadlines)| Item::ResizeDb { keys, deadlines }).parse(rest)
            }
            opcode::AUX => (string, string).map(|(key, value)| Item::Aux { key, value }).parse(rest),
            opcode::FUNCTION => string.map(Item::Function).parse(rest),
            opcode::MODULE_AUX => {
                module::auxiliary.map(|id| Item::ModuleAux { module: module::name(id) }).parse(rest)
            }
            opcode::SLOT_INFO => (number, number, number)
                .map(|(slot, keys, deadlines)| Item::SlotInfo { slot, keys, deadlines })
                .parse(rest),
            opcode::SLOT_IMPORT if self.version.product == Product::Valkey => slot_import(rest),
            opcode::END if self.version.number < CHECKSUM_SINCE => Ok((rest, Item::End { crc: None })),
            opcode::END => le_u64.map(|crc| Item::End { crc: Some(crc).filter(|crc| *crc != 0) }).parse(rest),
            opcode::FUNCTION_EARLY => Err(unsupported(at, "functions of a Redis 7.0 release candidate")),
            _ => Err(unsupported(at, unknown)),
        }
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Entry<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let entry = self.entry();
        self.done |= entry.is_err();
        Some(entry)
    }
}

/// What stands before the type of a value.
#[derive(Debug, Clone, Copy, Default)]
struct Attributes {
    is_any: bool,
    deadline_ms: Option<i64>,
    idle_s: Option<u64>,
    freq: Option<u8>,
}

impl Attributes {
    /// Reads on: of what comes twice, the later counts.
    #[inline]
    fn read(mut self, mut input: &[u8]) -> Parsed<'_, Attributes> {
        while let Some((opcode, rest)) = input.split_first() {
            input = match *opcode {
                opcode::EXPIRE_TIME_MS => {
                    let (rest, deadline) = le_i64(rest)?;
                    self.expire_at(deadline);
                    rest
                }
                opcode::EXPIRE_TIME => {
                    let (rest, seconds) = le_i32(rest)?;
                    self.expire_at(i64::from(seconds) * 1000);
                    rest
                }
                opcode::IDLE => {
                    let (rest, seconds) = number(rest)?;
                    // Servers count with a sign, and take what is below 0 for none.
                    self.idle_s = Some(seconds).filter(|seconds| i64::try_from(*seconds).is_ok());
                    rest
                }
                opcode::FREQ => {
                    let (rest, freq) = byte(rest)?;
                    self.freq = Some(freq);
                    rest
                }
                _ => break,
            };
            self.is_any = true;
        }
        Ok((input, self))
    }

    fn expire_at(&mut self, deadline_ms: i64) {
        // A server takes -1 for none.
        self.deadline_ms = Some(deadline_ms).filter(|deadline| *deadline != -1);
    }
}

/// A name, a count, and as many pairs of first and last slot.
fn slot_import(input: &[u8]) -> Parsed<'_, Item<'_>> {
    let (rest, job) = string(input)?;
    let (mut rest, ranges) = length(rest)?;
    for _ in 0..ranges {
        rest = length(length(rest)?.0)?.0;
    }
    Ok((rest, Item::SlotImport { job }))
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
