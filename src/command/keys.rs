//! Finds the keys of a command by its key specification.

use smallvec::{SmallVec, smallvec};

use super::{Class, Keys, Spec, integer, lookup};
use crate::error::shown;

/// Indexes of arguments; few commands have many keys.
pub type Positions = SmallVec<[usize; 4]>;

/// The indexes of a command's keys, in order.
///
/// `None` if they cannot be told, as with a number of keys that is no number: a server answers such
/// a command with an error and changes nothing.
pub fn positions(spec: &Spec, arguments: &[&[u8]]) -> Option<Positions> {
    match spec.keys {
        Keys::None => Some(smallvec![]),
        Keys::Range { first, last, step } => Some(range(arguments.len(), first, last, step)),
        Keys::Counted { count, step } => counted(arguments, usize::from(count), usize::from(step)),
        Keys::DestinationAndCounted => {
            let mut keys = counted(arguments, 2, 1)?;
            keys.insert(0, 1);
            Some(keys)
        }
        Keys::Sort => Some(sort(arguments)),
        Keys::GeoRadius { options } => Some(georadius(arguments, usize::from(options))),
        Keys::Streams => streams(arguments),
    }
}

/// A command and its key for messages: the argument behind its name or, behind a script, the first key that the script
/// declares; empty if there is none.
pub fn told<'a>(mut arguments: impl Iterator<Item = &'a [u8]>) -> (String, String) {
    let name = arguments.next().unwrap_or_default();
    let is_script = lookup(name).is_some_and(|spec| spec.class == Class::Script);
    let declares = !is_script || arguments.nth(1).and_then(integer).is_some_and(|keys| keys > 0);
    let key = if declares { arguments.next() } else { None };
    (shown(name), key.map(shown).unwrap_or_default())
}

fn range(argc: usize, first: u8, last: i8, step: u8) -> Positions {
    let last = if last < 0 { argc as i64 + i64::from(last) } else { i64::from(last) };
    let end = usize::try_from(last + 1).unwrap_or(0).min(argc);
    (usize::from(first)..end).step_by(usize::from(step)).collect()
}

fn counted(arguments: &[&[u8]], count: usize, step: usize) -> Option<Positions> {
    let keys = usize::try_from(integer(arguments.get(count)?)?).ok()?;
    let last = keys.checked_sub(1)?.checked_mul(step)?.checked_add(count + 1)?;
    if last >= arguments.len() {
        return None;
    }
    Some((count + 1..=last).step_by(step).collect())
}

/// The options as `sortGetKeys` in db.c walks them: unknown ones are passed over singly.
fn sort(arguments: &[&[u8]]) -> Positions {
    let mut store = None;
    let mut at = 2;
    while at < arguments.len() {
        let takes = match arguments[at] {
            option if option.eq_ignore_ascii_case(b"LIMIT") => 2,
            option if option.eq_ignore_ascii_case(b"GET") || option.eq_ignore_ascii_case(b"BY") => 1,
            option if option.eq_ignore_ascii_case(b"STORE") && at + 1 < arguments.len() => {
                store = Some(at + 1);
                1
            }
            _ => 0,
        };
        at += takes + 1;
    }
    [Some(1), store].into_iter().flatten().collect()
}

/// Whether a SORT reads keys that it does not name: a BY or GET pattern with a `*` in it.
pub fn sort_reads_unnamed_keys(arguments: &[&[u8]]) -> bool {
    arguments.windows(2).skip(2).any(|pair| {
        (pair[0].eq_ignore_ascii_case(b"BY") || pair[0].eq_ignore_ascii_case(b"GET"))
            && pair[1].contains(&b'*')
    })
}

fn georadius(arguments: &[&[u8]], options: usize) -> Positions {
    let mut store = None;
    let mut at = options;
    while at + 1 < arguments.len() {
        if arguments[at].eq_ignore_ascii_case(b"STORE") || arguments[at].eq_ignore_ascii_case(b"STOREDIST") {
            store = Some(at + 1);
            at += 1;
        }
        at += 1;
    }
    [Some(1), store].into_iter().flatten().collect()
}

fn streams(arguments: &[&[u8]]) -> Option<Positions> {
    let keyword = arguments.iter().skip(4).position(|option| option.eq_ignore_ascii_case(b"STREAMS"))? + 4;
    let rest = arguments.len() - keyword - 1;
    if rest == 0 || !rest.is_multiple_of(2) {
        return None;
    }
    Some((keyword + 1..keyword + 1 + rest / 2).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup;

    fn keys(command: &str) -> Option<Vec<String>> {
        let arguments: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let spec = lookup(arguments[0])?;
        let positions = positions(spec, &arguments)?;
        Some(positions.iter().map(|at| String::from_utf8_lossy(arguments[*at]).into_owned()).collect())
    }

    #[test]
    fn keys_are_found_where_the_specification_says() {
        let cases = [
            ("SET k v", Some("k")),
            ("DEL a b c", Some("a b c")),
            ("MSET a 1 b 2", Some("a b")),
            ("BITOP AND d a b", Some("d a b")),
            ("BLPOP a b 0", Some("a b")),
            ("PFDEBUG GETREG k", Some("k")),
            ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", Some("d a b")),
            ("ZUNIONSTORE d x a b", None),
            ("ZUNIONSTORE d 9 a b", None),
            ("LMPOP 2 a b LEFT", Some("a b")),
            ("BZMPOP 0 1 a MIN", Some("a")),
            ("MSETEX 2 a 1 b 2 PX 5", Some("a b")),
            ("SORT k BY STORE GET # STORE d LIMIT 0 1", Some("k d")),
            ("GEORADIUS k 1 2 3 km STORE d STOREDIST e", Some("k e")),
            ("GEORADIUSBYMEMBER k m 3 km STORE d", Some("k d")),
            ("XREADGROUP GROUP g c COUNT 1 STREAMS a b 0 0", Some("a b")),
            ("XREADGROUP GROUP g c STREAMS a b 0", None),
        ];
        for (command, expected) in cases {
            let expected = expected.map(|text| text.split(' ').map(str::to_owned).collect());
            assert_eq!(keys(command), expected, "{command}");
        }
    }

    #[test]
    fn a_script_is_not_told_for_a_key() {
        let cases = [
            ("SET k v", "k"),
            ("XGROUP CREATE k", "CREATE"),
            ("UNKNOWN a b", "a"),
            ("PING", ""),
            ("EVAL body 2 k other", "k"),
            ("evalsha sum 1 k", "k"),
            ("FCALL f 0 argument", ""),
            ("EVAL body x k", ""),
            ("EVAL body 1", ""),
        ];
        for (command, key) in cases {
            let name = command.split(' ').next().unwrap_or_default().to_owned();
            assert_eq!(told(command.split(' ').map(str::as_bytes)), (name, key.to_owned()), "{command}");
        }
    }

    #[test]
    fn sort_patterns_without_a_star_read_nothing_unnamed() {
        let split = |text: &'static str| text.split(' ').map(str::as_bytes).collect::<Vec<_>>();
        assert!(!sort_reads_unnamed_keys(&split("SORT k BY nosort GET # STORE d")));
        assert!(sort_reads_unnamed_keys(&split("SORT k BY w_* STORE d")));
        assert!(sort_reads_unnamed_keys(&split("SORT k GET o_*->f")));
    }
}
