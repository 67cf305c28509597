//! Any bytes as an RDB file, as the middle of one, and as a RESTORE payload: nothing may panic, claim
//! bytes that are not there, or give more than compression can hold; shifted deadlines must come back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redcluster_load::rdb::elements::{self, Element};
use redcluster_load::rdb::fields::{self, Shifted};
use redcluster_load::rdb::{Fault, Item, Object, Product, Reader, Repeats, Version, loadable, payload};

const OFFSET_MS: i64 = 35_000_000_000_000;
/// Three bytes of LZF stand for at most 264.
const EXPANSION_MAX: usize = 88;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(reader) = Reader::new(bytes) {
        walk(reader, bytes);
    }
    for version in
        [Version { product: Product::Redis, number: 12 }, Version { product: Product::Valkey, number: 80 }]
    {
        walk(Reader::resume(bytes, 0, 0, version), bytes);
    }
    if let Ok(object) = payload::open(bytes) {
        take_apart(&object);
    }
});

fn walk(mut reader: Reader<'_>, bytes: &[u8]) {
    let mut end = reader.offset();
    loop {
        let quick = reader.clone().short_string();
        let Some(entry) = reader.next() else { break };
        match entry {
            Ok(entry) => {
                assert!(entry.range.start == end && entry.range.end > end);
                assert!(entry.range.end <= bytes.len() as u64);
                end = entry.range.end;
                if let Some(value) = quick {
                    assert_eq!(entry.item, Item::Value(value));
                }
                if let Item::Value(value) = entry.item {
                    look_at(&value.object);
                    take_apart(&value.object);
                    let payload = payload::payload(value.object.kind, value.object.body);
                    let opened = payload::open(&payload).expect("the payload of a value that was read");
                    assert_eq!((opened.kind, opened.body), (value.object.kind, value.object.body));
                }
            }
            Err(Fault::Cut { at } | Fault::Damage { at, .. } | Fault::Unsupported { at, .. }) => {
                assert!(quick.is_none());
                assert!(at >= end && at <= bytes.len() as u64);
            }
        }
    }
}

/// Damage that a server would see lies in the value.
fn look_at(object: &Object<'_>) {
    let end = object.at + object.body.len() as u64;
    if let Err(Fault::Cut { at } | Fault::Damage { at, .. } | Fault::Unsupported { at, .. }) =
        loadable::check(object, &mut Repeats::default())
    {
        assert!(at >= object.at && at <= end);
    }
}

fn take_apart(object: &Object<'_>) {
    let Ok(before) = collected(object) else { return };
    if let Ok(Shifted::Changed(moved)) = fields::shift(object, &|deadline| deadline.checked_add(OFFSET_MS)) {
        let moved = Object { body: &moved, ..*object };
        let Ok(Shifted::Changed(back)) = fields::shift(&moved, &|deadline| deadline.checked_sub(OFFSET_MS))
        else {
            panic!("shifted deadlines do not come back")
        };
        assert_eq!(collected(&Object { body: &back, ..*object }), Ok(before));
    }
}

type Elements = Vec<(Vec<u8>, Vec<u8>, Option<i64>)>;

fn collected(object: &Object<'_>) -> Result<Elements, Fault> {
    let mut all = Vec::new();
    let mut sum = 0;
    elements::visit(object, |element| {
        let (first, second, deadline_ms) = match element {
            Element::Bare { body, counted } => (body, counted.unwrap_or_default(), None),
            Element::Entry { parts, .. } => {
                // It repeats the fields of its node's first, so the sum below is no bound for it.
                all.push((parts.concat(), Vec::new(), None));
                return Ok::<(), Fault>(());
            }
            Element::Ids { .. } => return Ok(()),
            Element::Piece { bytes, .. } => (bytes, b"".as_slice(), None),
            Element::Item(item) => (item, b"".as_slice(), None),
            Element::Member(member) => (member, b"".as_slice(), None),
            Element::Scored { member, score } => (member, score.as_bytes(), None),
            Element::Field { field, value, deadline_ms } => (field, value, deadline_ms),
        };
        sum += first.len() + if matches!(element, Element::Scored { .. }) { 0 } else { second.len() };
        all.push((first.to_vec(), second.to_vec(), deadline_ms));
        Ok(())
    })?;
    // A number of two bytes can have five digits.
    assert!(sum <= 3 * EXPANSION_MAX * object.body.len());
    Ok(all)
}
