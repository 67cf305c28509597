//! Tests of the reader: every entry, every kind of value, every cut, and arbitrary bytes.

use proptest::prelude::*;

use super::super::crc64::checksum;
use super::super::samples::samples;
use super::super::scan::write_length;
use super::super::{Repeats, loadable};
use super::*;

const REDIS: Version = Version { product: Product::Redis, number: 12 };
const VALKEY: Version = Version { product: Product::Valkey, number: 80 };

fn version_of(kind: Kind) -> Version {
    if kind == Kind::HashFieldsValkey { VALKEY } else { REDIS }
}

/// A file of this version with these entries and an end.
fn file(version: Version, entries: &[u8]) -> Vec<u8> {
    let mut file = version.to_string().into_bytes();
    file.extend(entries);
    file.push(opcode::END);
    file.extend(checksum(&file).to_le_bytes());
    file
}

fn items(file: &[u8]) -> Result<Vec<Item<'_>>, Fault> {
    Reader::new(file)?.map(|entry| entry.map(|entry| entry.item)).collect()
}

fn only_item(version: Version, entry: &[u8]) -> Result<Item<'static>, Fault> {
    let file = file(version, entry).leak();
    items(file).map(|mut items| items.swap_remove(0))
}

#[test]
fn every_kind_of_value_ends_where_it_ends() {
    let samples = samples();
    assert_eq!(samples.len(), 25, "one for every kind");
    for (kind, body, _) in samples {
        let version = version_of(kind);
        let entry = [&[kind.type_byte()], b"\x03key".as_slice(), &body].concat();
        let bytes = file(version, &[entry.as_slice(), b"\xfe\x05"].concat());
        let mut reader = Reader::new(&bytes).expect("a sound header");
        let value = reader.next().expect("an entry").expect("a sound value");
        assert_eq!(value.range, 9..9 + entry.len() as u64, "{}", kind.name());
        let object = Object { kind, body: &body, at: 14 };
        assert_eq!(object.module().as_deref(), (kind == Kind::Module).then_some("ReJSON-RL"));
        let key = Cow::Borrowed(b"key".as_slice());
        let expected = Value { key, object, deadline_ms: None, idle_s: None, freq: None, is_empty: false };
        assert_eq!(value.item, Item::Value(expected));
        assert_eq!(reader.next().map(|entry| entry.map(|entry| entry.item)), Some(Ok(Item::SelectDb(5))));
        // A reader that begins in the middle sees the same.
        let mut resumed = Reader::resume(&bytes, 9 + entry.len() as u64, 3, version);
        assert_eq!(resumed.db(), 3);
        assert_eq!(resumed.next().map(|entry| entry.map(|entry| entry.item)), Some(Ok(Item::SelectDb(5))));
        assert_eq!((resumed.db(), resumed.offset()), (reader.db(), reader.offset()));
    }
}

#[test]
fn every_cut_is_a_cut() {
    for (kind, body, _) in samples() {
        let version = version_of(kind);
        let entry =
            [b"\xfc\x09\0\0\0\0\0\0\0\xf9\x07".as_slice(), &[kind.type_byte()], b"\x03key", &body].concat();
        let whole = file(version, &entry);
        assert!(items(&whole).is_ok(), "{}", kind.name());
        for cut in 9..whole.len() {
            let fault = items(&whole[..cut]);
            assert!(
                matches!(fault, Err(Fault::Cut { at }) if at <= cut as u64),
                "{} cut at {cut}: {fault:?}",
                kind.name()
            );
        }
    }
}

#[test]
fn entries_that_are_not_values() {
    let text = |text: &'static str| Cow::Borrowed(text.as_bytes());
    for (entry, item) in [
        (b"\xfe\x0f".as_slice(), Item::SelectDb(15)),
        (b"\xfb\x05\x41\x00", Item::ResizeDb { keys: 5, deadlines: 256 }),
        (b"\xfa\x0aredis-bits\xc0\x40", Item::Aux { key: text("redis-bits"), value: text("64") }),
        (b"\xf5\x05#!lua", Item::Function(text("#!lua"))),
        (
            b"\xf7\x81\x45\xe2\x52\x38\xdf\x91\x2c\x03\x02\x02\x01\x07\x00",
            Item::ModuleAux { module: "ReJSON-RL".into() },
        ),
        (b"\xf4\x07\x02\x01", Item::SlotInfo { slot: 7, keys: 2, deadlines: 1 }),
    ] {
        assert_eq!(only_item(REDIS, entry), Ok(item));
    }
    let import = Item::SlotImport { job: text("job") };
    assert_eq!(only_item(VALKEY, b"\xf3\x03job\x02\x00\x05\x07\x09"), Ok(import));
}

