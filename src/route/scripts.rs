//! The bodies of the scripts that EVALSHA names: a pure function of the source.
//!
//! A target's script cache survives neither its restart nor a failover, and only one lane gets an EVAL. So EVALSHA is
//! sent as EVAL with the body that a server would have at that place of the source: the one that SCRIPT LOAD or EVAL
//! brought since the last SCRIPT FLUSH.

use std::collections::HashMap;
use std::ops::Range;

use crate::command::integer;
use crate::source::Position;

/// The digest that names a script.
type Digest = [u8; 20];
/// Its length as EVALSHA writes it.
const HEX_BYTES: usize = 40;

/// Most scripts that are remembered, each time they are brought behind a SCRIPT FLUSH: about 100 bytes each.
pub const SCRIPTS_MAX: usize = 1_000_000;

/// What a command does to a server's script cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A body comes in.
    Brings {
        /// Its digest.
        digest: Digest,
        /// Where the command begins.
        at: Position,
        /// Where the body stands in the command's segment.
        body: Range<u64>,
    },
    /// All go.
    Flush {
        /// Where the command begins.
        at: Position,
    },
}

/// Which body each digest names, from where on.
#[derive(Debug, Default)]
pub struct Scripts {
    /// In the order of the source.
    bodies: HashMap<Digest, Vec<(Position, Range<u64>)>>,
    flushes: Vec<Position>,
    count: usize,
}

impl Scripts {
    /// Takes in what comes next in the source; whether there was room.
    pub fn add(&mut self, change: Change) -> bool {
        match change {
            Change::Brings { digest, at, body } => {
                let flushed = self.flushes.last().copied();
                let all = self.bodies.entry(digest).or_default();
                if all.last().is_some_and(|(since, _)| Some(*since) > flushed) {
                    return true;
                }
                all.push((at, body));
                self.count += 1;
            }
            Change::Flush { at } => {
                self.flushes.push(at);
                self.count += 1;
            }
        }
        self.count <= SCRIPTS_MAX
    }

    /// Where the body stands that `sha`, as EVALSHA gives it, names at `at`: a segment, and the bytes in it.
    pub fn body(&self, sha: &[u8], at: Position) -> Option<(u32, Range<u64>)> {
        let all = self.bodies.get(&digest_of_hex(sha)?)?;
        let flushed = self.flushes[..self.flushes.partition_point(|flush| *flush < at)].last();
        let (since, body) = all[..all.partition_point(|(since, _)| *since < at)].last()?;
        (Some(since) > flushed).then(|| (since.segment, body.clone()))
    }
}

/// What the arguments of a command do to the script cache: the index of the body that they bring, or a flush.
pub fn change(arguments: &[&[u8]]) -> Option<Option<usize>> {
    let is = |at: usize, word: &str| {
        arguments.get(at).is_some_and(|argument| argument.eq_ignore_ascii_case(word.as_bytes()))
    };
    if is(0, "EVAL") || is(0, "EVAL_RO") {
        // A server looks at the number of keys first.
        let keys = integer(arguments.get(2)?)?;
        let room = i64::try_from(arguments.len()).ok()?.checked_sub(3)?;
        return (0..=room).contains(&keys).then_some(Some(1));
    }
    if !is(0, "SCRIPT") {
        return None;
    }
    match arguments.len() {
        3 if is(1, "LOAD") => Some(Some(2)),
        2 if is(1, "FLUSH") => Some(None),
        3 if is(1, "FLUSH") && (is(2, "ASYNC") || is(2, "SYNC")) => Some(None),
        _ => None,
    }
}

/// The digest of a body.
pub fn digest(body: &[u8]) -> Digest {
    sha1_smol::Sha1::from(body).digest().bytes()
}

/// Whether `sha`, as EVALSHA gives it, names this body.
pub fn is_named(sha: &[u8], body: &[u8]) -> bool {
    digest_of_hex(sha) == Some(digest(body))
}

fn digest_of_hex(text: &[u8]) -> Option<Digest> {
    let text = (text.len() == HEX_BYTES).then_some(text)?;
    let mut digest = Digest::default();
    for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
        *byte = u8::try_from(16 * hex(pair[0])? + hex(pair[1])?).ok()?;
    }
    Some(digest)
}

fn hex(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &[u8] = b"A9993e364706816aba3e25717850c26c9cd0d89d";

    fn at(offset: u64) -> Position {
        Position { segment: 0, offset }
    }

    fn brings(offset: u64) -> Change {
        Change::Brings { digest: digest(b"abc"), at: at(offset), body: offset + 1..offset + 4 }
    }

    #[test]
    fn the_body_since_the_last_flush_counts() {
        let mut scripts = Scripts::default();
        let all =
            [brings(10), brings(20), Change::Flush { at: at(30) }, brings(40), Change::Flush { at: at(50) }];
        assert!(all.into_iter().all(|change| scripts.add(change)));
        let found = |offset| scripts.body(SHA, at(offset)).map(|(_, body)| body.start);
        let expected =
            [(5, None), (10, None), (11, Some(11)), (25, Some(11)), (31, None), (41, Some(41)), (51, None)];
        for (offset, body) in expected {
            assert_eq!(found(offset), body, "{offset}");
        }
        assert_eq!(scripts.body(b"a9993e364706816aba3e25717850c26c9cd0d89e", at(11)), None);
        assert_eq!(scripts.body(b"a9993e364706816aba3e25717850c26c9cd0d89", at(11)), None);
        assert_eq!(scripts.body(b"g9993e364706816aba3e25717850c26c9cd0d89d", at(11)), None);
    }

    #[test]
    fn later_segments_come_later() {
        let mut scripts = Scripts::default();
        assert!(scripts.add(brings(1000)));
        assert_eq!(scripts.body(SHA, Position { segment: 1, offset: 0 }), Some((0, 1001..1004)));
    }

    #[test]
    fn what_servers_reject_changes_nothing() {
        let cases = [
            ("EVAL body 0", Some(Some(1))),
            ("eval body 1 k", Some(Some(1))),
            ("EVAL body 2 k", None),
            ("EVAL body -1 k", None),
            ("EVAL body x k", None),
            ("EVALSHA body 0", None),
            ("script load body", Some(Some(2))),
            ("SCRIPT FLUSH", Some(None)),
            ("SCRIPT FLUSH sync", Some(None)),
            ("SCRIPT FLUSH x", None),
            ("SCRIPT EXISTS x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(change(&text.split(' ').map(str::as_bytes).collect::<Vec<_>>()), expected, "{text}");
        }
    }
}
