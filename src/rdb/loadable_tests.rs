//! Tests of what is refused of a value, and of what stands twice.

use super::super::samples::samples;
use super::super::scan::write_length;
use super::*;

fn checked(kind: Kind, body: &[u8]) -> Result<(), Fault> {
    check(&Object { kind, body, at: 100 }, &mut Repeats::default())
}

fn assert_twice(kind: Kind, body: &[u8], name: &str) {
    let found = format!("{name} twice");
    match checked(kind, body) {
        Err(Fault::Damage { at: 100, found: twice, .. }) => assert_eq!(twice, found, "{}", kind.name()),
        other => panic!("{}: {other:?}", kind.name()),
    }
}

/// A string as it is stored.
fn stored(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_length(&mut out, text.len() as u64);
    out.extend(text);
    out
}

/// A count, and that many of what `each` gives.
fn counted(count: usize, each: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    write_length(&mut out, count as u64);
    (0..count).for_each(|nth| out.extend(each(nth)));
    out
}

/// A listpack of short texts, with this count in its header, as it is stored.
fn packed(texts: &[String], count: usize) -> Vec<u8> {
    let entries: Vec<u8> = texts
        .iter()
        .flat_map(|text| [&[0x80 | text.len() as u8], text.as_bytes(), &[1 + text.len() as u8]].concat())
        .collect();
    let total = (entries.len() + 7) as u32;
    stored(&[&total.to_le_bytes()[..], &(count as u16).to_le_bytes(), &entries, b"\xff"].concat())
}

/// `count` names, of which the last is the first again, each followed by `1` if there is something to it.
fn repeating(count: usize, with: bool) -> Vec<String> {
    let names = (0..count).map(|nth| format!("m{}", nth % (count - 1)));
    names.flat_map(|name| if with { vec![name, "1".to_owned()] } else { vec![name] }).collect()
}

#[test]
fn sound_values_of_every_kind() {
    for (kind, body, _) in samples() {
        assert_eq!(checked(kind, &body), Ok(()), "{}", kind.name());
    }
}

#[test]
fn what_servers_convert_must_not_have_a_member_twice() {
    for count in [2, 3, 100, 600, 70_000] {
        let name = |nth: usize| stored(format!("m{}", nth % (count - 1)).as_bytes());
        assert_twice(Kind::Set, &counted(count, name), "m0");
        assert_twice(Kind::SortedSet, &counted(count, |nth| [name(nth), stored(b"1")].concat()), "m0");
        assert_twice(Kind::SortedSet2, &counted(count, |nth| [name(nth), vec![0; 8]].concat()), "m0");
        let once = |nth: usize| stored(format!("m{nth}").as_bytes());
        assert_eq!(checked(Kind::Set, &counted(count, once)), Ok(()));
    }
    // A number that is stored as one and one that is stored as text are the same member.
    assert_twice(Kind::Set, b"\x03\xc0\x07\x01a\x017", "7");
    assert_eq!(checked(Kind::Set, b"\x02\x017\x0207"), Ok(()));
    assert_twice(
        Kind::HashZipmap,
        b"\x02\x01a\x01\x001\x01a\x01\x002\xff".as_slice().stored().as_slice(),
        "a",
    );
    let twice = b"\x13\0\0\0\x0f\0\0\0\x04\0\x00\x01a\x03\xf1\x02\x01a\x03\xf1\xff";
    let mut ziplist = twice.to_vec();
    ziplist[0] = ziplist.len() as u8;
    ziplist[4] = ziplist.len() as u8 - 3;
    assert_twice(Kind::HashZiplist, &stored(&ziplist), "a");
    assert_twice(Kind::SortedSetZiplist, &stored(&ziplist), "a");
}

trait Stored {
    fn stored(&self) -> Vec<u8>;
}

impl Stored for &[u8] {
    fn stored(&self) -> Vec<u8> {
        stored(self)
    }
}

#[test]
fn what_servers_keep_as_it_stands_may() {
    for (kind, with, most) in [
        (Kind::SetListpack, false, SET_LISTPACK_MAX),
        (Kind::SortedSetListpack, true, SORTED_SET_LISTPACK_MAX),
        (Kind::HashListpack, true, HASH_LISTPACK_MAX),
    ] {
        let body = |count: usize| {
            let texts = repeating(count, with);
            packed(&texts, texts.len())
        };
        assert_eq!(checked(kind, &body(2)), Ok(()), "{}", kind.name());
        assert_eq!(checked(kind, &body(most)), Ok(()), "{}", kind.name());
        assert_twice(kind, &body(most + 1), "m0");
    }
    let intset = |count: usize| {
        let members = (0..count).flat_map(|nth| ((nth % (count - 1)) as u16).to_le_bytes());
        let header = [2u32.to_le_bytes(), (count as u32).to_le_bytes()].concat();
        stored(&header.into_iter().chain(members).collect::<Vec<_>>())
    };
    assert_eq!(checked(Kind::SetIntset, &intset(INTSET_MAX)), Ok(()));
    assert_twice(Kind::SetIntset, &intset(INTSET_MAX + 1), "0");
}

