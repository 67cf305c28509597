//! Tests over files that real servers wrote (testdata/rdb): the same keys in different encodings.

use std::collections::BTreeMap;

use super::samples::shown;
use super::*;

const FILES: [(&str, &[u8]); 6] = [
    ("redis-6.2", include_bytes!("../../testdata/rdb/redis-6.2.rdb")),
    ("redis-6.2-large", include_bytes!("../../testdata/rdb/redis-6.2-large.rdb")),
    ("redis-7.0", include_bytes!("../../testdata/rdb/redis-7.0.rdb")),
    ("redis-8.0", include_bytes!("../../testdata/rdb/redis-8.0.rdb")),
    ("redis-8.0-large", include_bytes!("../../testdata/rdb/redis-8.0-large.rdb")),
    ("valkey-9.1", include_bytes!("../../testdata/rdb/valkey-9.1.rdb")),
];

/// Every key of the files, and its elements in the order of their text.
const KEYS: [(u64, &str, &str); 15] = [
    (0, "compressed", "piece abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabca… (180 bytes)"),
    (0, "expires", "piece soon"),
    (0, "hash", "f=v, g=12"),
    (0, "list", r"item a, item -5, item 70000, item \xff\r"),
    (0, "list of larger ones", "item xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, item y"),
    (0, "number", "piece -12345"),
    (0, "numbers", "member -1, member 5, member 70000"),
    (
        0,
        "set",
        "member 7, member a, member abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabca… (90 bytes)",
    ),
    (0, "sorted set", "-inf b, 1.5 a, 3 c"),
    (0, "stream", "1-1 f v1, 3-1 f v3, Some(3) added, last 3-1"),
    (0, "string", "piece plain"),
    (3, "deadlines", "f=v@4000000000000, g=w, h=x@4000000077777"),
    (3, "letters", "member a, member b, member c, member d"),
    (3, "pairs", "a=1, b=2, c=3, d=4"),
    (3, "thirds", "0.3333333333333333 a, 0.6666666666666666 b, 1 c, 1.3333333333333333 d"),
];

/// The elements of a value; sets and hashes have no order of their own.
fn elements(value: &Value<'_>) -> String {
    let object = &value.object;
    match shown(object) {
        Ok(elements) if object.kind.name().starts_with("list") => elements,
        Ok(elements) => {
            // How a consumer is written depends on the version.
            let is_same = |element: &&str| !element.starts_with("a stream of");
            let mut sorted: Vec<&str> = elements.split(", ").filter(is_same).collect();
            sorted.sort_unstable();
            sorted.join(", ")
        }
        Err(fault) => panic!("{fault}"),
    }
}

#[test]
fn every_server_gives_the_same_elements() {
    for (name, file) in FILES {
        let mut found = BTreeMap::new();
        let mut reader = Reader::new(file).expect("a sound header");
        let mut functions = 0;
        while let Some(entry) = reader.next() {
            let entry = entry.expect("a sound entry");
            match &entry.item {
                Item::Value(value) => {
                    assert_eq!(loadable::check(&value.object, &mut Repeats::default()), Ok(()), "{name}");
                    assert_eq!(value.deadline_ms, (*value.key == *b"expires").then_some(4_000_000_000_000));
                    let key = String::from_utf8_lossy(&value.key).into_owned();
                    found.insert((reader.db(), key), elements(value));
                }
                Item::Function(source) => {
                    assert!(source.starts_with(b"#!lua name=library\n"));
                    functions += 1;
                }
                Item::End { crc } => {
                    assert_eq!(entry.range.end, file.len() as u64);
                    assert_eq!(*crc, Some(crc64::checksum(&file[..file.len() - 8])), "{name}");
                }
                _ => {}
            }
        }
        let has_field_deadlines = name.starts_with("redis-8") || name.starts_with("valkey-9");
        let expected: BTreeMap<_, _> = KEYS
            .iter()
            .map(|(db, key, elements)| {
                let elements = match *key {
                    "deadlines" if !has_field_deadlines => "f=v, g=w, h=x",
                    "stream" if name.starts_with("redis-6") => "1-1 f v1, 3-1 f v3, None added, last 3-1",
                    _ => elements,
                };
                ((*db, (*key).to_owned()), elements.to_owned())
            })
            .collect();
        assert_eq!(found, expected, "{name}");
        assert_eq!(functions, usize::from(!name.starts_with("redis-6")), "{name}");
    }
}

#[test]
fn a_reader_can_begin_at_every_boundary() {
    for (name, file) in FILES {
        let mut reader = Reader::new(file).expect("a sound header");
        loop {
            let rest: Vec<_> = reader.clone().collect();
            let resumed = Reader::resume(file, reader.offset(), reader.db(), reader.version());
            assert_eq!(resumed.collect::<Vec<_>>(), rest, "{name}");
            if reader.next().is_none() {
                break;
            }
            if rest.len() == 1 {
                // Behind the end there is nothing to resume.
                break;
            }
        }
    }
}

#[test]
fn every_cut_is_a_cut() {
    for (name, file) in FILES {
        for cut in 0..file.len() {
            let fault = match Reader::new(&file[..cut]) {
                Ok(reader) => reader.last().expect("a fault at least").expect_err("no end"),
                Err(fault) => fault,
            };
            assert!(matches!(fault, Fault::Cut { at } if at <= cut as u64), "{name} cut at {cut}: {fault}");
        }
    }
}

#[test]
fn every_flipped_byte_gives_an_answer() {
    for (_, file) in FILES {
        let mut file = file.to_vec();
        for place in HEADER_BYTES..file.len() {
            for mask in [0x01, 0x40, 0x80, 0xff] {
                file[place] ^= mask;
                for entry in Reader::new(&file).expect("a sound header").flatten() {
                    if let Item::Value(value) = entry.item {
                        let _ = loadable::check(&value.object, &mut Repeats::default());
                        let _ = fields::shift(&value.object, &|deadline| deadline.checked_add(1));
                        let payload = payload::payload(value.object.kind, value.object.body);
                        // A value that was read is read again from its payload, unless it is empty.
                        let opened = payload::open(&payload).expect("the payload of a value");
                        assert_eq!((opened.kind, opened.body), (value.object.kind, value.object.body));
                    }
                }
                file[place] ^= mask;
            }
        }
    }
}
