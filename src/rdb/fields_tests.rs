//! Tests of shifting: there and back, what is refused, and that nothing but the deadlines changes.

use proptest::prelude::*;

use super::super::samples::{samples, shown};
use super::super::{extent, listpack, payload};
use super::*;

const OFFSET_MS: i64 = 35_000_000_000_000;

fn shift_by(object: &Object<'_>, offset_ms: i64) -> Result<Shifted, Fault> {
    shift(object, &|deadline| deadline.checked_add(offset_ms))
}

fn changed(kind: Kind, body: &[u8], offset_ms: i64) -> Vec<u8> {
    match shift_by(&Object { kind, body, at: 0 }, offset_ms) {
        Ok(Shifted::Changed(body)) => body,
        other => panic!("{} {other:?}", kind.name()),
    }
}

#[test]
fn deadlines_are_moved_and_put_back() {
    for (kind, body, elements) in samples() {
        let object = Object { kind, body: &body, at: 0 };
        if !kind.has_field_deadlines() {
            assert_eq!(shift_by(&object, OFFSET_MS), Ok(Shifted::AsItStands), "{}", kind.name());
            continue;
        }
        let latest = if kind == Kind::HashFields { 1202 } else { 1200 };
        assert_eq!(deadlines(&object), Ok(Some((1200, latest))));
        let moved = changed(kind, &body, OFFSET_MS);
        let expected = elements.replace("@12", "@350000000012");
        assert_eq!(shown(&Object { kind, body: &moved, at: 0 }), Ok(expected), "{}", kind.name());
        assert_eq!(extent::skip(kind, &moved), Ok((b"".as_slice(), false)));
        assert_eq!(changed(kind, &moved, -OFFSET_MS), body, "{}", kind.name());
        // It is still a payload that is what it says.
        let payload = payload::payload(kind, &moved);
        assert_eq!(payload::open(&payload), Ok(Object { kind, body: &moved, at: 1 }));
    }
}

#[test]
fn a_hash_without_deadlines_stays_as_it_is() {
    for (kind, body) in [
        (Kind::HashFields, b"\0\0\0\0\0\0\0\0\x01\x00\x01f\x01v".as_slice()),
        (Kind::HashFieldsValkey, b"\x01\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\xff"),
        (Kind::HashFieldsListpackEarly, b"\x0f\x0f\0\0\0\x03\0\x81f\x02\x81v\x02\x00\x01\xff"),
    ] {
        assert_eq!(shift_by(&Object { kind, body, at: 0 }, OFFSET_MS), Ok(Shifted::AsItStands));
    }
}

#[test]
fn what_servers_would_not_take_is_refused() {
    for (kind, body, _) in samples() {
        let object = Object { kind, body: &body, at: 0 };
        let limit = match kind {
            _ if !kind.has_field_deadlines() => continue,
            Kind::HashFieldsValkey => i64::MAX,
            _ => DEADLINE_LIMIT_MS,
        };
        let latest = if kind == Kind::HashFields { 1202 } else { 1200 };
        assert_eq!(shift_by(&object, limit - latest), Ok(Shifted::Refused(latest)), "{}", kind.name());
        assert!(matches!(shift_by(&object, limit - latest - 1), Ok(Shifted::Changed(_))), "{}", kind.name());
        assert_eq!(shift_by(&object, -1201), Ok(Shifted::Refused(1200)), "{}", kind.name());
        assert!(matches!(shift_by(&object, -1199), Ok(Shifted::Changed(_))), "{}", kind.name());
    }
}

#[test]
fn what_could_not_be_put_back_is_refused() {
    let body = b"\x01\x01f\x01v\xfb\xff\xff\xff\xff\xff\xff\xff";
    let object = Object { kind: Kind::HashFieldsValkey, body, at: 0 };
    assert_eq!(shift_by(&object, OFFSET_MS), Ok(Shifted::Refused(-5)));
    let body = b"\x00\x00\0\0\0\x80\0\0\x01\x01\x01f\x01v";
    let object = Object { kind: Kind::HashFields, body, at: 0 };
    assert_eq!(shift_by(&object, -OFFSET_MS * 3), Ok(Shifted::Refused(1 << 47)));
}

