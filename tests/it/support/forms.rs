//! Forms of values put together by hand, sound ones and others: listpacks, ziplists, intsets, zipmaps, streams.

use super::rdb::Rdb;

/// A value of this type under the key `k`: its body as it is.
pub fn value(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 1, b'k'], body].concat()
}

/// A string as it is stored.
pub fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let header = Rdb::new(9).text(text.as_ref()).unchecked();
    header[9..header.len() - 9].to_vec()
}

/// A count of less than 2^14.
pub fn count(count: usize) -> Vec<u8> {
    if count < 64 { vec![count as u8] } else { vec![0x40 | (count >> 8) as u8, count as u8] }
}

/// A count and texts.
pub fn texts(texts: &[&str]) -> Vec<u8> {
    [count(texts.len()), texts.iter().flat_map(text).collect()].concat()
}

/// A listpack of short texts (numbers below 128 as such), with its count in the header or another one, as it is stored.
pub fn listpack(entries: &[&str], other_count: Option<u16>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        match entry.parse::<u8>() {
            Ok(number @ 0..128) => bytes.extend([number, 1]),
            _ => {
                bytes.push(0x80 | entry.len() as u8);
                bytes.extend(entry.as_bytes());
                bytes.push(1 + entry.len() as u8);
            }
        }
    }
    let total = (bytes.len() + 7) as u32;
    let count = other_count.unwrap_or(entries.len() as u16);
    text([&total.to_le_bytes()[..], &count.to_le_bytes(), &bytes, b"\xff"].concat())
}

/// The same as a ziplist.
pub fn ziplist(entries: &[&str], other_count: Option<u16>) -> Vec<u8> {
    let (mut bytes, mut previous) = (Vec::new(), 0);
    for entry in entries {
        let start = bytes.len();
        bytes.push(previous as u8);
        match entry.parse::<u8>() {
            Ok(number @ 0..=12) => bytes.push(0xf1 + number),
            _ => {
                bytes.push(entry.len() as u8);
                bytes.extend(entry.as_bytes());
            }
        }
        previous = bytes.len() - start;
    }
    let total = (bytes.len() + 11) as u32;
    let last = total - 1 - previous as u32;
    let count = other_count.unwrap_or(entries.len() as u16);
    text([&total.to_le_bytes()[..], &last.to_le_bytes(), &count.to_le_bytes(), &bytes, b"\xff"].concat())
}

/// An intset of two bytes a member.
pub fn intset(members: impl IntoIterator<Item = i16>) -> Vec<u8> {
    let members: Vec<[u8; 2]> = members.into_iter().map(i16::to_le_bytes).collect();
    text([&2u32.to_le_bytes()[..], &(members.len() as u32).to_le_bytes(), &members.concat()].concat())
}

/// A zipmap of short fields and values.
pub fn zipmap(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![pairs.len() as u8];
    for (field, value) in pairs {
        bytes.extend(
            [&[field.len() as u8], field.as_bytes(), &[value.len() as u8, 0], value.as_bytes()].concat(),
        );
    }
    bytes.push(0xff);
    text(bytes)
}

/// Name, pending entries by their numbers, and consumers with those that they have.
pub type Group<'g> = (&'g str, &'g [u8], &'g [(&'g str, &'g [u8])]);

fn id(sequence: u8) -> [u8; 16] {
    let mut id = [0; 16];
    id[7] = 1;
    id[15] = sequence;
    id
}

/// A stream of the first form, or the second: nodes of one entry each, by their numbers, what is said to be its length,
/// and groups.
pub fn stream(is_second: bool, nodes: &[u8], length: u8, groups: &[Group<'_>]) -> Vec<u8> {
    let entries = listpack(&["1", "0", "1", "f", "0", "2", "0", "0", "v", "4"], None);
    let mut out = count(nodes.len());
    nodes.iter().for_each(|node| out.extend([text(id(*node)), entries.clone()].concat()));
    out.extend([length, 1, 9]);
    if is_second {
        out.extend([1, 0, 0, 0, length]);
    }
    out.extend(count(groups.len()));
    for (name, pending, consumers) in groups {
        out.extend([text(name), vec![1, 0]].concat());
        out.extend(is_second.then_some(1));
        out.extend(count(pending.len()));
        pending.iter().for_each(|entry| out.extend([&id(*entry)[..], &[0; 8], &[1]].concat()));
        out.extend(count(consumers.len()));
        for (name, owned) in *consumers {
            out.extend([text(name), vec![0; 8], count(owned.len())].concat());
            owned.iter().for_each(|entry| out.extend(id(*entry)));
        }
    }
    out
}
