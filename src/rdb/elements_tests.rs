//! Tests of the elements of every kind of value, of scores, of large strings and of damage.

use proptest::prelude::*;

use super::super::samples::{samples, shown as elements_shown};
use super::super::scan::write_length;
use super::*;

fn elements(kind: Kind, body: &[u8]) -> Result<String, Fault> {
    elements_shown(&Object { kind, body, at: 100 })
}

#[test]
fn elements_of_every_kind() {
    for (kind, body, expected) in samples() {
        if !expected.is_empty() {
            assert_eq!(elements(kind, &body).as_deref(), Ok(expected), "{}", kind.name());
        } else {
            let what = format!("a {} that is to be taken apart", kind.name());
            assert_eq!(elements(kind, &body), Err(Fault::Unsupported { at: 100, what }));
        }
    }
}

#[test]
fn strings_come_in_pieces() {
    let mut sizes = Vec::new();
    let mut body = Vec::new();
    write_length(&mut body, 2 * PIECE_BYTES as u64 + 1);
    body.resize(body.len() + 2 * PIECE_BYTES + 1, b'x');
    let visited = visit(&Object { kind: Kind::String, body: &body, at: 0 }, |element| {
        if let Element::Piece { bytes, is_first } = element {
            sizes.push((bytes.len(), is_first));
        }
        Ok::<(), Fault>(())
    });
    assert_eq!(visited, Ok(()));
    assert_eq!(sizes, [(PIECE_BYTES, true), (PIECE_BYTES, false), (1, false)]);
    assert_eq!(elements(Kind::String, b"\x00").as_deref(), Ok("piece "));
    assert_eq!(elements(Kind::String, b"\xc1\x00\x80").as_deref(), Ok("piece -32768"));
}

#[test]
fn a_caller_can_stop() {
    #[derive(Debug, PartialEq)]
    struct Enough(usize);
    impl From<Fault> for Enough {
        fn from(_: Fault) -> Self {
            Enough(0)
        }
    }
    let mut seen = 0;
    let visited = visit(&Object { kind: Kind::List, body: b"\x03\x01a\x01b\x01c", at: 0 }, |_| {
        seen += 1;
        if seen == 2 { Err(Enough(seen)) } else { Ok(()) }
    });
    assert_eq!(visited, Err(Enough(2)));
}

#[test]
fn damage_has_its_place() {
    let place = |kind, body: &[u8]| match elements(kind, body) {
        Err(Fault::Damage { at, .. }) => at,
        other => panic!("{other:?}"),
    };
    // The second entry of a listpack behind a length of one byte.
    assert_eq!(place(Kind::HashListpack, b"\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x02\xff"), 110);
    // A field without a value.
    assert_eq!(place(Kind::HashListpack, b"\x0a\x0a\0\0\0\x01\0\x81a\x02\xff"), 110);
    // The third node of a quicklist.
    let node: &[u8] = b"\x10\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01a\x03\xf3\xff";
    assert_eq!(
        place(Kind::ListQuicklist, &[b"\x03", node, node, &node[..11], b"\x00\x01a\x04\xf3\xff"].concat()),
        149
    );
    // Inside a compressed string only the string is known: here two literals, no listpack.
    assert_eq!(place(Kind::SetListpack, b"\xc3\x03\x02\x01ab"), 100);
    assert_eq!(place(Kind::SortedSet, b"\x01\x01a\x03x.5"), 103);
    assert_eq!(place(Kind::SortedSet2, b"\x01\x01a\0\0\0\0\0\0\xf8\x7f"), 103);
    assert_eq!(place(Kind::SortedSetListpack, b"\x0f\x0f\0\0\0\x02\0\x81a\x02\x83nan\x04\xff"), 100);
    assert_eq!(place(Kind::HashFieldsEarly, b"\x01\x81\0\x01\0\0\0\0\0\0\x01f\x01v"), 101);
}

#[test]
fn scores_are_as_short_as_exactness_allows() {
    let mut text = String::new();
    for (score, expected) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.1 + 0.2, "0.30000000000000004"),
        (-12345678901234567.0, "-12345678901234568"),
        (1e17, "1e17"),
        (f64::MAX, "1.7976931348623157e308"),
        (5e-324, "5e-324"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
    ] {
        assert_eq!(shown(score, &mut text), expected);
    }
}

proptest! {
    #[test]
    fn scores_survive(bits in any::<u64>()) {
        let score = f64::from_bits(bits);
        if !score.is_nan() {
            let mut text = String::new();
            prop_assert_eq!(shown(score, &mut text).parse::<f64>().map(f64::to_bits), Ok(bits));
        }
    }

    #[test]
    fn any_body_gives_an_answer(sample in 0usize..25, body in prop::collection::vec(any::<u8>(), 0..100)) {
        let (kind, ..) = samples().swap_remove(sample);
        let mut bytes = 0;
        let _ = visit(&Object { kind, body: &body, at: 0 }, |element| {
            bytes += match element {
                Element::Piece { bytes: text, .. } | Element::Item(text) | Element::Member(text) => text.len(),
                Element::Scored { member, .. } => member.len(),
                Element::Field { field, value, .. } => field.len() + value.len(),
                Element::Bare { body, .. } => body.len(),
                Element::Entry { parts, .. } => parts.iter().map(|part| part.len()).sum(),
                Element::Ids { .. } => 0,
            };
            Ok::<(), Fault>(())
        });
        // Three compressed bytes stand for at most 264.
        prop_assert!(bytes <= 100 * body.len());
    }
}
