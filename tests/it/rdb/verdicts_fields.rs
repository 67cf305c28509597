//! Deadlines of fields that no server writes: too early, too late, out of order, or no numbers. The server itself is the
//! judge; see [`super::verdicts`].

use super::damage::{TIMEOUT, WORKERS, assert_damaged, on_workers};
use super::verdicts::{Form, judge};
use crate::scene::{Scene, assert_untouched, servers};
use crate::support::forms::{count, text, value};
use crate::support::rdb::Rdb;
use crate::support::server::Server;
use crate::support::wire;

/// In the year 2100.
const LATER_MS: i64 = 4_102_444_800_000;
/// The first that commands do not take, and the first that files do not.
const COMMANDS_MS: i64 = 1 << 46;
const FILES_MS: i64 = 1 << 48;

/// An entry of a listpack.
#[derive(Clone, Copy)]
enum Entry<'e> {
    Text(&'e str),
    Number(i64),
}
use Entry::{Number, Text};

/// A listpack as it is stored, all of its numbers in eight bytes.
fn listpack(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        match entry {
            Number(number) => bytes.extend([&[0xf4], &number.to_le_bytes()[..], &[9]].concat()),
            Text(text) => {
                bytes.extend([&[0x80 | text.len() as u8], text.as_bytes(), &[1 + text.len() as u8]].concat());
            }
        }
    }
    let head = [&(bytes.len() as u32 + 7).to_le_bytes()[..], &(entries.len() as u16).to_le_bytes()].concat();
    text([&head[..], &bytes, b"\xff"].concat())
}

fn number(number: u64) -> Vec<u8> {
    [&[0x81], &number.to_be_bytes()[..]].concat()
}

fn form(name: String, kind: u8, body: &[u8]) -> Form {
    (name, Rdb::new(12).raw(&value(kind, body)).string("other", "v").unchecked())
}

/// Hashes of two fields, field by field: their earliest deadline, and what is stored for each.
fn by_field() -> Vec<Form> {
    let mut forms = Vec::new();
    let later = LATER_MS as u64;
    let mut add = |earliest: Option<u64>, stored: [u64; 2]| {
        let fields = ["f", "g"].into_iter().zip(stored);
        let fields = fields.flat_map(|(field, stored)| [number(stored), text(field), text("v")].concat());
        let body = earliest.map_or(Vec::new(), |earliest| earliest.to_le_bytes().to_vec());
        let body = [body, count(2), fields.collect()].concat();
        let kind = if earliest.is_some() { 24 } else { 22 };
        forms.push(form(format!("type {kind}: {earliest:?} before {stored:?}"), kind, &body));
    };
    let limits = [COMMANDS_MS as u64, FILES_MS as u64, 1 << 63];
    let edges: Vec<u64> =
        limits.iter().flat_map(|limit| [limit - 1, *limit]).chain([0, 1, u64::MAX]).collect();
    for edge in &edges {
        add(None, [later, *edge]);
        add(None, [*edge, later + 1]);
        add(Some(*edge), [0, 0]);
        add(Some(*edge), [1, 2]);
        add(Some(later), [0, *edge]);
        add(Some(later), [*edge, 1]);
    }
    // Earlier than the earliest, once the sum wraps.
    add(Some(later), [1, 0u64.wrapping_sub(1000)]);
    add(Some(later), [1, 0u64.wrapping_sub(later - 1)]);
    forms
}

