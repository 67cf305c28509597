//! Writes the values of an RDB part as commands for a live server.
//!
//! Short strings become SET. Everything else goes as it stands in the map, as the payload of RESTORE; only what
//! the target does not know in this form, or does not take in one argument, is taken apart.

use std::borrow::Cow;
use std::io::{self, Write};

use super::write_arguments;
use crate::command::fields::while_loading;
use crate::rdb::elements::{self, Element};
use crate::rdb::{Fault, Kind, Object, Value, fields, payload};
use crate::resp::encode;
use crate::route::Takes;

/// A string that is this long or longer once it is decoded goes as it stands.
const SET_BYTES_MAX: usize = 64 << 10;
/// Arguments that one command of a value that is taken apart has at most, and their bytes.
const ARGUMENTS_MAX: usize = 1000;
/// See [`ARGUMENTS_MAX`]; a longer argument stands alone.
const ARGUMENT_BYTES_MAX: usize = 1 << 20;

/// Writes the commands that set a key; how many there are. `offset_ms` is added to its deadline, and that of the hash
/// fields, if deadlines are shifted.
pub(super) fn write<W: Write>(
    out: &mut W,
    value: &Value<'_>,
    takes: Takes,
    offset_ms: Option<i64>,
) -> io::Result<usize> {
    // 0 stands for no deadline; a deadline of 1 ms has passed just as well as one before 1970.
    let deadline_ms =
        value.deadline_ms.map(|deadline| deadline.max(1).saturating_add(offset_ms.unwrap_or(0)));
    let object = &value.object;
    let has_attributes = value.idle_s.is_some() || value.freq.is_some();
    if object.is_string_below(SET_BYTES_MAX) && !has_attributes {
        let string = string(object)?;
        // One that was compressed may be too long where its payload is not.
        if string.len() as u64 <= takes.argument_bytes_max {
            return set(out, &value.key, string, deadline_ms);
        }
    }
    let shifted = match offset_ms.map(|_| fields::shift(object, &while_loading)).transpose() {
        Ok(Some(fields::Shifted::Changed(body))) => Some(body),
        Ok(_) => None,
        Err(fault) => return Err(unsound(fault)),
    };
    let body = shifted.as_deref().unwrap_or(object.body);
    if takes.kind(object.kind) && payload::length(body) <= takes.argument_bytes_max {
        return restore(out, value, body, deadline_ms).map(|()| 1);
    }
    Pieces::write(out, &value.key, &Object { body, ..*object }, takes, deadline_ms)
}

/// The bytes of a string.
pub(super) fn string<'a>(object: &Object<'a>) -> io::Result<Cow<'a, [u8]>> {
    object.string().map_err(unsound).map(Option::unwrap_or_default)
}

fn unsound(fault: Fault) -> io::Error {
    // The survey has seen the value, so the source was changed since.
    io::Error::other(fault)
}

fn set<W: Write>(
    out: &mut W,
    key: &[u8],
    string: Cow<'_, [u8]>,
    deadline_ms: Option<i64>,
) -> io::Result<usize> {
    let deadline = deadline_ms.map(|deadline| deadline.to_string());
    let mut arguments: Vec<Cow<'_, [u8]>> = vec![b"SET".into(), key.into(), string];
    if let Some(deadline) = &deadline {
        arguments.extend([Cow::from(b"PXAT".as_slice()), deadline.as_bytes().into()]);
    }
    write_arguments(out, &arguments).map(|()| 1)
}

fn restore<W: Write>(
    out: &mut W,
    value: &Value<'_>,
    body: &[u8],
    deadline_ms: Option<i64>,
) -> io::Result<()> {
    let kind = value.object.kind;
    let idle = value.idle_s.map(|seconds| ("IDLETIME", seconds.to_string()));
    let freq = value.freq.map(|freq| ("FREQ", freq.to_string()));
    // A server keeps one of the two, by its policy, and takes one only.
    let attribute = idle.or(freq);
    let mut head = Vec::with_capacity(64 + value.key.len());
    encode::array(&mut head, 6 + if attribute.is_some() { 2 } else { 0 });
    encode::bulk(&mut head, b"RESTORE");
    encode::bulk(&mut head, &value.key);
    encode::bulk(&mut head, deadline_ms.unwrap_or(0).to_string().as_bytes());
    encode::bulk_header(&mut head, payload::length(body) as usize);
    head.push(kind.type_byte());
    out.write_all(&head)?;
    out.write_all(body)?;
    let mut tail = payload::footer(kind, body).to_vec();
    tail.extend_from_slice(b"\r\n");
    encode::bulk(&mut tail, b"REPLACE");
    encode::bulk(&mut tail, b"ABSTTL");
    if let Some((name, number)) = attribute {
        encode::bulk(&mut tail, name.as_bytes());
        encode::bulk(&mut tail, number.as_bytes());
    }
    out.write_all(&tail)
}

