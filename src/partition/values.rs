//! Walks the entries of a window of an RDB part.

use crate::command::since;
use crate::error::{Result, shown};
use crate::rdb::Item;
use crate::route::{Form, Refusal, Routed, Rules};
use crate::source::Source;
use crate::source::window::unreadable;
use crate::survey::Surveyed;

/// A routed entry with the place it was found at.
#[derive(Debug, Clone, Copy)]
pub struct Step<'e, 's> {
    /// What it is.
    pub item: &'e Item<'s>,
    /// The database it belongs to.
    pub db: u32,
    /// Its number among the commands and entries of the source, counted from 1.
    pub ordinal: u64,
    /// Its offset in the window.
    pub start: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Where it goes.
    pub routed: Routed,
}

/// Routes the entries of a window in order; those that mean nothing to a lane are passed over.
pub fn walk<'s>(
    source: &'s Source,
    surveyed: &Surveyed,
    rules: &Rules,
    mut visit: impl FnMut(Step<'_, 's>) -> Result<()>,
) -> Result<()> {
    let window = &surveyed.window;
    let mut ordinal = surveyed.before;
    let segment = source.bytes(window.start.segment);
    let failed = |fault| unreadable(source, window.start.segment, fault);
    let mut entries = window.entries(segment).map_err(failed)?;
    while entries.offset() < window.end {
        let start = entries.offset();
        let item = match entries.short_string() {
            Some(value) => Item::Value(value),
            None => {
                let Some(entry) = entries.next() else { break };
                let item = entry.map_err(failed)?.item;
                if !is_loaded(&item) {
                    continue;
                }
                item
            }
        };
        ordinal += 1;
        let db = u32::try_from(entries.db()).unwrap_or(u32::MAX);
        let routed = route(rules, &item, db, ordinal);
        let len = entries.offset() - start;
        visit(Step { item: &item, db, ordinal, start: start - window.start.offset, len, routed })?;
    }
    Ok(())
}

fn is_loaded(item: &Item<'_>) -> bool {
    matches!(item, Item::Value(_) | Item::Function(_) | Item::ModuleAux { .. } | Item::SlotImport { .. })
}

/// Routes an entry that means something to a lane.
#[inline(always)]
pub fn route(rules: &Rules, item: &Item<'_>, db: u32, ordinal: u64) -> Routed {
    match item {
        Item::Value(value) => rules.route_value(value, db, ordinal),
        Item::ModuleAux { .. } => Routed::Refused(Refusal::Module),
        Item::SlotImport { .. } => Routed::Refused(Refusal::SlotImport),
        _ if rules.functions() => Routed::Every(Form::Verbatim),
        _ => Routed::Refused(Refusal::TargetTooOld(since::FUNCTIONS)),
    }
}

/// What stands for the command and the key of an entry in messages.
pub fn names(item: &Item<'_>) -> (String, String) {
    match item {
        Item::Value(value) => (value.object.kind.name().to_owned(), shown(&value.key)),
        Item::ModuleAux { module } => ("module data".to_owned(), shown(module.as_bytes())),
        Item::SlotImport { job } => ("slot import".to_owned(), shown(job)),
        _ => ("functions".to_owned(), String::new()),
    }
}
