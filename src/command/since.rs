//! What came into commands after Redis 6.2: an older target would refuse it, or take it for something else.
//!
//! Whole commands that a target does not know it is asked for by name (`COMMAND INFO`); of options no server tells. The
//! list is that of the histories and the `since` of arguments in the command descriptions of Redis (src/commands/*.json,
//! as `COMMAND DOCS` of 7.0, 8.0 and Valkey 8.1 tells them), reduced to what can stand in an append-only file; what 8.2
//! and later brought is from their documentation.

use super::{Rewrite, Spec, integer};

/// Major and minor number.
pub type Release = (u32, u32);

/// No release has it.
const NEVER: Release = (u32::MAX, u32::MAX);

/// Something that came later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Newer {
    /// What it is, with an article.
    pub what: &'static str,
    /// The first Redis that has it.
    pub redis: Release,
    /// The first Valkey that has it, if Redis had it later than the two parted (7.2).
    pub valkey: Release,
}

const fn newer(what: &'static str, redis: Release, valkey: Release) -> Newer {
    Newer { what, redis, valkey }
}

/// FUNCTION and the libraries of RDB parts.
pub const FUNCTIONS: &Newer = &newer("a library of functions", (7, 0), NEVER);
/// A payload of RESTORE whose RDB version is higher than the target's: it has no one version.
pub const PAYLOAD: &Newer = &newer("a RESTORE payload of a later RDB version", NEVER, NEVER);

const CONDITION: &Newer = &newer("a condition (NX, XX, GT, LT) of EXPIRE and its like", (7, 0), NEVER);
const NX_GET: &Newer = &newer("NX with GET in a SET", (7, 0), NEVER);
const IF_EQUAL: &Newer = &newer("IFEQ of SET", (8, 4), (8, 1));
const IF_OTHER: &Newer = &newer("IFNE, IFDEQ or IFDNE of SET", (8, 4), NEVER);
const PART_OF_ID: &Newer = &newer("an id with a sequence of * in an XADD", (7, 0), NEVER);
const REFERENCES: &Newer = &newer("KEEPREF, DELREF or ACKED of XADD and XTRIM", (8, 2), NEVER);
const ENTRIES_READ: &Newer = &newer("ENTRIESREAD of XGROUP", (7, 0), NEVER);
const ENTRIES_ADDED: &Newer = &newer("ENTRIESADDED or MAXDELETEDID of XSETID", (7, 0), NEVER);
const UNIT: &Newer = &newer("a unit in capitals in a GEO command", (7, 0), NEVER);
const POLYGON: &Newer = &newer("BYPOLYGON of GEOSEARCHSTORE", NEVER, (9, 0));
const BIT_OPERATION: &Newer = &newer("DIFF, DIFF1, ANDOR or ONE of BITOP", (8, 2), NEVER);
const SHEBANG: &Newer = &newer("a script that begins with #!", (7, 0), NEVER);

/// Everything in a command that came after Redis 6.2.
pub fn newer_in(spec: &Spec, arguments: &[&[u8]]) -> impl Iterator<Item = &'static Newer> {
    let has = |option: &str, from: usize| {
        arguments.iter().skip(from).any(|argument| argument.eq_ignore_ascii_case(option.as_bytes()))
    };
    let has_any = |options: &[&str], from: usize| options.iter().any(|option| has(option, from));
    let found: [Option<&Newer>; 3] = match (spec.rewrite, spec.name) {
        (Rewrite::Expire { .. }, _) => [(arguments.len() > 3).then_some(CONDITION), None, None],
        (Rewrite::Set, _) => [
            (has("NX", 3) && has("GET", 3)).then_some(NX_GET),
            has("IFEQ", 3).then_some(IF_EQUAL),
            has_any(&["IFNE", "IFDEQ", "IFDNE"], 3).then_some(IF_OTHER),
        ],
        (Rewrite::StreamTrim, name) => {
            let options = match id_at(arguments).filter(|_| name == "XADD") {
                Some(id) => arguments.get(..=id).unwrap_or_default(),
                None => arguments,
            };
            let refers = |option: &&[u8]| {
                ["KEEPREF", "DELREF", "ACKED"].iter().any(|name| option.eq_ignore_ascii_case(name.as_bytes()))
            };
            let in_part =
                name == "XADD" && options.last().is_some_and(|id| id.len() > 2 && id.ends_with(b"-*"));
            [in_part.then_some(PART_OF_ID), options.iter().skip(2).any(refers).then_some(REFERENCES), None]
        }
        (_, "XGROUP CREATE" | "XGROUP SETID") => [has("ENTRIESREAD", 5).then_some(ENTRIES_READ), None, None],
        (_, "XSETID") => [(arguments.len() > 3).then_some(ENTRIES_ADDED), None, None],
        (_, "GEORADIUS") => [in_capitals(arguments.get(5)).then_some(UNIT), None, None],
        (_, "GEORADIUSBYMEMBER") => [in_capitals(arguments.get(4)).then_some(UNIT), None, None],
        (_, "GEOSEARCHSTORE") => {
            let follows = |option: &str, by: usize| {
                let at = arguments.iter().position(|word| word.eq_ignore_ascii_case(option.as_bytes()));
                at.and_then(|at| arguments.get(at + by))
            };
            let unit = in_capitals(follows("BYRADIUS", 2)) || in_capitals(follows("BYBOX", 3));
            [unit.then_some(UNIT), has("BYPOLYGON", 3).then_some(POLYGON), None]
        }
        (_, "BITOP") => {
            let operation = arguments.get(1).copied().unwrap_or_default();
            let is_newer = ["DIFF", "DIFF1", "ANDOR", "ONE"]
                .iter()
                .any(|name| operation.eq_ignore_ascii_case(name.as_bytes()));
            [is_newer.then_some(BIT_OPERATION), None, None]
        }
        (_, "SCRIPT LOAD") => {
            [arguments.get(2).is_some_and(|body| body.starts_with(b"#!")).then_some(SHEBANG), None, None]
        }
        (_, name) if name.starts_with("FUNCTION ") => [Some(FUNCTIONS), None, None],
        _ => [None; 3],
    };
    found.into_iter().flatten()
}

