//! What a command is: its row in the table, its keys, and the few rewritings that a live server needs.

pub mod deadline;
pub mod fields;
pub mod keys;
pub mod names;
pub mod since;
pub mod table;
pub mod trim;

use table::TABLE;

/// One row of the command table.
#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    /// Upper-case name; a subcommand's row is `CONTAINER SUBCOMMAND`.
    pub name: &'static str,
    /// Number of arguments with the name: exactly this if positive, at least its negation otherwise.
    pub arity: i16,
    /// How it is carried to the shards.
    pub class: Class,
    /// Where its keys are.
    pub keys: Keys,
    /// What has to change before a live server does what a loading one does.
    pub rewrite: Rewrite,
    /// Whether it has one key, its first argument: what `class` and `keys` say, asked for every command of a source.
    pub names_first: bool,
}

/// How a command is carried to the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// One key: to that key's lane.
    Keyed,
    /// Each lane gets the part that names its keys: DEL, UNLINK, TOUCH, MSET.
    Splittable,
    /// Several keys, which must meet on one lane.
    Several,
    /// No key: to every lane, at its place in the order.
    Broadcast,
    /// Changes nothing: dropped and counted.
    Read,
    /// PFCOUNT, which writes its cached cardinality back when it names one key, and only reads otherwise.
    PfCount,
    /// Runs code whose keys and deadlines cannot be seen.
    Script,
    /// Changes the database of what follows.
    Select,
    /// Opens a transaction.
    Multi,
    /// Ends a transaction.
    Exec,
    /// Gives a transaction up; outside of one a server only logs it.
    Discard,
    /// The second argument names the row that counts.
    Container,
}

/// Where the keys of a command are among its arguments; the name is argument 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// It has none.
    None,
    /// `first`, `first + step`, … up to `last`; a negative `last` counts from the end, -1 being the last.
    Range {
        /// Index of the first key.
        first: u8,
        /// Index of the last key.
        last: i8,
        /// Distance from one key to the next.
        step: u8,
    },
    /// The argument at `count` says how many keys follow it, `step` arguments apart.
    Counted {
        /// Index of the number of keys.
        count: u8,
        /// Distance from one key to the next.
        step: u8,
    },
    /// A destination, a number of keys, the keys: ZUNIONSTORE and its kin.
    DestinationAndCounted,
    /// SORT: the key and that after the last STORE.
    Sort,
    /// GEORADIUS: the key and that after the last STORE or STOREDIST, looked for from `options` on.
    GeoRadius {
        /// Index of the first option.
        options: u8,
    },
    /// XREADGROUP: the first half of what follows STREAMS.
    Streams,
}

impl Keys {
    /// The first argument alone.
    pub const FIRST: Keys = Keys::Range { first: 1, last: 1, step: 1 };
    /// The second argument alone.
    pub const SECOND: Keys = Keys::Range { first: 2, last: 2, step: 1 };
}

/// What has to change in a command before a live server does with it what a loading server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    /// Nothing.
    None,
    /// SET: a deadline among the options.
    Set,
    /// SETEX and PSETEX: a relative deadline as the second argument.
    Setex {
        /// Seconds instead of milliseconds.
        seconds: bool,
    },
    /// GETEX: a deadline among the options.
    Getex,
    /// MSETEX: a deadline among the options behind the pairs.
    Msetex,
    /// EXPIRE and its kin: a deadline as the second argument.
    Expire {
        /// Seconds instead of milliseconds.
        seconds: bool,
        /// Counted from the moment the command runs.
        relative: bool,
    },
    /// RESTORE: a deadline as the second argument, relative unless ABSTTL is given.
    Restore,
    /// XADD and XTRIM: `LIMIT`, which a loading server does not heed.
    StreamTrim,
    /// HEXPIRE and its kin: a deadline of hash fields as the second argument.
    FieldExpire {
        /// Seconds instead of milliseconds.
        seconds: bool,
        /// Counted from the moment the command runs.
        relative: bool,
    },
    /// HSETEX and HGETEX: a deadline of hash fields among the options.
    FieldOption {
        /// Whether each field is followed by its value.
        pairs: bool,
    },
    /// Nothing, but some of its options are newer than some targets.
    Options,
}

/// Slots of the hash index: a power of two, several times the number of rows.
const SLOTS: usize = 2048;

/// For each slot the row number plus one, 0 if it is free. Made by the compiler.
static INDEX: [u16; SLOTS] = index();

/// For each row its name as a [`word`] if that is the whole name and made of letters, so that equal
/// words are equal names; else 0.
static WORDS: [u64; TABLE.len()] = words();

const fn index() -> [u16; SLOTS] {
    let mut slots = [0u16; SLOTS];
    let mut row = 0;
    while row < TABLE.len() {
        let name = TABLE[row].name.as_bytes();
        let mut slot = hash(word_of(name), name.len());
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = row as u16 + 1;
        row += 1;
    }
    slots
}

const fn words() -> [u64; TABLE.len()] {
    let mut words = [0; TABLE.len()];
    let mut row = 0;
    while row < TABLE.len() {
        let name = TABLE[row].name.as_bytes();
        let mut letters = name.len() <= 8;
        let mut at = 0;
        while at < name.len() {
            letters &= name[at].is_ascii_uppercase();
            at += 1;
        }
        if letters {
            words[row] = word_of(name);
        }
        row += 1;
    }
    words
}

