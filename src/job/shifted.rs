//! Finds the keys whose deadlines may be shifted once all lanes are applied.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::command::{Rewrite, keys};
use crate::error::Result;
use crate::feed::Plan;
use crate::partition::values;
use crate::partition::walk;
use crate::rdb::Item;
use crate::route::{Form, Routed};
use crate::sink::Shifted;
use crate::source::window::Content;
use crate::survey::Surveyed;

/// Deadlines that are put right key by key at most, for all lanes together: a list of them takes 32
/// bytes each. Past that, and where deadlines wander from key to key, the targets are scanned.
const KEYS_MAX: usize = 1_000_000;

/// Commands that carry a deadline to another name or database, or may do so unseen.
const CARRIERS: [&str; 8] = ["RENAME", "RENAMENX", "COPY", "MOVE", "SWAPDB", "EVAL", "EVALSHA", "FCALL"];

type Key<'s> = (usize, u32, Cow<'s, [u8]>);

/// For each lane where deadlines may be shifted; nowhere unless the load `shifts` them. Deadlines `wander` if keys are
/// brought from lane to lane.
pub fn find<'s>(plan: &Plan<'s>, shifts: bool, wander: bool) -> Result<Vec<Shifted<'s>>> {
    let lanes = plan.rules.lanes();
    let mut found = vec![Vec::new(); lanes];
    if !shifts {
        return Ok(found.into_iter().map(Shifted::Keys).collect());
    }
    if wander {
        return Ok(vec![Shifted::Anywhere; lanes]);
    }
    let mut keys: Vec<Key<'s>> = Vec::new();
    // In groups, so that the bound is seen before memory is used.
    for group in plan.windows.chunks(2 * rayon::current_num_threads()) {
        let some: Result<Vec<Option<Vec<Key<'s>>>>> =
            group.par_iter().map(|surveyed| in_window(plan, surveyed)).collect();
        for window in some? {
            match window {
                Some(more) if keys.len() + more.len() <= KEYS_MAX => keys.extend(more),
                _ => return Ok(vec![Shifted::Anywhere; lanes]),
            }
        }
    }
    keys.par_sort_unstable();
    keys.dedup();
    for (lane, db, key) in keys {
        found[lane].push((db, key));
    }
    Ok(found.into_iter().map(Shifted::Keys).collect())
}

/// The keys to which a window gives shifted deadlines; `None` if these may wander.
fn in_window<'s>(plan: &Plan<'s>, surveyed: &Surveyed) -> Result<Option<Vec<Key<'s>>>> {
    let mut found = Vec::new();
    if let Content::Rdb(_) = surveyed.window.content {
        values::walk(plan.source, surveyed, plan.rules, |step| {
            if let (Routed::Lane(lane, Form::Rewritten, _), Item::Value(value)) = (step.routed, step.item) {
                found.push((lane, step.db, value.key.clone()));
            }
            Ok(())
        })?;
        return Ok(Some(found));
    }
    let mut wander = false;
    walk(plan.source, surveyed, plan.rules, |step| {
        let command = step.command;
        let Some(spec) = step.spec else { return };
        match step.routed {
            Routed::Lane(lane, Form::Rewritten, _) if spec.rewrite != Rewrite::StreamTrim => {
                let arguments = command.arguments();
                for at in keys::positions(spec, &arguments).unwrap_or_default() {
                    found.push((lane, command.db, Cow::Borrowed(arguments[at])));
                }
            }
            Routed::Lane(..) | Routed::Every(_) => wander |= CARRIERS.contains(&spec.name),
            Routed::Parts | Routed::State(_) | Routed::Nowhere | Routed::Tied | Routed::Refused(_) => {}
        }
    })?;
    Ok((!wander).then_some(found))
}
