//! The judge: is the union of the targets' keyspaces exactly the reference's keyspace?
//!
//! A key (or hash field) whose deadline is at or before the clock after the last read of all servers counts as absent
//! on that side, whether or not the server still holds it. So what had expired in the source never gives a difference
//! by itself, and targets may have active expiry on.

use super::server::Server;
pub use super::snapshot::{Content, Entry, Name, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// How many differences a failed assertion prints.
const SHOWN_MAX: usize = 10;
/// How much of a value a difference shows.
const PREVIEW_BYTES: usize = 120;

/// Where keys belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Any one target.
    Anywhere,
    /// Target number `crc32(key) % number of targets`.
    Crc32,
}

/// Panics with the first differences unless the targets together hold exactly what the reference holds, each key
/// where crc32 puts it, and every function library everywhere.
pub fn assert_same(reference: &Server, targets: &[Server]) {
    let targets: Vec<Snapshot> = targets.iter().map(Snapshot::of).collect();
    assert_no_differences(&diff(&Snapshot::of(reference), &targets, Placement::Crc32));
}

/// Panics with the first of `differences`, when there are any.
pub fn assert_no_differences(differences: &[String]) {
    let shown = differences.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("\n  ");
    assert!(
        differences.is_empty(),
        "{} differences from the reference, first:\n  {shown}",
        differences.len()
    );
}

/// Every difference, one line each, beginning with its kind: MISSING, EXTRA, DUPLICATE, PLACEMENT, TYPE, VALUE,
/// DEADLINE or FUNCTION.
pub fn diff(reference: &Snapshot, targets: &[Snapshot], placement: Placement) -> Vec<String> {
    let now_ms = targets.iter().map(|target| target.taken_ms).fold(reference.taken_ms, i64::max);
    let expected = reference.alive(now_ms);
    let mut found = Vec::new();
    let mut united: BTreeMap<&Name, (usize, Entry)> = BTreeMap::new();
    for (at, target) in targets.iter().enumerate() {
        for (name, entry) in target.alive(now_ms) {
            if let Some((first, _)) = united.get(name) {
                found.push(format!("DUPLICATE {} on targets {first} and {at}", show_name(name)));
                continue;
            }
            let home = crc32fast::hash(&name.1) as usize % targets.len();
            if placement == Placement::Crc32 && home != at {
                found.push(format!("PLACEMENT {} is on target {at}, belongs on {home}", show_name(name)));
            }
            united.insert(name, (at, entry));
        }
    }
    let names: BTreeSet<&Name> = expected.keys().chain(united.keys()).copied().collect();
    for name in names {
        let shown = show_name(name);
        match (expected.get(name), united.get(name)) {
            (Some(entry), None) => found.push(format!("MISSING {shown} = {}", show_entry(entry))),
            (None, Some((at, entry))) => {
                found.push(format!("EXTRA {shown} on target {at} = {}", show_entry(entry)));
            }
            (Some(ours), Some((at, theirs))) => {
                let place = format!("{shown} on target {at}");
                found.extend(entry_differences(ours, theirs).iter().map(|what| {
                    let (kind, rest) = what.split_once(' ').expect("a kind and its words");
                    format!("{kind} {place}: {rest}")
                }));
            }
            (None, None) => unreachable!("a name comes from one of them"),
        }
    }
    found.extend(function_differences(reference, targets));
    found
}

fn entry_differences(ours: &Entry, theirs: &Entry) -> Vec<String> {
    if ours.kind != theirs.kind {
        return vec![format!("TYPE reference {} target {}", ours.kind, theirs.kind)];
    }
    let mut found = Vec::new();
    if let Some(what) = content_difference(&ours.content, &theirs.content) {
        found.push(format!("VALUE ({}) {what}", ours.kind));
    }
    if ours.deadline_ms != theirs.deadline_ms {
        found.push(format!("DEADLINE reference {:?} target {:?}", ours.deadline_ms, theirs.deadline_ms));
    }
    found
}

