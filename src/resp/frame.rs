//! Frames the records of an append-only file: `*<argc>` and `argc` times `$<len>`, bytes, two more bytes.
//!
//! The rules are those of `loadSingleAppendOnlyFile` in Redis's aof.c, lenient where it is: numbers
//! are read as `atoi` and `strtol` read them, a line may end in LF alone, the two bytes after an
//! argument are skipped unseen. Servers write one canonical form, which has a path of its own here.

use nom::bytes::complete::{tag, take};
use nom::character::complete::{digit0, one_of};
use nom::combinator::{map, opt};
use nom::multi::many0_count;
use nom::{IResult, Parser};

/// The line buffer of the server's loader is 1,024 bytes with its NUL: a longer line is read in
/// pieces, each taken for a line of its own (`AOF_ANNOTATION_LINE_MAX_LEN`, aof.h).
const LINE_BYTES_MAX: usize = 1023;

/// A server makes room for an argument before it reads it, and ends if it gets none: from here on no process can have as
/// much (47 bits of addresses).
const ARGUMENT_BYTES_END: usize = 1 << 47;

/// Why there is no whole record at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The input ends inside the record: a server takes it for a short read.
    Cut,
    /// The bytes are not a record; `left` bytes of the input remained where that was seen.
    Malformed {
        /// Bytes between the fault and the end of the input.
        left: usize,
        /// What the server expects there.
        expected: &'static str,
    },
}

impl nom::error::ParseError<&[u8]> for Fault {
    fn from_error_kind(input: &[u8], _: nom::error::ErrorKind) -> Self {
        Fault::Malformed { left: input.len(), expected: "an append-only file record" }
    }
    fn append(_: &[u8], _: nom::error::ErrorKind, other: Self) -> Self {
        other
    }
}

type Parsed<'a, T> = IResult<&'a [u8], T, Fault>;

/// What stands at the start of some input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// A command.
    Command(Head),
    /// A `#` line, such as `#TS:<seconds>`, which a server skips.
    Annotation,
}

/// The outline of a command: where its name and first argument are, relative to its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Number of arguments, the name included; at least 1.
    pub argc: u32,
    /// Offset of the name.
    pub name_start: u32,
    /// Length of the name in bytes.
    pub name_len: usize,
    /// Offset of the argument after the name; 0 if there is none.
    pub key_start: usize,
    /// Length of that argument in bytes.
    pub key_len: usize,
    /// True if every byte is as a server writes it, so that the record may be sent on as it stands.
    pub canonical: bool,
}

/// A record's place is only known once the one before it is read, so the processor cannot read ahead by itself. It is
/// made to, by looking at a byte that comes so much later: three times as fast as without.
pub const AHEAD_BYTES: usize = 1024;

/// Reads one record; the rest of the input is what follows it.
pub fn record(input: &[u8]) -> Parsed<'_, Record> {
    Framer::default().record(input)
}

/// Reads records one after the other.
///
/// Where a header stands is known only once the one before it is read and its number computed. Most numbers are those
/// of the record before, though: where a header has the same bytes as there, its number is taken from there, and the
/// processor goes on before it has compared them. 1.5 times as fast where all records have the same lengths.
#[derive(Debug, Clone, Default)]
pub struct Framer {
    start: Start,
    /// The headers after the name's; the last one stands for all that follow.
    next: [Next; 3],
}

/// The last start of a record. (The first one is compared with zeros, which then count for no arguments, which is
/// no record.)
#[derive(Debug, Clone, Copy, Default)]
struct Start {
    word: u64,
    argc: usize,
    name_len: usize,
}

/// The last header in one place of a record, with the end of the argument before it.
#[derive(Debug, Clone, Copy, Default)]
struct Next {
    /// Its bytes as far as `mask` goes. (All masks but the first one, of zeros, find CR LF there.)
    word: u64,
    mask: u64,
    /// The length it gives.
    len: usize,
    /// Its own length.
    bytes: usize,
}