#[test]
fn attributes_belong_to_the_value_behind_them() {
    let value = |entry: &[u8]| match only_item(REDIS, entry) {
        Ok(Item::Value(Value { deadline_ms, idle_s, freq, .. })) => (deadline_ms, idle_s, freq),
        other => panic!("{other:?}"),
    };
    assert_eq!(value(b"\xfc\xff\x00\0\0\0\0\0\0\x00\x01k\x01v"), (Some(255), None, None));
    assert_eq!(value(b"\xfd\x02\x00\0\0\xf8\x09\x00\x01k\x01v"), (Some(2000), Some(9), None));
    assert_eq!(value(b"\xf9\x07\xfd\xfe\xff\xff\xff\x00\x01k\x01v"), (Some(-2000), None, Some(7)));
    assert_eq!(value(b"\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01k\x01v"), (None, None, None));
}

#[test]
fn attributes_wait_for_the_next_value() {
    let between: &[u8] = b"\xfe\x03\xfa\x01a\x01b\xf8\x09\xfb\x01\x01\xf4\x00\x00\x00";
    let value = b"\x00\x01k\x01v";
    let bytes = file(REDIS, &[b"\xf8\x05\xfc\xff\0\0\0\0\0\0\0", between, value].concat());
    let mut reader = Reader::new(&bytes).expect("a sound header");
    let entry = reader.next().expect("there is one").expect("it is sound");
    let Item::Value(Value { deadline_ms, idle_s, .. }) = entry.item else { panic!("{entry:?}") };
    assert_eq!((deadline_ms, idle_s, reader.db()), (Some(255), Some(9), 3));
    assert_eq!(entry.range, 9..(9 + 11 + between.len() + value.len()) as u64);
    // Where none comes they are dropped; a library cannot be part of another entry.
    assert!(matches!(only_item(REDIS, b"\xf9\x07\xfe\x01"), Ok(Item::End { .. })));
    let library = only_item(REDIS, b"\xf9\x07\xf5\x01x\x00\x01k\x01v");
    assert!(matches!(library, Err(Fault::Damage { at: 11, .. })), "{library:?}");
}

