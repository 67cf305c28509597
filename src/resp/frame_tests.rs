//! Tests of the framer: the server's leniencies, every cut, and round trips of arbitrary bytes.

use super::*;
use crate::resp::encode;
use proptest::prelude::*;

fn arguments(input: &[u8]) -> Vec<&[u8]> {
    Arguments::of(input).collect()
}

fn command(input: &[u8]) -> (Head, usize) {
    match record(input) {
        Ok((rest, Record::Command(head))) => (head, rest.len()),
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(input)),
    }
}

fn fault(input: &[u8]) -> Fault {
    match record(input) {
        Err(nom::Err::Error(fault)) => fault,
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(input)),
    }
}

#[test]
fn canonical_record_names_its_parts() {
    let input = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nvv\r\n*1\r\n";
    let (head, left) = command(input);
    assert_eq!(left, 4);
    assert!(head.canonical);
    assert_eq!((head.argc, head.name_start, head.name_len), (3, 8, 3));
    assert_eq!(&input[head.key_start..head.key_start + head.key_len], b"k");
    assert_eq!(arguments(input), [b"SET".as_slice(), b"k", b"vv"]);
}

#[test]
fn leniencies_of_the_server_are_accepted_and_marked() {
    for input in [
        b"*02\r\n$4\r\nINCR\r\n$1\r\nk\r\n".as_slice(),
        b"*2abc\r\n$+4\r\nINCR\r\n$ 1\r\nk\r\n",
        b"*2\n$4\nINCR\r\n$1\nk\r\n",
        b"*2\r\n$4\r\nINCRxx$1\r\nk\x00\x00",
        b"*4294967298\r\n$4\r\nINCR\r\n$01\r\nk\r\n",
    ] {
        let (head, left) = command(input);
        assert!(!head.canonical && left == 0 && head.argc == 2);
        assert_eq!(arguments(input), [b"INCR".as_slice(), b"k"]);
    }
}

#[test]
fn long_lengths_are_canonical_too() {
    let value = vec![b'x'; 123_456];
    let mut input = Vec::new();
    encode::command(&mut input, &[b"SET".as_slice(), b"k", &value]);
    assert!(command(&input).0.canonical);
}

#[test]
fn damage_is_told_from_a_cut() {
    for input in [
        b"g".as_slice(),
        b"*0\r\n",
        b"*-1\r\n",
        b"\r\n",
        b"*1\r\nSET\r\n",
        b"*1\r\n$-1\r\n",
        b"*x\r\n",
        b"*1\r\n$140737488355328\r\nSET\r\n",
    ] {
        assert!(matches!(fault(input), Fault::Malformed { .. }), "{input:?}");
    }
    for input in [b"*".as_slice(), b"*3", b"*3\r\n", b"*1\r\n$", b"*1\r\n$99999999999999\r\nSET\r\n"] {
        assert_eq!(fault(input), Fault::Cut, "{input:?}");
    }
}

#[test]
fn annotations_are_skipped_even_when_cut() {
    assert_eq!(record(b"#TS:1\r\n*"), Ok((b"*".as_slice(), Record::Annotation)));
    assert_eq!(record(b"#TS"), Ok((b"".as_slice(), Record::Annotation)));
}

#[test]
fn every_cut_of_a_record_is_a_cut() {
    let input = b"*2\r\n$3\r\nGET\r\n$12\r\n*1\r\n$1\r\nx\r\n \r\n";
    assert_eq!(command(input).1, 0);
    for at in 1..input.len() {
        assert_eq!(fault(&input[..at]), Fault::Cut, "cut at {at}");
    }
}

/// A record of few and short arguments, so that neighbours are often alike; now and then with a byte changed.
fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let arguments = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 1..6);
    let changed = prop::option::weighted(
        0.1,
        (any::<prop::sample::Index>(), prop::sample::select(b"*$0129\r\n\0#".to_vec())),
    );
    (arguments, changed).prop_map(|(arguments, changed)| {
        let mut record = Vec::new();
        encode::command(&mut record, &arguments);
        if let Some((at, byte)) = changed {
            let at = at.index(record.len());
            record[at] = byte;
        }
        record
    })
}

proptest! {
    #[test]
    fn any_arguments_survive(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..40)) {
        let mut input = Vec::new();
        encode::command(&mut input, &args);
        let (head, left) = command(&input);
        prop_assert!(head.canonical);
        prop_assert_eq!(left, 0);
        let first = args.get(1).map(|first| {
            let mut framed = Vec::new();
            encode::bulk(&mut framed, first);
            framed
        });
        prop_assert_eq!(framed_first(&input), first.as_deref());
        prop_assert_eq!(arguments(&input), args);
    }

    /// What a framer remembers of one record must not show in the next.
    #[test]
    fn records_one_after_the_other_are_read_as_each_alone(records in prop::collection::vec(any_record(), 1..40)) {
        let input = records.concat();
        let (mut framer, mut rest) = (Framer::default(), input.as_slice());
        while !rest.is_empty() {
            let found = framer.record(rest);
            prop_assert_eq!(&found, &record(rest));
            match found {
                Ok((next, _)) => rest = next,
                Err(_) => break,
            }
        }
    }

    #[test]
    fn any_bytes_give_an_answer(input in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok((rest, _)) = record(&input) {
            prop_assert!(rest.len() < input.len());
            prop_assert!(arguments(&input).iter().map(|a| a.len()).sum::<usize>() <= input.len());
        }
    }
}
