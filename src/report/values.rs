//! The part of a survey's report that is about the values of RDB parts.

use serde_json::{Value, json};

use super::human;
use super::load::Place;
use super::table::{Align, Builder, Mood, heading};
use crate::source::Source;
use crate::survey::Tally;

/// For people; nothing if there are none.
pub(super) fn text(out: &mut String, tally: &Tally, color: bool) {
    if tally.values() == 0 {
        return;
    }
    heading(out, "values of RDB parts by kind", Mood::Plain, color);
    let mut table =
        Builder::new(&[("kind", Align::Text), ("keys", Align::Number), ("bytes", Align::Number)], color);
    for (kind, count) in &tally.kinds {
        table.plain(&[kind.name().to_owned(), human::count(count.keys), human::bytes(count.bytes)]);
    }
    table.write(out);
    if tally.libraries > 0 {
        out.push_str(&format!("{}\n", human::libraries(tally.libraries)));
    }
    let listed = human::count(tally.biggest.len() as u64);
    heading(out, &format!("the {listed} biggest of them"), Mood::Plain, color);
    let columns =
        [("bytes", Align::Number), ("kind", Align::Text), ("database", Align::Number), ("key", Align::Text)];
    let mut table = Builder::new(&columns, color);
    for one in &tally.biggest {
        let key = one.key.clone();
        table.plain(&[human::bytes(one.bytes), one.kind.name().to_owned(), one.db.to_string(), key]);
    }
    table.write(out);
}

/// For programs.
pub(super) fn json(tally: &Tally, source: &Source) -> Value {
    let kinds = tally
        .kinds
        .iter()
        .map(|(kind, count)| (kind.name().to_owned(), json!({ "keys": count.keys, "bytes": count.bytes })));
    let biggest = tally.biggest.iter().map(|one| {
        json!({
            "bytes": one.bytes,
            "kind": one.kind.name(),
            "database": one.db,
            "key": one.key,
            "place": Place::of(source, one.at),
        })
    });
    json!({
        "total": tally.values(),
        "by_kind": kinds.collect::<serde_json::Map<_, _>>(),
        "biggest": biggest.collect::<Vec<_>>(),
        "libraries": tally.libraries,
    })
}