impl Framer {
    /// Reads one record; the rest of the input is what follows it.
    #[inline(always)]
    pub fn record<'a>(&mut self, input: &'a [u8]) -> Parsed<'a, Record> {
        std::hint::black_box(input.get(AHEAD_BYTES).copied());
        match self.canonical(input) {
            Some((head, end)) => Ok((&input[end..], Record::Command(head))),
            // Taken apart and put together again, so that the other way's result need not go through memory.
            None => match lenient_record(input)? {
                (rest, Record::Command(head)) => {
                    let Head { argc, name_start, name_len, key_start, key_len, canonical } = head;
                    Ok((
                        rest,
                        Record::Command(Head { argc, name_start, name_len, key_start, key_len, canonical }),
                    ))
                }
                (rest, Record::Annotation) => Ok((rest, Record::Annotation)),
            },
        }
    }

    /// A record as a server writes it, with its length; `None` sends the input the general way.
    #[inline(always)]
    fn canonical(&mut self, input: &[u8]) -> Option<(Head, usize)> {
        let (argc, name_len, name_start) = match self.start(input) {
            Some((argc, name_len)) => (argc, name_len, START_BYTES),
            None => {
                let (argc, name_header) = canonical_number(input, 0, b'*')?;
                let (name_len, name_start) = canonical_number(input, name_header, b'$')?;
                (argc, name_len, name_start)
            }
        };
        let mut at = name_start + name_len;
        let mut head = Head {
            argc: argc as u32,
            name_start: name_start as u32,
            name_len,
            canonical: true,
            ..Head::default()
        };
        if argc > 1 {
            let (key_len, key_start) = self.next(0, input, at)?;
            (head.key_start, head.key_len) = (key_start, key_len);
            at = key_start + key_len;
            if argc > 2 {
                let (len, start) = self.next(1, input, at)?;
                at = start + len;
                for _ in 3..argc {
                    let (len, start) = self.next(2, input, at)?;
                    at = start + len;
                }
            }
        }
        (argc > 0).then_some((head, terminated(input, at)?))
    }

    /// See [`canonical_start`].
    #[inline(always)]
    fn start(&mut self, input: &[u8]) -> Option<(usize, usize)> {
        let word = u64::from_le_bytes(*input.first_chunk::<START_BYTES>()?);
        if word != self.start.word {
            let (argc, name_len) = canonical_start(word)?;
            self.start = Start { word, argc, name_len };
        }
        Some((self.start.argc, self.start.name_len))
    }

    /// See [`canonical_next`].
    #[inline(always)]
    fn next(&mut self, place: usize, input: &[u8], at: usize) -> Option<(usize, usize)> {
        let word = u64::from_le_bytes(*input.get(at..)?.first_chunk::<8>()?);
        let last = &mut self.next[place];
        if word & last.mask == last.word && last.mask != 0 {
            return Some((last.len, at + last.bytes));
        }
        let (len, start) = canonical_next(word, input, at)?;
        let bytes = start - at;
        if bytes < size_of::<u64>() {
            let mask = (1 << (8 * bytes)) - 1;
            *last = Next { word: word & mask, mask, len, bytes };
        }
        Some((len, start))
    }
}

/// Length of what [`canonical_start`] reads.
const START_BYTES: usize = 8;

/// `*<digit>` CR LF `$<digit>` CR LF, with which nearly every record starts, as a word: both numbers.
#[inline(always)]
fn canonical_start(word: u64) -> Option<(usize, usize)> {
    const DIGITS: u64 = 0xff << 8 | 0xff << 40;
    const REST: u64 = u64::from_le_bytes(*b"*\0\r\n$\0\r\n");
    let digit = |place: u32| ((word >> (8 * place)) & 0xff).wrapping_sub(u64::from(b'0'));
    let (argc, name_len) = (digit(1), digit(5));
    (word & !DIGITS == REST && argc <= 9 && name_len <= 9).then_some((argc as usize, name_len as usize))
}

