//! Finds the bodies of the scripts that EVALSHA names.

use std::collections::HashSet;

use rayon::prelude::*;

use super::{Survey, Surveyed};
use crate::error::{Error, Kind, Result};
use crate::partition::walk;
use crate::route::Rules;
use crate::route::scripts::{self, Change, SCRIPTS_MAX, Scripts};
use crate::source::window::Content;
use crate::source::{Position, Source};

/// A pass of its own over a surveyed source, for one with EVALSHA in it. `go_on` says whether to, window by window.
pub fn scripts(
    source: &Source,
    rules: &Rules,
    survey: &Survey,
    go_on: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Scripts> {
    let mut found = Scripts::default();
    if !survey.tally.commands.contains_key("EVALSHA") {
        return Ok(found);
    }
    // In groups, so that the bound is seen before memory is used.
    for group in survey.windows.chunks(2 * rayon::current_num_threads()) {
        let changes: Result<Vec<_>> = group
            .par_iter()
            .map(|surveyed| {
                go_on()?;
                in_window(source, rules, surveyed)
            })
            .collect();
        for change in changes?.into_iter().flatten() {
            if !found.add(change) {
                let what = format!("the source brings more than {SCRIPTS_MAX} scripts that EVALSHA may name");
                return Err(Error::new(Kind::Unsupported, what)
                    .file(source.path())
                    .remedy("load it into a spare redis-server and BGREWRITEAOF, which leaves no scripts"));
            }
        }
    }
    Ok(found)
}

fn in_window(source: &Source, rules: &Rules, surveyed: &Surveyed) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let Content::Commands = surveyed.window.content else { return Ok(changes) };
    let start = surveyed.window.start;
    let mut known = HashSet::new();
    walk(source, surveyed, rules, |step| {
        // Nearly all of a file is something else.
        if !matches!(step.command.name().first(), Some(b'E' | b'e' | b'S' | b's'))
            || !step.spec.is_some_and(|spec| matches!(spec.name, "EVAL" | "EVAL_RO" | "SCRIPT"))
        {
            return;
        }
        let offset = start.offset + step.start as u64;
        let at = Position { offset, ..start };
        let arguments = step.command.arguments();
        match scripts::change(&arguments) {
            Some(Some(index)) => {
                let body = arguments[index];
                let digest = scripts::digest(body);
                if known.insert(digest) {
                    let from =
                        offset + (body.as_ptr() as usize - step.command.bytes.as_ptr() as usize) as u64;
                    changes.push(Change::Brings { digest, at, body: from..from + body.len() as u64 });
                }
            }
            Some(None) => {
                known.clear();
                changes.push(Change::Flush { at });
            }
            None => {}
        }
    })?;
    Ok(changes)
}