/// Hashes in one listpack, as a release candidate and as later servers store it, with the earliest deadline in front.
fn packed(name: &str, earliest: i64, entries: &[Entry<'_>]) -> [Form; 2] {
    let packed = listpack(entries);
    let with_earliest = [&earliest.to_le_bytes()[..], &packed].concat();
    [
        form(format!("type 23: {name}"), 23, &packed),
        form(format!("type 25: {name}, {earliest}"), 25, &with_earliest),
    ]
}

/// One that is alone, and fields with this deadline and a sound one.
fn around(name: &str, deadline: Entry<'_>) -> [[Form; 2]; 3] {
    let (one, other, later) = ([Text("f"), Text("v")], [Text("g"), Text("w")], [Number(LATER_MS)]);
    let packed =
        |place: &str, parts: &[&[Entry<'_>]]| packed(&format!("{name} {place}"), LATER_MS, &parts.concat());
    [
        packed("alone", &[&one, &[deadline]]),
        packed("first", &[&one, &[deadline], &other, &later]),
        packed("last", &[&one, &later, &other, &[deadline]]),
    ]
}

/// Those of which a server that has loaded them still can tell what they hold.
fn in_one() -> Vec<Form> {
    let edges = [0, LATER_MS, COMMANDS_MS - 1, COMMANDS_MS, FILES_MS - 1, FILES_MS, i64::MAX];
    let mut forms: Vec<Form> =
        edges.iter().flat_map(|edge| around(&edge.to_string(), Number(*edge))).flatten().collect();
    let (sooner, later) = (Number(LATER_MS), Number(LATER_MS + 1));
    let ordered = [Text("f"), Text("v"), sooner, Text("g"), Text("w"), later];
    for earliest in edges.iter().chain(&[1, -1, i64::MIN]) {
        forms.extend(packed("a sound one", *earliest, &ordered));
    }
    forms.extend(packed("a past one", 1, &[Text("f"), Text("v"), Number(1), Text("g"), Text("w"), later]));
    forms.extend(packed(
        "out of order",
        LATER_MS,
        &[Text("f"), Text("v"), later, Text("g"), Text("w"), sooner],
    ));
    forms.extend(packed(
        "a field twice",
        LATER_MS,
        &[Text("f"), Text("v"), sooner, Text("f"), Text("w"), later],
    ));
    let many: Vec<String> = (0..513).map(|nth| format!("f{nth}")).collect();
    for latest in [FILES_MS - 1, i64::MAX] {
        let deadline = |nth| Number(if nth == 512 { latest } else { LATER_MS });
        let entries =
            many.iter().enumerate().flat_map(|(nth, field)| [Text(field), Text("v"), deadline(nth)]);
        forms.extend(packed(&format!("many, {latest} last"), LATER_MS, &entries.collect::<Vec<_>>()));
    }
    forms
}

/// Those that end a server when it loads them, or when they are used.
fn in_one_ending_servers() -> Vec<Form> {
    let deadlines = [Number(-1), Number(i64::MIN), Text("soon"), Text("7"), Text("")];
    let named = deadlines.iter().zip(["-1", "the lowest", "soon", "7 as text", "nothing"]);
    let mut forms: Vec<Form> = named.flat_map(|(deadline, name)| around(name, *deadline)).flatten().collect();
    let later = Number(LATER_MS);
    forms.extend(packed("a field alone", LATER_MS, &[Text("f"), Text("v"), later, Text("g")]));
    forms
}

#[test]
fn deadlines_of_fields_are_judged_as_a_server_does() {
    if !wire::knows(&mut Server::start(&[]).conn(), "HPEXPIREAT") {
        return;
    }
    judge(&by_field(), (10, 10));
}

#[test]
fn deadlines_of_fields_in_a_listpack_are_judged_as_a_server_does() {
    if !wire::knows(&mut Server::start(&[]).conn(), "HPEXPIREAT") {
        return;
    }
    judge(&in_one(), (60, 2));
}

#[test]
fn deadlines_of_fields_that_end_a_server_are_refused() {
    if !wire::knows(&mut Server::start(&[]).conn(), "HPEXPIREAT") {
        return;
    }
    on_workers(|worker| {
        let (scene, targets) = (Scene::new(), servers(1));
        for (nth, (name, bytes)) in in_one_ending_servers().iter().enumerate().skip(worker).step_by(WORKERS) {
            let source = scene.file(&format!("{nth}.rdb"), bytes);
            let output = scene.load(&source, &targets).timeout(TIMEOUT).run();
            assert_damaged(&output, &source, name);
            assert_untouched(&targets);
        }
    });
}
