//! Tests of lengths and strings.

use super::*;
use proptest::prelude::*;

#[test]
fn lengths_of_every_width() {
    for (input, expected) in [
        (b"\x3f".as_slice(), 63),
        (b"\x41\x02", 258),
        (b"\x80\x00\x01\x00\x00", 65536),
        (b"\x81\x80\x00\x00\x00\x00\x00\x00\x01", (1 << 63) + 1),
    ] {
        assert_eq!(length(input), Ok((b"".as_slice(), expected)));
    }
    for input in [b"".as_slice(), b"\x41", b"\x80\x00\x00\x00", b"\x81\x00\x00\x00\x00\x00\x00\x00"] {
        assert!(matches!(length(input), Err(nom::Err::Error(Bad { why: Why::Cut, .. }))), "{input:x?}");
    }
    assert!(matches!(length(b"\x82"), Err(nom::Err::Error(Bad { why: Why::Damage(_), left: 1 }))));
}

#[test]
fn strings_of_every_form() {
    for (input, expected) in [
        (b"\x03abc".as_slice(), b"abc".as_slice()),
        (b"\x00", b""),
        (b"\xc0\xff", b"-1"),
        (b"\xc1\xe8\x03", b"1000"),
        (b"\xc2\x00\x00\x00\x80", b"-2147483648"),
        (b"\xc3\x06\x0a\x02abc\xa0\x02", b"abcabcabca"),
    ] {
        assert_eq!(string(input), Ok((b"".as_slice(), Cow::Borrowed(expected))), "{input:x?}");
        for cut in 0..input.len() {
            let cut = string(&input[..cut]);
            assert!(matches!(cut, Err(nom::Err::Error(Bad { why: Why::Cut, .. }))), "{input:x?}");
        }
    }
    for input in [b"\xc4".as_slice(), b"\xff", b"\x82", b"\xc3\x03\x05\x01ab", b"\xc3\x01\x01\xff"] {
        assert!(matches!(string(input), Err(nom::Err::Error(Bad { why: Why::Damage(_), .. }))), "{input:x?}");
    }
}

proptest! {
    #[test]
    fn lengths_survive(value in any::<u64>(), shift in 0u32..64) {
        let value = value >> shift;
        let mut out = Vec::new();
        write_length(&mut out, value);
        prop_assert_eq!(length(&out), Ok((b"".as_slice(), value)));
    }
}
