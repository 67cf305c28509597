//! What a window of the source does to the lives of names: ties them together, ends them, swaps their databases.

use super::Span;
use crate::command::names::{database, names};
use crate::command::{Class, Spec};
use crate::error::Result;
use crate::partition::{Spot, Step, revisit, scan, split_keys};
use crate::route::homes::{Filter, KeyHasher};
use crate::route::{Command, Routed, Rules, key_hash};
use crate::source::Source;
use crate::source::window::Content;
use crate::survey::Surveyed;

/// A name as a command gives it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    /// Hash of the key.
    pub(super) key: u128,
    /// The key's crc32.
    pub(super) crc: u32,
    /// The database, by the number that it has at that moment.
    pub(super) db: u32,
    /// Where the key stands.
    pub(super) span: Span,
}

/// What happens to lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Those of the next so many names are tied together; and then the first one's ends, if it `moves`.
    Ties { names: u32, moves: bool },
    /// That of the next name ends.
    Ends,
    /// All end: of the database with this number, or of every one.
    Flushes(Option<u32>),
    /// Two databases change their numbers.
    Swaps(u32, u32),
}

/// The events of a window, in order.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Each with the number of its command.
    pub(super) list: Vec<(u64, What)>,
    /// The names, in the order in which the events take them.
    pub(super) names: Vec<Named>,
}

/// Finds the events of a window, which are among `spots` if these are known. Of keys that are not in `ties` no ends are told.
pub(super) fn in_window(
    source: &Source,
    surveyed: &Surveyed,
    rules: &Rules,
    spots: Option<&[Spot]>,
    (ties, hasher): (&Filter, KeyHasher),
) -> Result<Events> {
    let mut events = Events::default();
    if let Content::Rdb(_) = surveyed.window.content {
        return Ok(events);
    }
    let base = (surveyed.window.start.segment, surveyed.window.start.offset);
    let route = |spec: Option<&'static Spec>, command: &Command<'_>, in_transaction| {
        let matters = spec.is_some_and(|spec| match spec.class {
            Class::Splittable => ends_some(spec, command, ties),
            Class::Several
            | Class::Script
            | Class::Broadcast
            | Class::Select
            | Class::Multi
            | Class::Exec => true,
            _ => false,
        });
        if matters { rules.route_by(spec, command, in_transaction) } else { Routed::Nowhere }
    };
    let visit = |step: &Step<'_>| {
        let Some(spec) = step.spec else { return };
        match step.routed {
            Routed::Every(_) => {
                events.list.extend(global(spec, step).map(|what| (step.command.ordinal, what)))
            }
            Routed::Lane(..) | Routed::Parts | Routed::Tied => events.add(spec, step, base, (ties, hasher)),
            // What is left out changes nothing.
            Routed::State(_) | Routed::Nowhere | Routed::Refused(_) => {}
        }
    };
    match spots {
        Some(spots) => revisit(source, surveyed, spots, route, visit)?,
        None => {
            scan(source, surveyed, route, visit)?;
        }
    }
    Ok(events)
}

fn is_deletion(spec: &Spec) -> bool {
    matches!(spec.name, "DEL" | "UNLINK")
}

fn ends_some(spec: &Spec, command: &Command<'_>, ties: &Filter) -> bool {
    is_deletion(spec)
        && match command.head.argc {
            2 => ties.may_have(key_hash(command.first())),
            _ => command.arguments().iter().skip(1).any(|key| ties.may_have(key_hash(key))),
        }
}

/// What a command without keys does to lives, if it is well-formed: otherwise it only earns an error.
fn global(spec: &Spec, step: &Step<'_>) -> Option<What> {
    let arguments = step.command.arguments();
    let mode = |mode: &[u8]| mode.eq_ignore_ascii_case(b"SYNC") || mode.eq_ignore_ascii_case(b"ASYNC");
    match (spec.name, arguments.as_slice()) {
        ("FLUSHALL", [_]) => Some(What::Flushes(None)),
        ("FLUSHALL", [_, how]) if mode(how) => Some(What::Flushes(None)),
        ("FLUSHDB", [_]) => Some(What::Flushes(Some(step.command.db))),
        ("FLUSHDB", [_, how]) if mode(how) => Some(What::Flushes(Some(step.command.db))),
        ("SWAPDB", [_, one, other]) => Some(What::Swaps(database(one)?, database(other)?)),
        _ => None,
    }
}

impl Events {
    fn add(&mut self, spec: &Spec, step: &Step<'_>, base: (u32, u64), (ties, hasher): (&Filter, KeyHasher)) {
        let Command { bytes, db, ordinal, .. } = step.command;
        let named = |db: u32, key: &[u8]| {
            // Both are parts of the map, so that their distance is that in the file.
            let within = (key.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize) as u64;
            let span =
                Span { segment: base.0, len: key.len() as u32, offset: base.1 + step.start as u64 + within };
            Named { key: hasher.key(key), crc: key_hash(key), db, span }
        };
        let first = self.names.len();
        if let Some(keys) = step.command.two_keys(spec) {
            self.names.extend(keys.map(|key| named(db, key)));
        } else {
            let arguments = step.command.arguments();
            if is_deletion(spec) {
                let tied = |at: &usize| ties.may_have(key_hash(arguments[*at]));
                for at in split_keys(&arguments).filter(tied) {
                    self.names.push(named(db, arguments[at]));
                    self.list.push((ordinal, What::Ends));
                }
                return;
            }
            let names = names(spec, &arguments, db).unwrap_or_default();
            self.names.extend(names.iter().map(|name| named(name.db, arguments[name.at])));
        }
        let same = |pair: &[Named]| (pair[0].db, pair[0].key) == (pair[1].db, pair[1].key);
        if self.names[first..].windows(2).all(same) {
            // One name is tied to nothing.
            self.names.truncate(first);
            return;
        }
        let what = What::Ties { names: (self.names.len() - first) as u32, moves: spec.name == "RENAME" };
        self.list.push((ordinal, what));
    }
}
