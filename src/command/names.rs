//! Finds the names that a command touches: its keys, each with the database that it lies in.

use smallvec::SmallVec;

use super::{Keys, Spec, integer, keys};

/// A key among a command's arguments, in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// The database.
    pub db: u32,
    /// Index of the argument that is the key.
    pub at: usize,
}

/// The names of a command that runs in database `db`, in the order of its keys; those in another database last.
///
/// `None` if they cannot be told, as for [`keys::positions`].
pub fn names(spec: &Spec, arguments: &[&[u8]], db: u32) -> Option<SmallVec<[Name; 4]>> {
    let positions = keys::positions(spec, arguments)?;
    let mut names: SmallVec<[Name; 4]> = positions.into_iter().map(|at| Name { db, at }).collect();
    let elsewhere = match spec.name {
        "MOVE" => arguments.get(2).and_then(|text| database(text)).map(|db| Name { db, at: 1 }),
        "COPY" => copied_to(arguments).map(|db| Name { db, at: 2 }),
        _ => None,
    };
    if let Some(name) = elsewhere {
        if spec.keys != Keys::FIRST {
            names.retain(|other| other.at != name.at);
        }
        names.push(name);
    }
    Some(names)
}

/// The database after the last DB of a COPY (`copyCommand`, db.c).
fn copied_to(arguments: &[&[u8]]) -> Option<u32> {
    let options = arguments.get(3..)?;
    let at = options.iter().rposition(|option| option.eq_ignore_ascii_case(b"DB"))?;
    database(options.get(at + 1)?)
}

/// A database number as `getIntFromObjectOrReply` reads it; the upper bound is the target's matter.
pub fn database(text: &[u8]) -> Option<u32> {
    let number = integer(text)?;
    u32::try_from(number).ok().filter(|number| *number <= i32::MAX as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup;

    #[test]
    fn names_lie_in_the_databases_that_the_command_says() {
        let cases = [
            ("RENAME a b", vec![(7, "a"), (7, "b")]),
            ("MOVE a 3", vec![(7, "a"), (3, "a")]),
            ("MOVE a x", vec![(7, "a")]),
            ("COPY a b", vec![(7, "a"), (7, "b")]),
            ("COPY a b DB 2 REPLACE", vec![(7, "a"), (2, "b")]),
            ("COPY a b replace db 2", vec![(7, "a"), (2, "b")]),
            ("COPY a b DB x", vec![(7, "a"), (7, "b")]),
        ];
        for (command, expected) in cases {
            let arguments: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            let spec = lookup(arguments[0]).expect("a known command");
            let found = names(spec, &arguments, 7).expect("names");
            let found: Vec<_> = found
                .iter()
                .map(|name| (name.db, std::str::from_utf8(arguments[name.at]).expect("text")))
                .collect();
            assert_eq!(found, expected, "{command}");
        }
    }
}