/// What differs, reference first.
fn content_difference(ours: &Content, theirs: &Content) -> Option<String> {
    match (ours, theirs) {
        (Content::Unreadable(error), _) | (_, Content::Unreadable(error)) => {
            Some(format!("cannot be read: {error}"))
        }
        (Content::Stream(ours), Content::Stream(theirs)) => {
            let parts = ours.differences(theirs);
            (!parts.is_empty()).then(|| clip(&parts.join("; ")))
        }
        (Content::Hash(ours), Content::Hash(theirs)) => map_difference("field", ours, theirs),
        (Content::SortedSet(ours), Content::SortedSet(theirs)) => map_difference("member", ours, theirs),
        (Content::List(ours), Content::List(theirs)) if ours != theirs => {
            let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
            let (a, b) = (ours.get(at).map(|item| preview(item)), theirs.get(at).map(|item| preview(item)));
            Some(format!("{} vs {} elements, #{at} is {a:?} vs {b:?}", ours.len(), theirs.len()))
        }
        (Content::Set(ours), Content::Set(theirs)) if ours != theirs => {
            let only = |a: &BTreeSet<Vec<u8>>, b| a.difference(b).next().map(|member| preview(member));
            let (a, b) = (only(ours, theirs), only(theirs, ours));
            Some(format!("{} vs {} members, only here {a:?}, only there {b:?}", ours.len(), theirs.len()))
        }
        (Content::String(ours), Content::String(theirs)) if ours != theirs => {
            let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
            let (a, b) = (preview(&ours[at..]), preview(&theirs[at..]));
            Some(format!("{} vs {} bytes, from byte {at} on {a} vs {b}", ours.len(), theirs.len()))
        }
        (ours, theirs) => (ours != theirs).then(|| clip(&format!("{ours:?} vs {theirs:?}"))),
    }
}

fn map_difference<V: PartialEq + Debug>(
    what: &str,
    ours: &BTreeMap<Vec<u8>, V>,
    theirs: &BTreeMap<Vec<u8>, V>,
) -> Option<String> {
    let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let name = names.into_iter().find(|name| ours.get(*name) != theirs.get(*name))?;
    let (a, b) = (clip(&format!("{:?}", ours.get(name))), clip(&format!("{:?}", theirs.get(name))));
    Some(format!("{} vs {} {what}s, {what} {}: {a} vs {b}", ours.len(), theirs.len(), preview(name)))
}

fn function_differences(reference: &Snapshot, targets: &[Snapshot]) -> Vec<String> {
    let Some(expected) = &reference.functions else { return Vec::new() };
    let mut found = Vec::new();
    for (at, target) in targets.iter().enumerate() {
        // A target before 7.0 has none; that is a difference only if the reference has some.
        let none = BTreeMap::new();
        let held = target.functions.as_ref().unwrap_or(&none);
        let names: BTreeSet<_> = expected.keys().chain(held.keys()).collect();
        for name in names.into_iter().filter(|name| expected.get(*name) != held.get(*name)) {
            let (a, b) = (expected.contains_key(name), held.contains_key(name));
            found.push(format!(
                "FUNCTION library {} on target {at}: reference has it {a}, target {b}",
                preview(name)
            ));
        }
    }
    found
}

fn show_name((database, key): &Name) -> String {
    format!("db{database} {}", preview(key))
}

fn show_entry(entry: &Entry) -> String {
    clip(&format!("({}, deadline {:?}) {:?}", entry.kind, entry.deadline_ms, entry.content))
}

fn preview(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(PREVIEW_BYTES)];
    let rest = if head.len() < bytes.len() { format!("... ({} bytes)", bytes.len()) } else { String::new() };
    format!("\"{}\"{rest}", head.escape_ascii())
}

/// Cut on a character boundary: Debug output may hold any text.
fn clip(text: &str) -> String {
    let head: String = text.chars().take(4 * PREVIEW_BYTES).collect();
    if head.len() < text.len() { head + "..." } else { head }
}
