//! Walks the entries of a window of an RDB part.

use std::borrow::Cow;

use crate::error::{Result, shown};
use crate::rdb::{Entry, Item, Value};
use crate::route::{Form, Placement, Refusal, Routed, Rules};
use crate::source::Source;
use crate::source::window::unreadable;
use crate::survey::Surveyed;

/// What an entry means for the lanes.
#[derive(Debug, Clone)]
pub enum Loaded<'s> {
    /// A key.
    Value(Value<'s>),
    /// The source of a library of functions.
    Library(Cow<'s, [u8]>),
    /// Data that belongs to a module, of this name.
    Module(String),
    /// Hash slots whose import was under way, by the job of this name.
    Import(Cow<'s, [u8]>),
}

/// A routed entry with the place it was found at.
#[derive(Debug, Clone)]
pub struct Step<'s> {
    /// What it is.
    pub loaded: Loaded<'s>,
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
pub fn walk<'s, P: Placement>(
    source: &'s Source,
    surveyed: &Surveyed,
    rules: &Rules<P>,
    mut visit: impl FnMut(Step<'s>) -> Result<()>,
) -> Result<()> {
    let window = &surveyed.window;
    let mut ordinal = surveyed.before;
    let segment = source.bytes(window.start.segment);
    let failed = |fault| unreadable(source, window.start.segment, fault);
    let mut entries = window.entries(segment).map_err(failed)?;
    while entries.offset() < window.end {
        let Some(entry) = entries.next() else { break };
        let Entry { range, item } = entry.map_err(failed)?;
        let loaded = match item {
            Item::Value(value) => Loaded::Value(value),
            Item::Function(source) => Loaded::Library(source),
            Item::ModuleAux { module } => Loaded::Module(module),
            Item::SlotImport { job } => Loaded::Import(job),
            _ => continue,
        };
        ordinal += 1;
        let db = u32::try_from(entries.db()).unwrap_or(u32::MAX);
        let routed = match &loaded {
            Loaded::Value(value) => rules.route_value(value, db, ordinal),
            Loaded::Library(_) => Routed::Every(Form::Verbatim),
            Loaded::Module(_) => Routed::Refused(Refusal::Module),
            Loaded::Import(_) => Routed::Refused(Refusal::SlotImport),
        };
        let start = range.start - window.start.offset;
        visit(Step { loaded, db, ordinal, start, len: range.end - range.start, routed })?;
    }
    Ok(())
}

/// What stands for the command and the key of an entry in messages.
pub fn names(item: &Item<'_>) -> (String, String) {
    match item {
        Item::Value(value) => (value.object.kind.name().to_owned(), shown(&value.key)),
        Item::ModuleAux { module } => ("module data".to_owned(), shown(module.as_bytes())),
        _ => ("functions".to_owned(), String::new()),
    }
}
