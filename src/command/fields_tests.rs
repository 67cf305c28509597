//! Tests of shifting the deadlines of hash fields in commands.

use super::*;
use crate::command::deadline::{self, OFFSET_FAR_MS, OFFSET_NEAR_MS};
use crate::command::lookup;

const NOW_MS: i64 = 1_000_000;

/// Shows the shifted command with the offset written as `+`.
fn shown(command: &str, offset_ms: i64) -> String {
    let arguments: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
    let spec = lookup(arguments[0]).expect("a known command");
    assert!(spec.takes(arguments.len() as u32), "{command}");
    match deadline::shift(spec.rewrite, &arguments, Clock { now_ms: NOW_MS, offset_ms }) {
        Shifted::AsItStands => "as it stands".into(),
        Shifted::Refused(deadline) => format!("refused as a key's {deadline}"),
        Shifted::FieldRefused(deadline) => format!("refused {deadline}"),
        Shifted::Changed(out, _) => {
            let show = |argument: &Cow<'_, [u8]>| match integer(argument) {
                Some(value) if value >= FIELD_OFFSET_MS => format!("+{}", value - FIELD_OFFSET_MS),
                _ => String::from_utf8_lossy(argument).into_owned(),
            };
            out.iter().map(show).collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn every_form_is_shifted() {
    let cases = [
        ("HPEXPIREAT h 5 FIELDS 1 f", "HPEXPIREAT h +5 FIELDS 1 f"),
        ("hpexpireat h 0 nx FIELDS 2 f NX", "HPEXPIREAT h +0 nx FIELDS 2 f NX"),
        ("HEXPIREAT h 5 GT FIELDS 1 f", "HPEXPIREAT h +5000 GT FIELDS 1 f"),
        ("HPEXPIRE h 5 LT FIELDS 1 f", "HPEXPIREAT h +1000005 LT FIELDS 1 f"),
        ("HEXPIRE h 5 XX FIELDS 1 f", "HPEXPIREAT h +1005000 XX FIELDS 1 f"),
        ("HEXPIRE h 0 FIELDS 1 f", "HPEXPIREAT h +1000000 FIELDS 1 f"),
        // What follows the deadline is the server's to judge.
        ("HPEXPIREAT h 5 NX GT FIELDS 1 f", "HPEXPIREAT h +5 NX GT FIELDS 1 f"),
        ("HPEXPIREAT h 5 FIELDS 9 f", "HPEXPIREAT h +5 FIELDS 9 f"),
        ("HSETEX h PXAT 5 FIELDS 1 f v", "HSETEX h PXAT +5 FIELDS 1 f v"),
        ("HSETEX h FNX exat 5 FIELDS 1 f v", "HSETEX h FNX PXAT +5000 FIELDS 1 f v"),
        ("HSETEX h EX 5 FXX FIELDS 1 f v", "HSETEX h PXAT +1005000 FXX FIELDS 1 f v"),
        ("HSETEX h PX 0 FIELDS 1 f v", "HSETEX h PXAT +1000000 FIELDS 1 f v"),
        ("HSETEX h KEEPTTL FIELDS 1 f v", "as it stands"),
        ("HSETEX h FIELDS 1 f v", "as it stands"),
        ("HSETEX h FIELDS 1 EX 5", "as it stands"),
        ("HSETEX h KEEPTTL FIELDS 2 PX 7 EX 5", "as it stands"),
        ("HSETEX h PX 7 FIELDS 2 PX 7 EX 5", "HSETEX h PXAT +1000007 FIELDS 2 PX 7 EX 5"),
        // A key may be called like an option.
        ("HSETEX PX PX 7 FIELDS 1 f v", "HSETEX PX PXAT +1000007 FIELDS 1 f v"),
        ("HSETEX fields PX 7 FIELDS 1 f v", "HSETEX fields PXAT +1000007 FIELDS 1 f v"),
        // Behind the fields, where some servers may take it.
        ("HSETEX h FIELDS 1 f v PX 7", "HSETEX h FIELDS 1 f v PXAT +1000007"),
        ("HGETEX h PXAT 9 FIELDS 1 f", "HGETEX h PXAT +9 FIELDS 1 f"),
        ("HGETEX h EX 9 FIELDS 2 PX 5", "HGETEX h PXAT +1009000 FIELDS 2 PX 5"),
        ("HGETEX h PERSIST FIELDS 1 f", "as it stands"),
        ("HGETEX h FIELDS 2 EX 5", "as it stands"),
        ("HGETEX h FIELDS 1 f PX 7", "HGETEX h FIELDS 1 f PXAT +1000007"),
    ];
    for (command, expected) in cases {
        for offset_ms in [OFFSET_NEAR_MS, OFFSET_FAR_MS] {
            assert_eq!(shown(command, offset_ms), expected, "{command}");
        }
    }
}

#[test]
fn what_servers_reject_stays_as_it_stands() {
    let rejected = [
        "HPEXPIREAT h x FIELDS 1 f",
        "HPEXPIREAT h 05 FIELDS 1 f",
        "HPEXPIREAT h +5 FIELDS 1 f",
        "HPEXPIREAT h -1 FIELDS 1 f",
        "HEXPIRE h -5 FIELDS 1 f",
        "HPEXPIREAT h 9223372036854775808 FIELDS 1 f",
        "HEXPIREAT h 9223372036854776 FIELDS 1 f",
        "HPEXPIRE h 9223372036854775807 FIELDS 1 f",
        "HSETEX h PX x FIELDS 1 f v",
        "HSETEX h PX -1 FIELDS 1 f v",
        "HSETEX h PX 5 EX 5 FIELDS 1 f v",
        "HSETEX h PX FIELDS 1 f v",
        "HSETEX h PX 5 FIELDS 2 f v",
        "HSETEX h PX 5 FIELDS x f v",
        "HSETEX h PX 5 FIELDS -1 f v",
        "HSETEX h PX 5 FIELDS 9223372036854775807 f v",
        "HSETEX h FIELDS 1 f v PX",
        "HGETEX h PX 5 PXAT 5 FIELDS 1 f",
        "HGETEX h PX FIELDS 1 f",
        "HGETEX h EX 5 FIELDS 2 f",
    ];
    for command in rejected {
        assert_eq!(shown(command, OFFSET_NEAR_MS), "as it stands", "{command}");
    }
}

#[test]
fn deadlines_from_the_offset_to_twice_the_offset_are_refused() {
    let cases = [
        ("HPEXPIREAT h 34999999999999 FIELDS 1 f", "HPEXPIREAT h +34999999999999 FIELDS 1 f"),
        ("HPEXPIREAT h 35000000000000 FIELDS 1 f", "refused 35000000000000"),
        ("HEXPIREAT h 35000000000 FIELDS 1 f", "refused 35000000000000"),
        ("HPEXPIRE h 34999998999999 FIELDS 1 f", "HPEXPIREAT h +34999999999999 FIELDS 1 f"),
        ("HPEXPIRE h 34999999000000 FIELDS 1 f", "refused 35000000000000"),
        ("HSETEX h PXAT 35000000000000 FIELDS 1 f v", "refused 35000000000000"),
        ("HGETEX h EXAT 35000000000 FIELDS 1 f", "refused 35000000000000"),
        ("HPEXPIREAT h 69999999999999 FIELDS 1 f", "refused 69999999999999"),
        // Shown as if the offset had been added.
        ("HPEXPIREAT h 70000000000000 FIELDS 1 f", "HPEXPIREAT h +35000000000000 FIELDS 1 f"),
        ("HEXPIRE h 69999999000 FIELDS 1 f", "HPEXPIREAT h +35000000000000 FIELDS 1 f"),
        ("HPEXPIREAT h 9223372036854775807 FIELDS 1 f", "HPEXPIREAT h +9223337036854775807 FIELDS 1 f"),
    ];
    for (command, expected) in cases {
        assert_eq!(shown(command, OFFSET_NEAR_MS), expected, "{command}");
    }
}

#[test]
fn without_an_offset_only_relative_deadlines_change() {
    let cases = [
        ("HEXPIRE h 5 FIELDS 1 f", "HPEXPIREAT h 1005000 FIELDS 1 f", true),
        ("HPEXPIREAT h 5 FIELDS 1 f", "HPEXPIREAT h 5 FIELDS 1 f", false),
        ("HSETEX h EX 5 FIELDS 1 f v", "HSETEX h PXAT 1005000 FIELDS 1 f v", true),
        ("HSETEX h PXAT 5 FIELDS 1 f v", "HSETEX h PXAT 5 FIELDS 1 f v", false),
        ("HGETEX h PX 5 FIELDS 1 f", "HGETEX h PXAT 1000005 FIELDS 1 f", true),
    ];
    for (command, expected, relative) in cases {
        let arguments: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let spec = lookup(arguments[0]).expect("a known command");
        assert_eq!(deadline::is_relative(spec.rewrite, &arguments), relative, "{command}");
        assert_eq!(shown(command, 0), expected, "{command}");
    }
}

/// The fields of a hash in Valkey's form: name, value, deadline (-1: none).
fn body(deadlines_ms: &[i64]) -> Vec<u8> {
    let mut body = vec![deadlines_ms.len() as u8];
    for (at, deadline) in deadlines_ms.iter().enumerate() {
        body.extend([1, b'a' + at as u8, 1, b'v']);
        body.extend(deadline.to_le_bytes());
    }
    body
}

fn restore(payload: &[u8], time: &str, offset_ms: i64) -> Option<(Vec<Vec<u8>>, i64)> {
    let arguments = [b"RESTORE".as_slice(), b"h", time.as_bytes(), payload, b"REPLACE"];
    let rewrite = lookup(arguments[0]).expect("a known command").rewrite;
    match deadline::shift(rewrite, &arguments, Clock { now_ms: NOW_MS, offset_ms }) {
        Shifted::Changed(out, deadline) => Some((out.into_iter().map(Cow::into_owned).collect(), deadline)),
        Shifted::AsItStands => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn deadlines_inside_payloads_are_shifted() {
    let kind = Kind::HashFieldsValkey;
    let payload = payload::payload(kind, &body(&[7, -1, 12]));
    let moved = payload::payload(kind, &body(&[FIELD_OFFSET_MS + 7, -1, FIELD_OFFSET_MS + 12]));
    let texts = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
    let plain = texts(&[b"RESTORE", b"h", b"0", &moved, b"REPLACE"]);
    assert_eq!(restore(&payload, "0", OFFSET_NEAR_MS), Some((plain, 12)));
    // The key's own deadline is the one that tells how far keys' are moved.
    let at = (OFFSET_NEAR_MS + NOW_MS + 5).to_string();
    let both = texts(&[b"RESTORE", b"h", at.as_bytes(), &moved, b"REPLACE", b"ABSTTL"]);
    assert_eq!(restore(&payload, "5", OFFSET_NEAR_MS), Some((both, NOW_MS + 5)));
    // All deadlines in a payload are absolute.
    let key_alone = texts(&[b"RESTORE", b"h", b"1000005", &payload, b"REPLACE", b"ABSTTL"]);
    assert_eq!(restore(&payload, "5", 0), Some((key_alone, NOW_MS + 5)));
    assert_eq!(restore(&payload, "0", 0), None);
    assert_eq!(restore(&payload, "-1", OFFSET_NEAR_MS), None);
    assert_eq!(restored(&[b"RESTORE", b"h", b"0", &payload]), Some(kind));
}

#[test]
fn payloads_that_no_server_takes_stay_as_they_stand() {
    let good = payload::payload(Kind::HashFieldsValkey, &body(&[7]));
    let mut bad_sum = good.clone();
    *bad_sum.last_mut().expect("a byte") ^= 1;
    let mut bad_body = good[..good.len() - payload::FOOTER_BYTES].to_vec();
    bad_body.pop();
    let bad_body = payload::payload(Kind::HashFieldsValkey, &bad_body[1..]);
    let without = payload::payload(Kind::HashFieldsValkey, &body(&[-1]));
    let other = payload::payload(Kind::Hash, b"\x01\x01f\x01v");
    for payload in [bad_sum, bad_body, without, other, good[..5].to_vec(), vec![22], Vec::new()] {
        assert_eq!(restore(&payload, "0", OFFSET_NEAR_MS), None, "{payload:?}");
    }
}

#[test]
fn payloads_with_deadlines_past_the_offset_are_refused() {
    for (deadline, kind) in [(FIELD_OFFSET_MS, Kind::HashFieldsValkey), (-5, Kind::HashFieldsValkey)] {
        let payload = payload::payload(kind, &body(&[7, deadline]));
        let arguments = [b"RESTORE".as_slice(), b"h", b"0", &payload];
        let rewrite = lookup(arguments[0]).expect("a known command").rewrite;
        let clock = Clock { now_ms: NOW_MS, offset_ms: OFFSET_NEAR_MS };
        assert_eq!(deadline::shift(rewrite, &arguments, clock), Shifted::FieldRefused(deadline));
    }
}

#[test]
fn deadlines_are_put_back_and_keep_their_order() {
    let deadlines =
        [0, 1, 1_600_000_000_000, FIELD_OFFSET_MS - 1, STAYS_FROM_MS, STAYS_FROM_MS + 1, i64::MAX];
    let moved: Vec<i64> = deadlines.iter().filter_map(|deadline| while_loading(*deadline)).collect();
    assert_eq!(moved.len(), deadlines.len());
    assert!(moved.is_sorted_by(|one, other| one < other) && moved[0] == FIELD_OFFSET_MS, "{moved:?}");
    for (before, moved) in deadlines.iter().zip(moved) {
        assert_eq!(before_loading(moved).unwrap_or(moved), *before);
    }
    assert_eq!(before_loading(FIELD_OFFSET_MS - 1), None);
    assert_eq!([FIELD_OFFSET_MS, STAYS_FROM_MS - 1].map(while_loading), [None; 2]);
}
