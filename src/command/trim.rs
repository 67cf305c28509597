//! XADD and XTRIM: a loading server does not heed `LIMIT`, a live one does.
//!
//! `streamParseAddOrTrimArgsOrReply` in Redis's t_stream.c sets the limit to 0 (none) for the
//! append-only file's client. So on a live server an exact trim must come without LIMIT (it would be
//! a syntax error), and an approximate one with `LIMIT 0`.

use std::borrow::Cow;

use super::integer;

/// How the arguments have to change; `None` if they need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// Index of a `LIMIT` which, with its number, is to be left out.
    pub drop_at: Option<usize>,
    /// Index before which `LIMIT 0` is to be put.
    pub unlimited_at: Option<usize>,
}

/// Looks at the options of an XADD (`adds`) or XTRIM.
pub fn trim(arguments: &[&[u8]], adds: bool) -> Option<Trim> {
    let mut approximate_end = None;
    let mut limit_at = None;
    let mut trims = false;
    let mut at = 2;
    while let Some(&option) = arguments.get(at) {
        let more = arguments.len() - at - 1;
        if (option.eq_ignore_ascii_case(b"MAXLEN") || option.eq_ignore_ascii_case(b"MINID")) && more > 0 {
            trims = true;
            let operator = more >= 2 && (arguments[at + 1] == b"~" || arguments[at + 1] == b"=");
            let threshold = at + 1 + usize::from(operator);
            if operator && arguments[at + 1] == b"~" {
                approximate_end = Some(threshold + 1);
            }
            at = threshold + 1;
        } else if option.eq_ignore_ascii_case(b"LIMIT") && more > 0 {
            // A limit that no server accepts stays, for the error that it earns.
            if integer(arguments[at + 1]).is_none_or(|limit| limit < 0) {
                return None;
            }
            limit_at = Some(at);
            at += 2;
        } else if !adds || is_flag(option) {
            at += 1;
        } else {
            break;
        }
    }
    match (limit_at, approximate_end) {
        (None, None) => None,
        // LIMIT alone is an error to every server.
        _ if !trims => None,
        (drop_at, unlimited_at) => Some(Trim { drop_at, unlimited_at }),
    }
}

/// The arguments as a live server has to get them; `None` if as they stand.
pub fn rewrite<'a>(arguments: &[&'a [u8]], adds: bool) -> Option<Vec<Cow<'a, [u8]>>> {
    let change = trim(arguments, adds)?;
    let mut out = Vec::with_capacity(arguments.len() + 2);
    for at in 0..=arguments.len() {
        if change.unlimited_at == Some(at) {
            out.extend([Cow::Borrowed(b"LIMIT".as_slice()), Cow::Borrowed(b"0")]);
        }
        let dropped = change.drop_at.is_some_and(|limit| at == limit || at == limit + 1);
        if let (Some(argument), false) = (arguments.get(at), dropped) {
            out.push(Cow::Borrowed(*argument));
        }
    }
    Some(out)
}

fn is_flag(option: &[u8]) -> bool {
    [b"NOMKSTREAM".as_slice(), b"KEEPREF", b"DELREF", b"ACKED"]
        .iter()
        .any(|flag| option.eq_ignore_ascii_case(flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_dropped_or_lifted() {
        let cases = [
            ("XADD k 1-1 maxlen v", true, None),
            ("XADD k MAXLEN = 5 1-1 f v", true, None),
            ("XADD k NOMKSTREAM MAXLEN = 5 LIMIT 9 1-1 f v", true, Some((Some(6), None))),
            ("XADD k MAXLEN ~ 5 1-1 f v", true, Some((None, Some(5)))),
            ("XTRIM k MINID ~ 5 LIMIT 7", false, Some((Some(5), Some(5)))),
            ("XTRIM k MAXLEN 5 LIMIT 7", false, Some((Some(4), None))),
            ("XADD k LIMIT 7 1-1 f v", true, None),
            ("XTRIM k LIMIT 7 MAXLEN = 5", false, Some((Some(2), None))),
        ];
        for (command, adds, expected) in cases {
            let arguments: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            let expected = expected.map(|(drop_at, unlimited_at)| Trim { drop_at, unlimited_at });
            assert_eq!(trim(&arguments, adds), expected, "{command}");
        }
    }
}