#[test]
fn a_compressed_listpack_comes_out_plain() {
    // The listpack of the samples as one literal run.
    let body =
        b"\xc3\x19\x18\x17\x18\0\0\0\x06\0\x81f\x02\x81v\x02\xc4\xb0\x02\x81g\x02\x81w\x02\x00\x01\xff";
    let kind = Kind::HashFieldsListpackEarly;
    let moved = changed(kind, body, OFFSET_MS);
    assert_eq!(changed(kind, &moved, -OFFSET_MS), [b"\x18", &body[4..]].concat());
}

proptest! {
    #[test]
    fn listpacks_survive(fields in prop::collection::vec((any::<i64>(), 0i64..1 << 45), 1..40), offset_ms in 1i64..1 << 45) {
        let mut packed = vec![0; listpack::HEADER_BYTES];
        for (number, deadline) in &fields {
            for number in [*number, number >> 40, *deadline] {
                listpack::write_number(&mut packed, number);
            }
        }
        packed.push(listpack::END);
        let total = packed.len() as u32;
        packed[..4].copy_from_slice(&total.to_le_bytes());
        packed[4..6].copy_from_slice(&(3 * fields.len() as u16).to_le_bytes());
        let mut body = 7i64.to_le_bytes().to_vec();
        write_length(&mut body, u64::from(total));
        body.append(&mut packed);
        let kind = Kind::HashFieldsListpack;
        if fields.iter().any(|(_, deadline)| *deadline != 0) {
            let moved = changed(kind, &body, offset_ms);
            prop_assert_eq!(extent::skip(kind, &moved), Ok((b"".as_slice(), false)));
            prop_assert_eq!(changed(kind, &moved, -offset_ms), body);
        }
    }
}

/// Where deadlines do not all move by the same, those that count from the earliest are counted anew.
#[test]
fn deadlines_may_move_by_different_distances() {
    let to = |deadline: i64| Some(if deadline > 1200 { deadline + 1_000_000 } else { deadline + 300 });
    for (kind, body, elements) in samples() {
        if !kind.has_field_deadlines() {
            continue;
        }
        let object = Object { kind, body: &body, at: 0 };
        let Ok(Shifted::Changed(moved)) = shift(&object, &to) else { panic!("{}", kind.name()) };
        let expected = elements.replace("@1200", "@1500").replace("@1202", "@1001202");
        assert_eq!(shown(&Object { kind, body: &moved, at: 0 }), Ok(expected), "{}", kind.name());
        let none = |deadline: i64| (deadline != 1200).then_some(deadline);
        assert_eq!(shift(&object, &none), Ok(Shifted::Refused(1200)), "{}", kind.name());
    }
}

/// Servers let distances wrap; what they lead to is what counts.
#[test]
fn distances_that_wrap_are_deadlines_too() {
    let hash = |earliest: u64, deadline: u64| {
        let mut body = earliest.to_le_bytes().to_vec();
        body.push(1);
        write_length(&mut body, deadline.wrapping_sub(earliest).wrapping_add(1));
        body.extend(b"\x01f\x01v");
        body
    };
    let found = |body: &[u8]| deadlines(&Object { kind: Kind::HashFields, body, at: 0 });
    let shifted = |body: &[u8]| {
        shift(&Object { kind: Kind::HashFields, body, at: 0 }, &|deadline| deadline.checked_add(1000))
    };
    assert_eq!(found(&hash(2000, 1200)), Ok(Some((1200, 1200))));
    assert_eq!(shifted(&hash(2000, 1200)), Ok(Shifted::Changed(hash(3000, 2200))));
    // 0 is none.
    assert_eq!(found(&hash(2000, 0)), Ok(None));
    assert_eq!(shifted(&hash(2000, 0)), Ok(Shifted::AsItStands));
    // A server would not take what comes out.
    assert_eq!(shifted(&hash(1 << 48, 1200)), Ok(Shifted::Refused(1 << 48)));
    assert!(found(&hash((1 << 48) + 1, 1200)).is_err());
}