/// The end of an argument at `at`, where `word` stands, and the header of the next one, in one look if that has up to
/// two digits. Gives the length, and where the argument starts.
#[inline(always)]
fn canonical_next(word: u64, input: &[u8], at: usize) -> Option<(usize, usize)> {
    const CR_LF: u64 = 0x0a0d;
    const START: u64 = CR_LF | (b'$' as u64) << 16;
    let digit = |place: u32| ((word >> (8 * place)) & 0xff).wrapping_sub(u64::from(b'0'));
    let ends = |place: u32| (word >> (8 * place)) & 0xffff == CR_LF;
    let (first, second) = (digit(3), digit(4));
    if word & 0xff_ffff != START || first > 9 {
        return None;
    }
    if ends(4) {
        return Some((first as usize, at + 6));
    }
    if first == 0 || second > 9 {
        return None;
    }
    if ends(5) {
        return Some((first as usize * 10 + second as usize, at + 7));
    }
    canonical_number(input, at + 2, b'$')
}

/// A sigil, one to five digits without a leading zero, CR LF at `at`: nearly every header of every
/// file. Gives the number and where it ends. Branches beat arithmetic here because lengths repeat and
/// the predictor learns them.
#[inline(always)]
fn canonical_number(input: &[u8], at: usize, sigil: u8) -> Option<(usize, usize)> {
    const CR_LF: u64 = 0x0a0d;
    let word = u64::from_le_bytes(*input.get(at..)?.first_chunk::<8>()?);
    let digit = |place: u32| ((word >> (8 * place)) & 0xff).wrapping_sub(u64::from(b'0'));
    let ends = |place: u32| (word >> (8 * place)) & 0xffff == CR_LF;
    let mut value = digit(1);
    if word & 0xff != u64::from(sigil) || value > 9 {
        return None;
    }
    if ends(2) {
        return Some((value as usize, at + 4));
    }
    if value == 0 {
        return None;
    }
    for place in 2..6 {
        if digit(place) > 9 {
            return None;
        }
        value = value * 10 + digit(place);
        if ends(place + 1) {
            return Some((value as usize, at + place as usize + 3));
        }
    }
    None
}

/// The place behind the CR LF at `at`.
#[inline(always)]
fn terminated(input: &[u8], at: usize) -> Option<usize> {
    (input.get(at..at.checked_add(2)?)? == b"\r\n").then_some(at + 2)
}

/// A record as the server's loader reads it.
#[inline(never)]
fn lenient_record(input: &[u8]) -> Parsed<'_, Record> {
    if input.first() == Some(&b'#') {
        return line(input).map(|(rest, _)| (rest, Record::Annotation));
    }
    let (mut rest, argc) = header(input, b'*')?;
    if argc.value < 1 {
        return Err(malformed(input, "an argument count of at least 1"));
    }
    let mut head = Head { argc: argc.value as u32, canonical: argc.canonical, ..Head::default() };
    for index in 0..head.argc {
        let (data, len) = header(rest, b'$')?;
        let len = argument_len(rest, len, &mut head)?;
        if index < 2 {
            let start = input.len() - data.len();
            if index == 0 {
                (head.name_start, head.name_len) = (start as u32, len);
            } else {
                (head.key_start, head.key_len) = (start, len);
            }
        }
        // Two bytes follow every argument, whatever they are.
        match data.get(len..).and_then(|tail| tail.split_at_checked(2)) {
            Some((end, next)) => {
                head.canonical &= end == b"\r\n";
                rest = next;
            }
            None => return Err(nom::Err::Error(Fault::Cut)),
        }
    }
    Ok((rest, Record::Command(head)))
}

/// Looks at a record that [`record`] has accepted: its arguments, the name first.
#[derive(Debug, Clone)]
pub struct Arguments<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Arguments<'a> {
    /// The arguments of the record at the start of `input`.
    pub fn of(input: &'a [u8]) -> Self {
        match header(input, b'*') {
            Ok((rest, argc)) => Arguments { rest, left: argc.value.max(0) as u32 },
            Err(_) => Arguments { rest: &[], left: 0 },
        }
    }
}

impl<'a> Iterator for Arguments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (data, len) = header(self.rest, b'$').ok()?;
        let (argument, tail) = data.split_at_checked(usize::try_from(len.value).ok()?)?;
        self.rest = tail.get(2..)?;
        Some(argument)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}

/// The argument at the start of `input`, of a record that [`record`] has accepted.
#[inline]
pub fn argument(input: &[u8]) -> Option<&[u8]> {
    let (data, len) = header(input, b'$').ok()?;
    data.get(..usize::try_from(len.value).ok()?)
}

