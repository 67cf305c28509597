//! Tests of what a server refuses of a stream.

use super::super::samples::samples;
use super::*;

/// One entry of one field: how many there are, how many are deleted, the fields, a mark; flags, time and sequence, value,
/// and the number of parts.
const NODE: &[u8] =
    b"\x1d\x1d\0\0\0\x0a\0\x01\x01\0\x01\x01\x01\x81f\x02\0\x01\x02\x01\0\x01\0\x01\x81v\x02\x04\x01\xff";

/// A node, by the sequence of its id.
fn node(sequence: u8) -> Vec<u8> {
    [b"\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".as_slice(), &[sequence], NODE].concat()
}

fn id(sequence: u8) -> Vec<u8> {
    [[0; 15].as_slice(), &[sequence]].concat()
}

/// A group with these pending, and consumers with what they have.
fn group(name: &str, pending: &[u8], consumers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = [&[name.len() as u8], name.as_bytes(), b"\x01\x00", &[pending.len() as u8]].concat();
    for sequence in pending {
        out.extend([id(*sequence), vec![0; 8], vec![1]].concat());
    }
    out.push(consumers.len() as u8);
    for (name, owned) in consumers {
        out.extend([&[name.len() as u8], name.as_bytes(), &[0; 8], &[owned.len() as u8]].concat());
        out.extend(owned.iter().flat_map(|sequence| id(*sequence)));
    }
    out
}

fn stream(nodes: &[Vec<u8>], length: u8, groups: &[Vec<u8>]) -> Vec<u8> {
    let nodes = [vec![nodes.len() as u8], nodes.concat()].concat();
    [nodes, vec![length, 1, 0], vec![groups.len() as u8], groups.concat()].concat()
}

fn judged(body: &[u8]) -> Option<&'static str> {
    assert_eq!(skip(Kind::Stream, body), Ok((b"".as_slice(), ())), "its end is found all the same");
    match check(Kind::Stream, body) {
        Ok(()) => None,
        Err(nom::Err::Error(Bad { why: super::super::fault::Why::Damage(expected), .. })) => Some(expected),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn sound_streams_of_every_version() {
    for (kind, body, _) in samples() {
        if let Kind::Stream | Kind::Stream2 | Kind::Stream3 = kind {
            assert_eq!(check(kind, &body), Ok(()), "{}", kind.name());
        }
    }
    let groups = [group("g", &[2, 1, 3], &[("c", &[3, 1]), ("d", &[2])]), group("h", &[1], &[("c", &[1])])];
    assert_eq!(judged(&stream(&[node(2), node(1)], 2, &groups)), None);
    assert_eq!(judged(&stream(&[], 0, &[])), None);
}

#[test]
fn what_a_server_refuses_is_refused() {
    let with = |group: Vec<u8>| stream(&[node(1)], 1, &[group]);
    let mut no_entry = node(1);
    no_entry.splice(17.., b"\x07\x07\0\0\0\0\0\xff".iter().copied());
    let mut past_the_end = node(1);
    past_the_end[24] = 0xbf;
    // Only in the first form a server looks for the first entry.
    let mut no_number = node(1);
    no_number[28] = 0x80;
    let later = [stream(&[no_number.clone()], 1, &[]).as_slice(), &[0; 5]].concat();
    assert_eq!(check(Kind::Stream2, &later), Ok(()));
    let mut behind_the_id = node(1);
    behind_the_id[43] = 0xc1;
    let mut deleted = node(1);
    deleted[35] = 3;
    assert_eq!(judged(&stream(&[deleted.clone()], 0, &[])), None);
    let behind_deleted = stream(
        &[deleted, {
            let mut next = node(2);
            next[28] = 0x80;
            next
        }],
        1,
        &[],
    );
    let cases = [
        (stream(&[node(1), node(2), node(1)], 3, &[]), "first ids of nodes that all differ"),
        (stream(&[no_entry], 1, &[]), "a listpack with entries"),
        (stream(&[past_the_end], 1, &[]), LISTPACK_ENTRY),
        (stream(&[no_number], 1, &[]), "a listpack of entries of a stream"),
        (stream(&[behind_the_id], 1, &[]), "a listpack of entries of a stream"),
        (behind_deleted, "a listpack of entries of a stream"),
        (stream(&[], 1, &[]), "the length of a stream without entries"),
        (
            stream(&[node(1)], 1, &[group("g", &[], &[]), group("g", &[], &[])]),
            "the name of another consumer group",
        ),
        (with(group("g", &[2, 1, 2], &[])), "pending entries that all differ"),
        (with(group("g", &[1], &[("c", &[]), ("c", &[])])), "the name of another consumer"),
        (with(group("g", &[1], &[("c", &[2])])), "an entry that is pending in the group"),
        (with(group("g", &[1, 2], &[("c", &[2, 1, 2])])), "an entry that no consumer has yet"),
        (with(group("g", &[1, 2], &[("c", &[2, 1]), ("d", &[2])])), "an entry that no consumer has yet"),
    ];
    for (body, expected) in cases {
        assert_eq!(judged(&body), Some(expected));
    }
}
