//! Commands that fail on every server, whatever it holds: told by their arguments, where the error alone might as well
//! say that the target is smaller or older than the server that wrote the source.

use crate::command::integer;
use crate::rdb::payload;

/// Whether no server carries the command out.
pub(super) fn fails_everywhere(arguments: &[&[u8]]) -> bool {
    let Some(name) = arguments.first() else { return false };
    let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
    let at = |index: usize| arguments.get(index).copied();
    if is("SETBIT") {
        return at(2).is_some_and(is_below_zero);
    }
    if is("BITFIELD") {
        return bit_offsets(arguments).any(is_below_zero);
    }
    if is("MOVE") {
        return at(2).is_some_and(is_below_zero);
    }
    if is("COPY") {
        let options = arguments.get(3..).unwrap_or_default();
        return options.windows(2).any(|pair| pair[0].eq_ignore_ascii_case(b"DB") && is_below_zero(pair[1]));
    }
    if is("RESTORE") {
        return at(3).is_some_and(|payload| !payload::is_sealed(payload));
    }
    let restores = at(1).is_some_and(|sub| sub.eq_ignore_ascii_case(b"RESTORE"));
    is("FUNCTION") && restores && at(2).is_some_and(|payload| !payload::is_sealed(payload))
}

/// A number below 0, or none at all.
fn is_below_zero(text: &[u8]) -> bool {
    integer(text).is_none_or(|number| number < 0)
}

/// The offsets of a BITFIELD, without the mark of those that count in fields.
fn bit_offsets<'a>(arguments: &[&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
    let at_operation = |word: &[u8]| {
        [b"GET".as_slice(), b"SET", b"INCRBY"].iter().any(|name| word.eq_ignore_ascii_case(name))
    };
    let operations =
        arguments.get(2..).unwrap_or_default().windows(3).filter(move |words| at_operation(words[0]));
    operations.map(|words| words[2].strip_prefix(b"#").unwrap_or(words[2])).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::Kind;

    fn fails(command: &str) -> bool {
        fails_everywhere(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn what_no_server_does_is_told_from_what_one_may() {
        for command in [
            "SETBIT k -1 1",
            "setbit k x 1",
            "MOVE k -1",
            "COPY a b db -2 REPLACE",
            "BITFIELD k GET u8 0 SET u8 -8 1",
            "BITFIELD k INCRBY u8 #-1 1",
            "RESTORE k 0 nonsense",
            "FUNCTION RESTORE nonsense FLUSH",
        ] {
            assert!(fails(command), "{command}");
        }
        for command in [
            "SETBIT k 4294967296 1",
            "MOVE k 99",
            "COPY a b DB 99",
            "COPY a b REPLACE",
            "BITFIELD k OVERFLOW SAT SET u8 #8 1",
            "SET k -1",
            "FUNCTION DELETE nonsense",
        ] {
            assert!(!fails(command), "{command}");
        }
        let payload = payload::payload(Kind::String, b"\x01x");
        assert!(!fails_everywhere(&[b"RESTORE", b"k", b"0", &payload]));
    }
}
