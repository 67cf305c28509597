//! One value of every kind, in bytes put together by hand, and what it is made of; for tests.

use super::elements::{Element, visit};
use super::fault::Fault;
use super::kind::Kind;
use super::reader::Object;
use crate::error::shown as escaped;

/// A stream with one entry, a group with one pending entry, and a consumer who has it.
const STREAM: &[u8] = b"\x01\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\x1d\x1d\0\0\0\x0a\0\x01\x01\0\x01\x01\x01\x81f\x02\0\x01\x02\x01\0\x01\0\x01\x81v\x02\x04\x01\xff\x01\x01\x00";
const PENDING: &[u8] = b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x01";
const CONSUMER: &[u8] = b"\x01\x01c\x09\0\0\0\0\0\0\0";
const OWNED: &[u8] = b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0";

/// Kind, body, elements as [`shown`] shows them (none for kinds that cannot be taken apart).
pub(super) fn samples() -> Vec<(Kind, Vec<u8>, &'static str)> {
    let group: &[u8] = b"\x01\x01g\x01\x00";
    let stream = [STREAM, group, PENDING, CONSUMER, OWNED].concat();
    let offsets: &[u8] = b"\x01\x00\x00\x00\x01";
    let stream2 = [STREAM, offsets, group, b"\x01", PENDING, CONSUMER, OWNED].concat();
    let stream3 = [STREAM, offsets, group, b"\x01", PENDING, CONSUMER, b"\x09\0\0\0\0\0\0\0", OWNED].concat();
    let plain: [(Kind, &[u8], &str); 24] = [
        (Kind::String, b"\x02ab", "piece ab"),
        (Kind::List, b"\x02\x01a\xc0\xff", "item a, item -1"),
        (Kind::Set, b"\x02\x01a\xc3\x06\x0a\x02abc\xa0\x02", "member a, member abcabcabca"),
        (Kind::SortedSet, b"\x03\x01a\x031.5\x01b\xfe\x01c\xff", "1.5 a, inf b, -inf c"),
        (Kind::Hash, b"\x01\x01f\x01v", "f=v"),
        (Kind::SortedSet2, b"\x01\x01a\x9a\x99\x99\x99\x99\x99\xb9\x3f", "0.1 a"),
        (Kind::Module, b"\x81\x45\xe2\x52\x38\xdf\x91\x2c\x03\x02\x05\x05\x01x\x00", ""),
        (Kind::HashZipmap, b"\x07\x01\x01f\x01\x00v\xff", "f=v"),
        (Kind::ListZiplist, b"\x10\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01a\x03\xf3\xff", "item a, item 2"),
        (Kind::SetIntset, b"\x0c\x02\0\0\0\x02\0\0\0\xff\xff\x05\x00", "member -1, member 5"),
        (Kind::SortedSetZiplist, b"\x10\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01a\x03\xf3\xff", "2 a"),
        (Kind::HashZiplist, b"\x10\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01a\x03\xf3\xff", "a=2"),
        (Kind::ListQuicklist, b"\x01\x10\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01a\x03\xf3\xff", "item a, item 2"),
        (Kind::HashListpack, b"\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff", "a=7"),
        (Kind::SortedSetListpack, b"\x0f\x0f\0\0\0\x02\0\x81a\x02\x83.25\x04\xff", "0.25 a"),
        (Kind::ListQuicklist2, b"\x02\x01\x02xy\x02\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff", "item xy, item a, item 7"),
        (Kind::SetListpack, b"\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff", "member a, member 7"),
        (Kind::HashFieldsEarly, b"\x02\x44\xb0\x01f\x01v\x00\x01g\x01w", "f=v@1200, g=w"),
        (Kind::HashFieldsListpackEarly, b"\x18\x18\0\0\0\x06\0\x81f\x02\x81v\x02\xc4\xb0\x02\x81g\x02\x81w\x02\x00\x01\xff", "f=v@1200, g=w"),
        (Kind::HashFields, b"\xb0\x04\0\0\0\0\0\0\x03\x01\x01f\x01v\x00\x01g\x01w\x03\x01h\x01x", "f=v@1200, g=w, h=x@1202"),
        (Kind::HashFieldsListpack, b"\xb0\x04\0\0\0\0\0\0\x18\x18\0\0\0\x06\0\x81f\x02\x81v\x02\xc4\xb0\x02\x81g\x02\x81w\x02\x00\x01\xff", "f=v@1200, g=w"),
        (Kind::HashFieldsValkey, b"\x02\x01f\x01v\xb0\x04\0\0\0\0\0\0\x01g\x01w\xff\xff\xff\xff\xff\xff\xff\xff", "f=v@1200, g=w"),
        (Kind::Stream2, &stream2, "a stream of 69 bytes, 1-0 f v, last 1-0, Some(1) added"),
        (Kind::Stream3, &stream3, "a stream of 77 bytes, 1-0 f v, last 1-0, Some(1) added"),
    ];
    let mut samples: Vec<_> =
        plain.into_iter().map(|(kind, body, shown)| (kind, body.to_vec(), shown)).collect();
    samples.push((
        Kind::Stream,
        stream,
        "a stream of 63 bytes or of 69 counted, 1-0 f v, last 1-0, None added",
    ));
    samples
}

/// The elements of an object, for comparison.
pub(super) fn shown(object: &Object<'_>) -> Result<String, Fault> {
    let mut all = Vec::new();
    visit(object, |element| {
        all.push(match element {
            Element::Bare { body, counted: None } => format!("a stream of {} bytes", body.len()),
            Element::Bare { body, counted: Some(counted) } => {
                format!("a stream of {} bytes or of {} counted", body.len(), counted.len())
            }
            Element::Entry { id, parts } => {
                let parts: Vec<String> = parts.iter().map(|part| escaped(part)).collect();
                format!("{id} {}", parts.join(" "))
            }
            Element::Ids { last, added } => format!("last {last}, {added:?} added"),
            Element::Piece { bytes, is_first: true } => format!("piece {}", escaped(bytes)),
            Element::Piece { bytes, is_first: false } => format!("more {}", escaped(bytes)),
            Element::Item(item) => format!("item {}", escaped(item)),
            Element::Member(member) => format!("member {}", escaped(member)),
            Element::Scored { member, score } => format!("{score} {}", escaped(member)),
            Element::Field { field, value, deadline_ms } => {
                let deadline = deadline_ms.map(|deadline| format!("@{deadline}")).unwrap_or_default();
                format!("{}={}{deadline}", escaped(field), escaped(value))
            }
        });
        Ok::<(), Fault>(())
    })?;
    Ok(all.join(", "))
}
