//! Tests of listpacks: every form of entry, numbers written as a server writes them, damage.

use super::super::blob::DamagedAt;
use super::*;
use proptest::prelude::*;

/// A listpack of entries that are given without the length that ends them.
fn listpack(count: u16, all: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(count.to_le_bytes());
    for entry in all {
        out.extend(*entry);
        let (tail, tail_bytes) = back_length(entry.len());
        out.extend(&tail[..tail_bytes]);
    }
    out.push(END);
    let total = out.len() as u32;
    out[..4].copy_from_slice(&total.to_le_bytes());
    out
}

#[test]
fn every_form_of_entry() {
    let long = vec![b'x'; 5000];
    let mut long_entry = b"\xf0\x88\x13\0\0".to_vec();
    long_entry.extend(&long);
    let listpack = listpack(
        9,
        &[
            b"\x7f",
            b"\x82ab",
            b"\xdf\xff",
            b"\xe0\x01c",
            b"\xf1\x00\x80",
            b"\xf2\xff\xff\x7f",
            b"\xf3\x00\x00\x00\x80",
            b"\xf4\xff\xff\xff\xff\xff\xff\xff\x7f",
            &long_entry,
        ],
    );
    let all: Result<Vec<_>, _> = entries(&listpack).collect();
    let number = Piece::Number;
    let expected = [
        number(127),
        Piece::Text(b"ab"),
        number(-1),
        Piece::Text(b"c"),
        number(-32768),
        number(8388607),
        number(-2147483648),
        number(i64::MAX),
        Piece::Text(&long),
    ];
    assert_eq!(all.as_deref(), Ok(expected.as_slice()));
}

#[test]
fn what_does_not_fit_together_is_damage() {
    let sound = listpack(1, &[b"\x82ab"]);
    assert_eq!(entries(&sound).count(), 1);
    for (place, byte, at) in [(4, 2, 10), (6, 0x81, 6), (6, 0x83, 6), (6, 0xf5, 6), (9, 4, 6), (10, 0, 10)] {
        let mut damaged = sound.clone();
        damaged[place] = byte;
        assert_eq!(entries(&damaged).last(), Some(Err(DamagedAt(at))), "byte {place}");
    }
    for cut in 0..sound.len() {
        assert!(matches!(entries(&sound[..cut]).last(), Some(Err(_))), "cut at {cut}");
    }
}

#[test]
fn lengths_at_the_limits_of_the_server() {
    for (length, bytes) in [
        (127, b"\x7f".as_slice()),
        (128, b"\x01\x80"),
        (16_382, b"\x7f\xfe"),
        (16_383, b"\x00\xff\xff"),
        (2_097_151, b"\x00\xff\xff\xff"),
        (268_435_455, b"\x00\xff\xff\xff\xff"),
    ] {
        let (tail, tail_bytes) = back_length(length);
        assert_eq!(&tail[..tail_bytes], bytes, "{length}");
    }
}

proptest! {
    #[test]
    fn numbers_survive(number in any::<i64>(), shift in 0u32..64) {
        let number = number >> shift;
        let mut out = vec![0, 0, 0, 0, 1, 0];
        write_number(&mut out, number);
        out.push(END);
        let all: Result<Vec<_>, _> = entries(&out).collect();
        prop_assert_eq!(all, Ok(vec![Piece::Number(number)]));
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(entries(&bytes).count() <= bytes.len() + 1);
    }
}