#[test]
fn a_hash_is_kept_while_it_is_short() {
    let field = |count: usize, nth: usize| stored(format!("m{}", nth % (count - 1)).as_bytes());
    let hash = |count: usize| counted(count, |nth| [field(count, nth), stored(b"v")].concat());
    assert_eq!(checked(Kind::Hash, &hash(HASH_LISTPACK_MAX)), Ok(()));
    assert_twice(Kind::Hash, &hash(HASH_LISTPACK_MAX + 1), "m0");
    let value = |nth: usize, bytes: usize| stored(&vec![b'v'; if nth == 1 { bytes } else { 1 }]);
    let hash = |bytes: usize| counted(3, |nth| [field(3, nth), value(nth, bytes)].concat());
    assert_eq!(checked(Kind::Hash, &hash(LISTPACK_VALUE_MAX)), Ok(()));
    assert_twice(Kind::Hash, &hash(LISTPACK_VALUE_MAX + 1), "m0");
    let early = |bytes: usize| counted(3, |nth| [vec![0], field(3, nth), value(nth, bytes)].concat());
    assert_eq!(checked(Kind::HashFieldsEarly, &early(LISTPACK_VALUE_MAX)), Ok(()));
    assert_twice(Kind::HashFieldsEarly, &early(LISTPACK_VALUE_MAX + 1), "m0");
    let fields = |bytes: usize| [vec![0; 8], early(bytes)].concat();
    assert_twice(Kind::HashFields, &fields(LISTPACK_VALUE_MAX + 1), "m0");
}

#[test]
fn a_listpack_that_is_kept_is_not_looked_into() {
    let texts: Vec<String> = ["f", "v", "g"].map(str::to_owned).to_vec();
    for count in [0, 1, 3, 100] {
        assert_eq!(checked(Kind::HashListpack, &packed(&texts, count)), Ok(()), "{count}");
        assert_eq!(
            checked(Kind::ListQuicklist2, &[b"\x01\x02", packed(&texts, count).as_slice()].concat()),
            Ok(())
        );
    }
    // One that is converted is: a field without a value.
    assert!(checked(Kind::HashListpack, &packed(&texts, 2000)).is_err());
    // The server has to count it itself.
    let mut past_the_end = packed(&texts, 65535);
    assert_eq!(checked(Kind::HashListpack, &past_the_end), Ok(()));
    past_the_end[7] = 0xbf;
    assert!(checked(Kind::HashListpack, &past_the_end).is_err());
    past_the_end[5..7].copy_from_slice(&3u16.to_le_bytes());
    assert_eq!(checked(Kind::HashListpack, &past_the_end), Ok(()));
}

#[test]
fn scores_are_read_where_a_server_reads_them() {
    for (text, is_sound) in [("1.5x", true), ("0x10", true), ("nan", false), ("abc", false), ("", false)] {
        let body = counted(1, |_| [stored(b"m"), stored(text.as_bytes())].concat());
        assert_eq!(checked(Kind::SortedSet, &body).is_ok(), is_sound, "{text}");
        let pairs = |count: usize| {
            let pairs = (0..count).flat_map(|nth| [format!("m{nth}"), text.to_owned()]);
            packed(&pairs.collect::<Vec<_>>(), 2 * count)
        };
        assert_eq!(checked(Kind::SortedSetListpack, &pairs(SORTED_SET_LISTPACK_MAX)), Ok(()), "{text}");
        let is_taken = checked(Kind::SortedSetListpack, &pairs(SORTED_SET_LISTPACK_MAX + 1)).is_ok();
        assert_eq!(is_taken, text != "nan", "{text}");
    }
    let nan = [b"\x01\x01m".as_slice(), &f64::NAN.to_le_bytes()].concat();
    assert!(checked(Kind::SortedSet2, &nan).is_err());
}

/// More members than are looked at in one go, in a value whose members differ in a few bytes.
#[test]
fn a_large_set_is_looked_at_in_shares() {
    let count = (1 << 22) + 10;
    let set = |last: u32| {
        counted(count, |nth| {
            let member = if nth + 1 == count { last } else { nth as u32 };
            [b"\x04".as_slice(), &member.to_le_bytes()].concat()
        })
    };
    assert_eq!(checked(Kind::Set, &set(u32::MAX)), Ok(()));
    assert!(matches!(checked(Kind::Set, &set(4711)), Err(Fault::Damage { .. })));
}

/// Fields, and a deadline of eight bytes for each, as they are stored.
fn with_deadlines(count: usize, deadline: i64) -> Vec<u8> {
    let triple = [b"\x81f\x02\x81v\x02\xf4".as_slice(), &deadline.to_le_bytes(), b"\x09"].concat();
    let entries = triple.repeat(count);
    let total = (entries.len() + 7) as u32;
    stored(&[&total.to_le_bytes()[..], &(3 * count as u16).to_le_bytes(), &entries, b"\xff"].concat())
}

#[test]
fn deadlines_may_be_as_late_as_they_like_while_their_listpack_is_kept() {
    let kind = Kind::HashFieldsListpackEarly;
    for deadline in [0, 1, (1 << 48) - 1, 1 << 48, i64::MAX] {
        assert_eq!(checked(kind, &with_deadlines(1, deadline)), Ok(()), "{deadline}");
        assert_eq!(checked(kind, &with_deadlines(512, deadline)), Ok(()), "{deadline}");
    }
    let expected = |deadline| match checked(kind, &with_deadlines(513, deadline)) {
        Err(Fault::Damage { expected, .. }) => expected,
        other => panic!("{other:?}"),
    };
    assert_eq!(expected((1 << 48) - 1), "members or fields that stand once in the value");
    assert_eq!(expected(1 << 48), "fields with deadlines below 2^48");
    for deadline in [-1, i64::MIN] {
        assert!(checked(kind, &with_deadlines(1, deadline)).is_err(), "{deadline}");
    }
}