#[test]
fn numbers_that_stand_for_an_error_are_damage() {
    let last = [0xff; 8];
    for start in [b"\xfb\x81".as_slice(), b"\xfb\x00\x81", b"\xf8\x81", b"\xfe\x81", b"\xf4\x00\x00\x81"] {
        let entry = [start, &last, b"\x00\x00\x00\x01k\x01v"].concat();
        assert!(matches!(only_item(REDIS, &entry), Err(Fault::Damage { .. })), "{start:x?}");
    }
    // The marks of special strings are numbers where no string can stand.
    let item = only_item(REDIS, b"\xfb\xc2\xff");
    assert_eq!(item, Ok(Item::ResizeDb { keys: 2, deadlines: 63 }));
    assert!(matches!(only_item(REDIS, b"\x01\x01k\xc1\x01v"), Ok(Item::Value(_))));
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let what = |version, entry: &[u8]| match only_item(version, entry) {
        Err(Fault::Unsupported { at: 9, what }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what(REDIS, b"\xf6"), "functions of a Redis 7.0 release candidate (byte 246)");
    assert_eq!(what(REDIS, b"\x06"), "a module value of a Redis 4.0 release candidate (byte 6)");
    assert_eq!(what(REDIS, b"\x1b"), "a type of value of Redis 8.6 or later (byte 27)");
    assert_eq!(what(REDIS, b"\xf3"), "an unknown type of value or opcode (byte 243)");
    assert_eq!(what(REDIS, b"\x6b"), "an unknown type of value or opcode (byte 107)");
    assert_eq!(what(VALKEY, b"\x18"), "an unknown type of value or opcode (byte 24)");
}

#[test]
fn the_end_holds_a_checksum_since_version_5() {
    let whole = file(REDIS, b"\xfe\x00");
    let end = Reader::new(&whole).expect("a header").last().expect("an end").expect("a sound end");
    assert_eq!(end.range, 11..20);
    assert_eq!(end.item, Item::End { crc: Some(checksum(&whole[..12])) });
    assert_eq!(items(b"REDIS0011\xff\0\0\0\0\0\0\0\0*1\r\n"), Ok(vec![Item::End { crc: None }]));
    assert_eq!(items(b"REDIS0004\xff"), Ok(vec![Item::End { crc: None }]));
    assert_eq!(items(b"REDIS0005\xff"), Err(Fault::Cut { at: 10 }));
}

#[test]
fn empty_aggregates_are_told() {
    let is_empty = |kind: Kind, body: &[u8]| {
        let entry = [&[kind.type_byte()], b"\x01k".as_slice(), body].concat();
        match only_item(version_of(kind), &entry) {
            Ok(Item::Value(value)) => value.is_empty,
            other => panic!("{} {other:?}", kind.name()),
        }
    };
    let listpack = b"\x07\x07\0\0\0\0\0\xff".as_slice();
    let uncounted = b"\x07\x07\0\0\0\xff\xff\xff".as_slice();
    let one = b"\x09\x09\0\0\0\x01\0\x07\x01\xff".as_slice();
    let one_uncounted = b"\x09\x09\0\0\0\xff\xff\x07\x01\xff".as_slice();
    let ziplist = b"\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff".as_slice();
    for (kind, body, expected) in [
        (Kind::String, b"\x00".as_slice(), false),
        (Kind::List, b"\x00", true),
        (Kind::Set, b"\x00", true),
        (Kind::SortedSet, b"\x00", true),
        (Kind::SortedSet2, b"\x00", true),
        (Kind::Hash, b"\x00", true),
        (Kind::ListZiplist, ziplist, true),
        (Kind::HashZiplist, ziplist, true),
        (Kind::SortedSetZiplist, ziplist, true),
        (Kind::ListQuicklist, b"\x00", true),
        (Kind::ListQuicklist, &[b"\x01", ziplist].concat(), true),
        (Kind::ListQuicklist2, &[b"\x02\x02", listpack, b"\x02", uncounted].concat(), true),
        (Kind::ListQuicklist2, &[b"\x02\x02", listpack, b"\x02", one].concat(), false),
        (Kind::ListQuicklist2, &[b"\x02\x02", one, b"\x02", listpack].concat(), false),
        (Kind::SetListpack, listpack, true),
        (Kind::SetListpack, uncounted, true),
        (Kind::SetListpack, one_uncounted, false),
        (Kind::HashListpack, one, true),
        (Kind::HashListpack, one_uncounted, true),
        (Kind::SortedSetListpack, listpack, true),
        (Kind::HashFields, b"\0\0\0\0\0\0\0\0\x00", true),
        (Kind::HashFieldsListpack, &[b"\0\0\0\0\0\0\0\0", listpack].concat(), true),
        (Kind::HashFieldsEarly, b"\x00", true),
        (Kind::HashFieldsValkey, b"\x00", true),
        (Kind::Stream, b"\x00\x00\x00\x00\x00", false),
    ] {
        assert_eq!(is_empty(kind, body), expected, "{} {body:x?}", kind.name());
    }
}

#[test]
fn frames_of_compact_encodings_are_checked() {
    for (kind, body) in [
        (Kind::SetListpack, b"\x07\x08\0\0\0\0\0\xff".as_slice()),
        (Kind::SetListpack, b"\x07\x07\0\0\0\0\0\xfe"),
        (Kind::SetListpack, b"\x06\x06\0\0\0\0\0"),
        (Kind::SetListpack, b"\xc0\x07"),
        (Kind::HashZiplist, b"\x0b\x0c\0\0\0\x0a\0\0\0\0\0\xff"),
        (Kind::HashZiplist, b"\x0b\x0b\0\0\0\x0b\0\0\0\0\0\xff"),
        (Kind::SetIntset, b"\x08\x02\0\0\0\0\0\0\0"),
        (Kind::SetIntset, b"\x0a\x03\0\0\0\x01\0\0\0\0\0"),
        (Kind::HashZipmap, b"\x02\x00\xff"),
        (Kind::ListQuicklist2, b"\x01\x03\x01x"),
        (Kind::ListQuicklist2, b"\x01\x01\x00"),
        (Kind::SortedSet, b"\x01\x01a\xfd"),
        (Kind::Stream, b"\x01\x0f123456789012345\x00"),
    ] {
        let entry = [&[kind.type_byte()], b"\x01k".as_slice(), body].concat();
        let fault = only_item(REDIS, &entry);
        assert!(matches!(fault, Err(Fault::Damage { at: 12.., .. })), "{} {body:x?}: {fault:?}", kind.name());
    }
}

#[test]
fn a_fault_is_told_once() {
    let mut reader = Reader::resume(b"", 7, 0, REDIS);
    assert_eq!(reader.next(), Some(Err(Fault::Cut { at: 0 })));
    assert_eq!(reader.next(), None);
}

/// A string in one of its forms, or what is not quite one.
fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let plain = prop::collection::vec(any::<u8>(), 0..70).prop_map(|bytes| {
        let mut text = Vec::new();
        write_length(&mut text, bytes.len() as u64);
        [text, bytes].concat()
    });
    let packed = Just(b"\xc3\x06\x0a\x02abc\xa0\x02".to_vec());
    let number = (0xc0..=0xc2u8, any::<[u8; 4]>()).prop_map(|(form, bytes)| {
        let width = 1 << (form & 3);
        [&[form], &bytes[..width]].concat()
    });
    let others = prop::collection::vec(any::<u8>(), 0..12);
    prop_oneof![4 => plain, 1 => packed, 1 => number, 1 => others]
}

