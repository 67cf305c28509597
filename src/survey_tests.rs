use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::command::deadline;
use crate::rdb::Product;
use crate::resp::encode;
use crate::route::{Routing, Takes};

fn rules() -> Rules {
    Rules {
        routing: Routing::new(3),
        live: vec![Some(Takes::anything(Product::Redis)); 3],
        marker_key: b"marker".to_vec(),
        clock: deadline::Clock { now_ms: 1000, offset_ms: deadline::OFFSET_FAR_MS },
        touches: None,
        scripts: None,
    }
}

/// The windows of a source as they are cut one after the other, or why they are not.
fn cut(source: &Source, window_bytes: u64, end: Position) -> std::result::Result<Vec<Window>, String> {
    let mut windows = Windows::new(source, window_bytes, end);
    let mut cut = Vec::new();
    loop {
        match windows.next_window().map_err(|error| error.to_string())? {
            Some(window) => cut.push(window),
            None => return Ok(cut),
        }
    }
}

/// A piece of a source: plain commands, those that change the reader's state, and values that look like commands.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let command = |words: &[&[u8]]| {
        let mut text = Vec::new();
        encode::command(&mut text, words);
        text
    };
    let value = prop_oneof![
        4 => Just(b"plain".to_vec()),
        2 => Just(b"\r\n*1\r\n$4\r\nPING\r\n".to_vec()),
        1 => Just(b"\r\n#TS:1\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
    ];
    prop_oneof![
        12 => (0..40u8, value).prop_map(move |(key, value)| command(&[b"SET", &[key], &value])),
        1 => (0..2u8).prop_map(move |db| command(&[b"SELECT", &[b'0' + db]])),
        1 => Just(command(&[b"MULTI"])),
        3 => Just(command(&[b"EXEC"])),
        1 => Just(b"#TS:1700000000\r\n".to_vec()),
        // The two bytes behind a value are not looked at.
        1 => Just(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nvxx".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn foreseen_windows_are_those_that_would_be_cut(
        pieces in proptest::collection::vec(piece(), 0..120),
        window_bytes in 20..400u64,
        cut_off in 0..30usize,
        flipped in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
    ) {
        let mut bytes = pieces.concat();
        bytes.truncate(bytes.len().saturating_sub(cut_off));
        // Not the first byte: it can make the file one that is not opened, such as JSON.
        if let (Some((at, byte)), Some((_, rest @ [_, ..]))) = (flipped, bytes.split_first_mut()) {
            let at = at.index(rest.len());
            rest[at] = byte;
        }
        let mut file = tempfile::NamedTempFile::new().expect("room");
        file.write_all(&bytes).expect("room");
        let source = Source::open(file.path()).expect("a source");
        let seen = survey(&source, &rules(), (window_bytes, Purpose::Load), source.end(), &|_| Ok(()));
        let end = seen.as_ref().map_or(source.end(), |seen| seen.end);
        match (cut(&source, window_bytes, end), seen) {
            (Ok(windows), Ok(seen)) => {
                let found: Vec<_> = seen.windows.iter().map(|surveyed| surveyed.window).collect();
                prop_assert_eq!(found, windows);
                let whole = survey(&source, &rules(), (u64::MAX / 2, Purpose::Load), source.end(), &|_| Ok(())).expect("the same");
                prop_assert_eq!((seen.sum, seen.tally.total), (whole.sum, whole.tally.total));
            }
            (Err(error), Err(seen)) => prop_assert_eq!(seen.to_string(), error),
            (cut, seen) => prop_assert!(false, "cut: {cut:?}, surveyed: {seen:?}"),
        }
    }
}