/// The argument after the name of a record that [`record`] has found canonical, with its header and its end.
#[inline]
pub fn framed_first(input: &[u8]) -> Option<&[u8]> {
    let short = || {
        let (argc, name_len) = canonical_start(u64::from_le_bytes(*input.first_chunk()?))?;
        let at = START_BYTES + name_len;
        let word = u64::from_le_bytes(*input.get(at..)?.first_chunk()?);
        let (len, start) = canonical_next(word, input, at).filter(|_| argc > 1)?;
        Some((at + 2, start + len + 2))
    };
    let (start, end) = short().or_else(|| match record(input) {
        Ok((_, Record::Command(head))) if head.argc > 1 => {
            let start = head.name_start as usize + head.name_len + 2;
            Some((start, head.key_start + head.key_len + 2))
        }
        _ => None,
    })?;
    input.get(start..end)
}

#[derive(Clone, Copy)]
struct Header {
    value: i64,
    canonical: bool,
}

#[inline(always)]
fn header(input: &[u8], sigil: u8) -> Parsed<'_, Header> {
    match canonical_number(input, 0, sigil) {
        Some((value, end)) => Ok((&input[end..], Header { value: value as i64, canonical: true })),
        None => lenient_header(input, sigil),
    }
}

/// A header as the server's loader reads it: a line, the sigil, and what `strtol` makes of the rest.
#[cold]
#[inline(never)]
fn lenient_header(input: &[u8], sigil: u8) -> Parsed<'_, Header> {
    let expected = if sigil == b'*' { "'*' and an argument count" } else { "'$' and a length" };
    let (rest, line) = line(input)?;
    let (number, _) = tag::<_, _, Fault>([sigil].as_slice())
        .parse_complete(line)
        .map_err(|_: nom::Err<Fault>| malformed(input, expected))?;
    // `*` and nothing else at the end of the file is a short read to the server, not damage.
    if sigil == b'*' && number.is_empty() && rest.is_empty() {
        return Err(nom::Err::Error(Fault::Cut));
    }
    let value = strtol(number);
    // An argument count goes through atoi, which keeps the low 32 bits.
    let value = if sigil == b'*' { i64::from(value as i32) } else { value };
    let canonical = number == format!("{value}\r\n").as_bytes();
    Ok((rest, Header { value, canonical }))
}

/// What `fgets` gives: up to and with LF, at most [`LINE_BYTES_MAX`] bytes, less at the input's end.
fn line(input: &[u8]) -> Parsed<'_, &[u8]> {
    if input.is_empty() {
        return Err(nom::Err::Error(Fault::Cut));
    }
    let window = &input[..input.len().min(LINE_BYTES_MAX)];
    let len = memchr::memchr(b'\n', window).map_or(window.len(), |at| at + 1);
    take(len).parse_complete(input)
}

/// C's `strtol(…, 10)`: leading white space, a sign, digits; saturating; anything may follow. 0 without any digits.
pub fn strtol(input: &[u8]) -> i64 {
    let number: Parsed<'_, i64> = map(
        (many0_count(one_of(" \t\n\x0b\x0c\r")), opt(one_of("+-")), digit0),
        |(_, sign, digits): (usize, Option<char>, &[u8])| {
            let magnitude = digits
                .iter()
                .fold(0i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
            if sign == Some('-') { -magnitude } else { magnitude }
        },
    )
    .parse_complete(input);
    number.map_or(0, |(_, value)| value)
}

#[inline(always)]
fn argument_len(at: &[u8], len: Header, head: &mut Head) -> Result<usize, nom::Err<Fault>> {
    head.canonical &= len.canonical;
    match usize::try_from(len.value) {
        Ok(len) if len < ARGUMENT_BYTES_END => Ok(len),
        Ok(_) => Err(malformed(at, "an argument that fits into memory")),
        Err(_) => Err(malformed(at, "a length of 0 or more")),
    }
}

#[cold]
fn malformed(at: &[u8], expected: &'static str) -> nom::Err<Fault> {
    nom::Err::Error(Fault::Malformed { left: at.len(), expected })
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
