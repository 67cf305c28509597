use super::*;
use crate::source::window::Windows;

const WINDOW_BYTES: u64 = 64 << 10;

/// Sources of this many keys, one of them named once more at the end if `doubled` says so.
fn file(keys: u32, doubled: Option<u32>) -> tempfile::NamedTempFile {
    let mut bytes = b"REDIS0009".to_vec();
    for key in (0..keys).chain(doubled) {
        let key = format!("key{key:07}");
        bytes.extend([0, 10]);
        bytes.extend(key.as_bytes());
        bytes.extend([1, b'v']);
    }
    bytes.extend([0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    let file = tempfile::NamedTempFile::new().expect("room");
    std::fs::write(file.path(), bytes).expect("room");
    file
}

/// Whether the source is refused, with a filter of `bytes`; and the error.
fn refused(file: &tempfile::NamedTempFile, bytes: u64) -> Option<String> {
    let source = Source::open(file.path()).expect("a source");
    let mut cut = Windows::new(&source, WINDOW_BYTES, source.end());
    let mut windows = Vec::new();
    while let Some(window) = cut.next_window().expect("a sound source") {
        windows.push(Surveyed { window, sum: 0, before: 0, commands: 0 });
    }
    let fingerprints = Fingerprints::new();
    let look = Look { source: &source, windows: &windows, fingerprints: &fingerprints, go_on: &|| Ok(()) };
    let mut duplicates = Duplicates { bytes, ..Duplicates::new(&source) };
    let added = look.walk(
        |_| true,
        |found| {
            let some: Vec<u64> = found.iter().map(|(fingerprint, _)| *fingerprint).collect();
            duplicates.add(&[&some]);
            Ok(())
        },
    );
    added.expect("a sound source");
    duplicates.refuse(&look).err().map(|error| error.to_string())
}

#[test]
fn a_key_that_stands_twice_is_found_wherever_it_is() {
    for (keys, doubled) in [(1, 0), (2, 0), (30_000, 0), (30_000, 29_999), (30_000, 12_345)] {
        let error = refused(&file(keys, Some(doubled)), FILTER_BYTES_MIN).expect("it is there");
        assert!(error.contains(&format!("key{doubled:07}")), "{error}");
        let second = 9 + 14 * u64::from(keys);
        assert!(error.contains(&second.to_string()), "{error}");
        assert_eq!(refused(&file(keys, None), FILTER_BYTES_MIN), None);
    }
}

/// So small a filter that nearly all keys are suspects: then the source is walked for shares of them.
#[test]
fn more_suspects_than_are_kept_do_not_matter() {
    assert_eq!(refused(&file(300_000, None), FILTER_BYTES_MIN), None);
    // Among the last ones, which were no longer kept at first.
    let error = refused(&file(300_000, Some(299_998)), FILTER_BYTES_MIN).expect("it is there");
    assert!(error.contains("key0299998"), "{error}");
}

/// Hardly any key that stands once is suspected, or a second look would cost time in every survey.
#[test]
fn few_are_suspected_wrongly() {
    let fingerprints = Fingerprints::new();
    let mut duplicates = Duplicates { bytes: 1 << 20, lines: Vec::new(), suspects: Vec::new(), keys: 0 };
    // At 60 bits for each key.
    let some: Vec<u64> = (0..140_000u32).map(|key| fingerprints.of(0, &key.to_le_bytes())).collect();
    duplicates.add(&[&some]);
    assert!(duplicates.suspects.len() <= 3, "{}", duplicates.suspects.len());
    duplicates.add(&[&some[1000..2000]]);
    assert!(duplicates.suspects.len() >= 1000);
}