proptest! {
    /// The quick way gives what the general one gives, or leaves the entry to it.
    #[test]
    fn short_strings_are_read_as_all_entries_are(
        entry in (prop_oneof![9 => Just(STRING), 1 => any::<u8>()], any_text(), any_text()),
        cut in 0..12usize,
    ) {
        let (type_byte, key, body) = entry;
        let bytes = [&[type_byte], key.as_slice(), &body].concat();
        let bytes = &bytes[..bytes.len().saturating_sub(cut.saturating_sub(8))];
        let mut quick = Reader::resume(bytes, 0, 0, REDIS);
        let mut general = quick.clone();
        if let Some(value) = quick.short_string() {
            prop_assert!(!value.object.is_bare() || loadable::check(&value.object, &mut Repeats::default()).is_ok());
            let range = 0..quick.offset();
            prop_assert_eq!(general.next(), Some(Ok(Entry { range, item: Item::Value(value.clone()) })));
            let string = value.object.string();
            for limit in [0, 1, 11, 12, 64, string.as_ref().map_or(5, |string| string.as_ref().map_or(5, |s| s.len()))] {
                let shorter = text(value.object.body).is_ok_and(|(_, text)| text.len().is_some_and(|len| len < limit));
                prop_assert_eq!(value.object.is_string_below(limit), shorter);
            }
        } else {
            prop_assert_eq!(quick.offset(), 0);
            let plain = type_byte == STRING && key.first().is_some_and(|first| *first < 0x80);
            let short = body.first().is_some_and(|first| *first < 0x80 || (0xc0..0xc3).contains(first));
            prop_assert!(!(plain && short && matches!(general.next(), Some(Ok(_)))));
        }
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300), is_valkey in any::<bool>()) {
        let bytes = file(if is_valkey { VALKEY } else { REDIS }, &bytes);
        let mut end = 9;
        for entry in Reader::new(&bytes).expect("a header") {
            match entry {
                Ok(entry) => {
                    prop_assert_eq!(entry.range.start, end);
                    prop_assert!(entry.range.end > end && entry.range.end <= bytes.len() as u64);
                    end = entry.range.end;
                }
                Err(Fault::Cut { at } | Fault::Damage { at, .. } | Fault::Unsupported { at, .. }) => {
                    prop_assert!(at >= end && at <= bytes.len() as u64);
                }
            }
        }
    }

    #[test]
    fn flipped_values_give_an_answer(sample in 0usize..25, flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let (kind, mut body, _) = samples().swap_remove(sample);
        for (place, byte) in flips {
            let place = place.index(body.len());
            body[place] = byte;
        }
        let entry = [&[kind.type_byte()], b"\x01k".as_slice(), &body].concat();
        for item in items(&file(version_of(kind), &entry)).into_iter().flatten() {
            if let Item::Value(value) = item {
                let _ = super::super::loadable::check(&value.object, &mut super::super::Repeats::default());
                let _ = super::super::fields::shift(&value.object, &|deadline| deadline.checked_add(1_000_000));
            }
        }
    }
}