/// A value that is taken apart, command by command.
struct Pieces<'p, W> {
    out: &'p mut W,
    key: &'p [u8],
    kind: Kind,
    takes: Takes,
    /// The command under construction: its name, its encoded arguments, and how many they are.
    name: &'static [u8],
    arguments: Vec<u8>,
    count: usize,
    /// Commands written.
    commands: usize,
}

impl<'p, W: Write> Pieces<'p, W> {
    fn write(
        out: &'p mut W,
        key: &'p [u8],
        object: &Object<'_>,
        takes: Takes,
        deadline_ms: Option<i64>,
    ) -> io::Result<usize> {
        let mut pieces = Pieces {
            out,
            key,
            kind: object.kind,
            takes,
            name: b"DEL",
            arguments: Vec::new(),
            count: 0,
            commands: 0,
        };
        // RESTORE would replace, too.
        pieces.flush()?;
        elements::visit(object, |element| pieces.element(element).map_err(Failed::Write)).map_err(
            |failed| match failed {
                Failed::Write(error) => error,
                Failed::Read(fault) => unsound(fault),
            },
        )?;
        if pieces.count > 0 {
            pieces.flush()?;
        }
        if let Some(deadline) = deadline_ms {
            pieces.add(b"PEXPIREAT", &[deadline.to_string().as_bytes()])?;
            pieces.flush()?;
        }
        Ok(pieces.commands)
    }

    fn element(&mut self, element: Element<'_>) -> io::Result<()> {
        match element {
            Element::Piece { bytes, is_first: true } => self.alone(b"SET", &[bytes]),
            Element::Piece { bytes, .. } => self.alone(b"APPEND", &[bytes]),
            Element::Item(item) => self.add(b"RPUSH", &[item]),
            Element::Member(member) => self.add(b"SADD", &[member]),
            Element::Scored { member, score } => self.add(b"ZADD", &[score.as_bytes(), member]),
            Element::Field { field, value, deadline_ms } => {
                self.add(b"HSET", &[field, value])?;
                match deadline_ms {
                    Some(deadline) => {
                        self.alone(b"HPEXPIREAT", &[deadline.to_string().as_bytes(), b"FIELDS", b"1", field])
                    }
                    None => Ok(()),
                }
            }
            Element::Bare { body, counted } => {
                let counted = counted.filter(|_| self.takes.kind(Kind::Stream2));
                let (kind, body) = counted.map_or((self.kind, body), |counted| (Kind::Stream2, counted));
                self.alone(b"RESTORE", &[b"0", &payload::payload(kind, body), b"REPLACE"])
            }
            Element::Entry { id, parts } => {
                let id = id.to_string();
                let parts = parts.iter().map(|part| &**part);
                self.alone(b"XADD", &std::iter::once(id.as_bytes()).chain(parts).collect::<Vec<_>>())
            }
            Element::Ids { last, added } => {
                let (last, added) = (last.to_string(), added.map(|added| added.to_string()));
                match &added {
                    None => self.alone(b"XSETID", &[last.as_bytes()]),
                    Some(added) => {
                        self.alone(b"XSETID", &[last.as_bytes(), b"ENTRIESADDED", added.as_bytes()])
                    }
                }
            }
        }
    }

    /// A command of its own.
    fn alone(&mut self, name: &'static [u8], arguments: &[&[u8]]) -> io::Result<()> {
        if self.count > 0 {
            self.flush()?;
        }
        self.add(name, arguments)?;
        self.flush()
    }

    fn add(&mut self, name: &'static [u8], arguments: &[&[u8]]) -> io::Result<()> {
        let is_full = self.count >= ARGUMENTS_MAX || self.arguments.len() >= ARGUMENT_BYTES_MAX;
        if self.count > 0 && (self.name != name || is_full) {
            self.flush()?;
        }
        self.name = name;
        self.count += arguments.len();
        arguments.iter().for_each(|argument| encode::bulk(&mut self.arguments, argument));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut head = Vec::with_capacity(64 + self.key.len());
        encode::array(&mut head, 2 + self.count);
        encode::bulk(&mut head, self.name);
        encode::bulk(&mut head, self.key);
        self.out.write_all(&head)?;
        self.out.write_all(&self.arguments)?;
        self.arguments.clear();
        self.count = 0;
        self.commands += 1;
        Ok(())
    }
}

/// Why taking a value apart ended early.
enum Failed {
    Write(io::Error),
    Read(Fault),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Failed::Read(fault)
    }
}