/// Where the id stands in an XADD: the first argument that is no option (`streamParseAddOrTrimArgsOrReply`, t_stream.c).
fn id_at(arguments: &[&[u8]]) -> Option<usize> {
    let mut at = 2;
    while let Some(&option) = arguments.get(at) {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if is("MAXLEN") || is("MINID") {
            let operator = arguments.get(at + 1).is_some_and(|next| *next == b"~" || *next == b"=");
            at += 2 + usize::from(operator);
        } else if is("LIMIT") && arguments.get(at + 1).is_some_and(|next| integer(next).is_some()) {
            at += 2;
        } else if is("NOMKSTREAM") || is("KEEPREF") || is("DELREF") || is("ACKED") {
            at += 1;
        } else {
            return Some(at);
        }
    }
    None
}

/// Whether 6.2, which compares units as they are written, does not know this one.
fn in_capitals(unit: Option<&&[u8]>) -> bool {
    unit.is_some_and(|unit| unit.iter().any(u8::is_ascii_uppercase))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Class, lookup, lookup_sub};

    fn found(command: &str) -> Vec<&'static Newer> {
        let arguments: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let spec = lookup(arguments[0]).expect("a known command");
        let spec = match spec.class {
            Class::Container => lookup_sub(spec, arguments[1]).expect("a known subcommand"),
            _ => spec,
        };
        newer_in(spec, &arguments).collect()
    }

    #[test]
    fn what_came_later_is_found() {
        let cases: [(&str, &[&Newer]); 21] = [
            ("PEXPIREAT k 5 NX", &[CONDITION]),
            ("expire k 5 gt", &[CONDITION]),
            ("SET k v nx PXAT 5 get", &[NX_GET]),
            ("SET k v IFEQ x GET", &[IF_EQUAL]),
            ("SET k v IFDNE x", &[IF_OTHER]),
            ("XADD k 5-* f v", &[PART_OF_ID]),
            ("XADD k NOMKSTREAM MAXLEN = 5 LIMIT 3 5-* f v", &[PART_OF_ID]),
            ("XADD k ACKED MAXLEN 5 5-1 f v", &[REFERENCES]),
            ("XTRIM k MAXLEN 5 DELREF", &[REFERENCES]),
            ("XGROUP CREATE k g 0 MKSTREAM ENTRIESREAD 5", &[ENTRIES_READ]),
            ("XGROUP SETID k g 0 entriesread 5", &[ENTRIES_READ]),
            ("XSETID k 5-5 ENTRIESADDED 7 MAXDELETEDID 0-0", &[ENTRIES_ADDED]),
            ("GEORADIUS k 1 2 3 KM STORE d", &[UNIT]),
            ("GEORADIUSBYMEMBER k m 3 Km STORE d", &[UNIT]),
            ("GEOSEARCHSTORE d k FROMMEMBER m BYBOX 1 2 M", &[UNIT]),
            ("GEOSEARCHSTORE d k BYPOLYGON 3 1 1 2 2 3 3", &[POLYGON]),
            ("BITOP diff1 d a b", &[BIT_OPERATION]),
            ("SCRIPT LOAD #!lua", &[SHEBANG]),
            ("FUNCTION LOAD x", &[FUNCTIONS]),
            ("FUNCTION FLUSH", &[FUNCTIONS]),
            ("SET k v NX IFNE GET", &[NX_GET, IF_OTHER]),
        ];
        for (command, expected) in cases {
            assert_eq!(found(command), expected, "{command}");
        }
    }

    #[test]
    fn what_6_2_knows_is_not() {
        for command in [
            "PEXPIREAT k 5",
            "SET NX GET PXAT 5 XX GET",
            "SET k GET NX",
            "XADD k 5-1 KEEPREF 5-*",
            "XADD k * f v",
            "XADD k MAXLEN ~ 5 5-1 f v",
            "XADD k MINID",
            "XTRIM k MINID 5",
            "XGROUP CREATE k ENTRIESREAD 0 MKSTREAM",
            "XSETID k 5-5",
            "GEORADIUS k 1 2 3 km STORE KM",
            "GEOSEARCHSTORE d k FROMMEMBER M BYRADIUS 1 m ASC",
            "BITOP XOR DIFF ONE",
            "SCRIPT LOAD return",
        ] {
            assert!(found(command).is_empty(), "{command}");
        }
    }
}