/// The case bit of ASCII letters in each byte.
const CASE: u64 = 0x2020_2020_2020_2020;

/// The first eight bytes of a name, case folded, as a little-endian number; the compiler's version.
const fn word_of(name: &[u8]) -> u64 {
    let mut word = 0;
    let mut at = 0;
    while at < name.len() && at < 8 {
        word |= (name[at] as u64) << (8 * at);
        at += 1;
    }
    word & !CASE
}

/// The same as [`word_of`], by loads that may overlap.
#[inline]
fn word(name: &[u8]) -> u64 {
    let raw = if let Some(eight) = name.first_chunk::<8>() {
        u64::from_le_bytes(*eight)
    } else if let (Some(head), Some(tail)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*tail)) << (8 * (name.len() - 4))
    } else if let (Some(head), Some(tail)) = (name.first_chunk::<2>(), name.last_chunk::<2>()) {
        u64::from(u16::from_le_bytes(*head)) | u64::from(u16::from_le_bytes(*tail)) << (8 * (name.len() - 2))
    } else {
        name.first().map_or(0, |byte| u64::from(*byte))
    };
    raw & !CASE
}

const fn hash(word: u64, len: usize) -> usize {
    ((word ^ (len as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53) as usize
}

/// The row of a name, in any case; subcommands are found by [`lookup_sub`].
#[inline]
pub fn lookup(name: &[u8]) -> Option<&'static Spec> {
    let word = word(name);
    let mut slot = hash(word, name.len());
    loop {
        let row = usize::from(INDEX[slot].checked_sub(1)?);
        let spec = &TABLE[row];
        let is_it = match WORDS[row] {
            0 => spec.name.as_bytes().eq_ignore_ascii_case(name),
            letters => letters == word && spec.name.len() == name.len(),
        };
        if is_it {
            return Some(spec);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// Looks up names of which many are that of the command before.
#[derive(Debug, Default)]
pub struct Lookup {
    /// The last name as a [`word`], its length, and its row; only of names that are equal where their words are.
    last: Option<(u64, usize, &'static Spec)>,
}

impl Lookup {
    /// What [`lookup`] finds.
    #[inline(always)]
    pub fn row(&mut self, name: &[u8]) -> Option<&'static Spec> {
        let word = word(name);
        match self.last {
            Some((last, len, spec)) if last == word && len == name.len() => Some(spec),
            _ => {
                let spec = lookup(name);
                self.last = spec.filter(|spec| WORDS[spec.row()] != 0).map(|spec| (word, name.len(), spec));
                spec
            }
        }
    }
}

/// The row of a subcommand of a [`Class::Container`] row.
pub fn lookup_sub(container: &Spec, sub: &[u8]) -> Option<&'static Spec> {
    let mut name = Vec::with_capacity(container.name.len() + 1 + sub.len());
    name.extend_from_slice(container.name.as_bytes());
    name.push(b' ');
    name.extend_from_slice(sub);
    lookup(&name)
}

impl Spec {
    /// Its number in [`TABLE`].
    #[inline]
    pub fn row(&'static self) -> usize {
        (std::ptr::from_ref(self) as usize - TABLE.as_ptr() as usize) / size_of::<Spec>()
    }

    /// Whether a server accepts `argc` arguments, the name included.
    #[inline]
    pub fn takes(&self, argc: u32) -> bool {
        let argc = i64::from(argc);
        if self.arity >= 0 { argc == i64::from(self.arity) } else { argc >= -i64::from(self.arity) }
    }
}

/// A number as `string2ll` in Redis's util.c reads it: no sign but `-`, no leading zero, no space.
pub fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_in_any_case() {
        for spec in TABLE {
            assert_eq!(lookup(spec.name.to_lowercase().as_bytes()), Some(spec), "{}", spec.name);
            assert_eq!(TABLE.get(spec.row()), Some(spec));
        }
        assert_eq!(lookup(b"NOSUCHCOMMAND"), None);
        assert_eq!(lookup(b"SORT\x7fRO"), None);
        assert_eq!(lookup(b"SE"), None);
        assert_eq!(lookup(b"SETT"), None);
        assert_eq!(lookup(b""), None);
    }

    #[test]
    fn names_are_found_after_any_other() {
        let mut names: Vec<&[u8]> = TABLE.iter().map(|spec| spec.name.as_bytes()).collect();
        // The last ones have the words of rows, but are not their names.
        names.extend([&b"set"[..], b"SETT", b"NOSUCHCOMMAND", b"", b"SORT\x7fRO", b"SORT_RO2", b"S\x05T"]);
        let mut rows = Lookup::default();
        for before in &names {
            for name in &names {
                rows.row(before);
                assert_eq!(rows.row(name), lookup(name), "{before:?}, {name:?}");
                assert_eq!(rows.row(name), lookup(name), "{name:?} twice");
            }
        }
    }

    #[test]
    fn rows_are_sorted_and_unique() {
        assert!(TABLE.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn integers_are_those_of_string2ll() {
        let cases: [(&[u8], Option<i64>); 9] = [
            (b"0", Some(0)),
            (b"-1", Some(-1)),
            (b"9223372036854775807", Some(i64::MAX)),
            (b"-9223372036854775808", Some(i64::MIN)),
            (b"9223372036854775808", None),
            (b"01", None),
            (b"-0", None),
            (b"+1", None),
            (b" 1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(integer(text), expected, "{}", String::from_utf8_lossy(text));
        }
    }
}
