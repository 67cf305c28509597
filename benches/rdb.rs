//! Walking an RDB file of small keys, taking values apart and looking at them as a server does that loads them, and the
//! checksum, each on one core.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use redcluster_load::rdb::{Fault, Item, Reader, Repeats, crc64, elements, loadable, payload};

const FILE_BYTES: usize = 64 << 20;
const LISTPACK_ENTRIES: u16 = 128;

/// Strings of `value_bytes`, fewer than 16,384, under keys of 16 bytes, as a server writes them.
fn strings(value_bytes: usize) -> Vec<u8> {
    let mut file = b"REDIS0012\xfe\x00".to_vec();
    for number in 0.. {
        if file.len() >= FILE_BYTES {
            break;
        }
        file.extend(format!("\0\x10key:{number:012}").as_bytes());
        match value_bytes {
            0..0x40 => file.push(value_bytes as u8),
            _ => file.extend((0x4000 | value_bytes as u16).to_be_bytes()),
        }
        file.resize(file.len() + value_bytes, b'v');
    }
    file.extend(b"\xff\0\0\0\0\0\0\0\0");
    file
}

/// Lists of one listpack of short strings and numbers each.
fn lists() -> Vec<u8> {
    let mut listpack = vec![0; 4];
    listpack.extend(LISTPACK_ENTRIES.to_le_bytes());
    for number in 0..LISTPACK_ENTRIES {
        listpack.extend(if number % 2 == 0 { b"\x8aabcdefghij\x0b".as_slice() } else { b"\xc4\xd2\x02" });
    }
    listpack.push(0xff);
    let total = listpack.len() as u32;
    listpack[..4].copy_from_slice(&total.to_le_bytes());
    let mut file = b"REDIS0012\xfe\x00".to_vec();
    for number in 0.. {
        if file.len() >= FILE_BYTES {
            break;
        }
        file.extend(format!("\x12\x10key:{number:012}\x01\x02").as_bytes());
        file.push(0x80);
        file.extend(total.to_be_bytes());
        file.extend(&listpack);
    }
    file.extend(b"\xff\0\0\0\0\0\0\0\0");
    file
}

/// Sets of so many members of 12 bytes each, member by member.
fn sets(members: u32) -> Vec<u8> {
    let mut file = b"REDIS0012\xfe\x00".to_vec();
    for number in 0.. {
        if file.len() >= FILE_BYTES {
            break;
        }
        file.extend(format!("\x02\x10key:{number:012}").as_bytes());
        file.push(0x80);
        file.extend(members.to_be_bytes());
        (0..members).for_each(|member| file.extend(format!("\x0c{member:012}").as_bytes()));
    }
    file.extend(b"\xff\0\0\0\0\0\0\0\0");
    file
}

/// Entry by entry, as windows are cut and walked.
fn walk(file: &[u8], mut each: impl FnMut(&Item<'_>)) {
    let mut entries = Reader::new(file).expect("a sound header");
    loop {
        match entries.short_string() {
            Some(value) => each(&Item::Value(value)),
            None => match entries.next() {
                Some(entry) => each(&entry.expect("a sound entry").item),
                None => break,
            },
        }
    }
}

fn rdb(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rdb");
    group.sample_size(20);
    for value_bytes in [8, 32, 1024] {
        let file = strings(value_bytes);
        group.throughput(Throughput::Bytes(file.len() as u64));
        group.bench_function(BenchmarkId::new("walk", value_bytes), |bench| {
            bench.iter(|| walk(&file, |item| _ = black_box(item)));
        });
        group.bench_function(BenchmarkId::new("walk-and-footer", value_bytes), |bench| {
            bench.iter(|| {
                walk(&file, |item| {
                    if let Item::Value(value) = item {
                        black_box(payload::footer(value.object.kind, value.object.body));
                    }
                });
            });
        });
    }
    let files =
        [("listpack", lists()), ("sets-16", sets(16)), ("sets-1000", sets(1000)), ("sets-1M", sets(1 << 20))];
    for (name, file) in &files {
        group.throughput(Throughput::Bytes(file.len() as u64));
        group.bench_function(BenchmarkId::new("elements", name), |bench| {
            bench.iter(|| {
                walk(file, |item| {
                    if let Item::Value(value) = item {
                        let visited = elements::visit(&value.object, |element| {
                            black_box(element);
                            Ok::<(), Fault>(())
                        });
                        visited.expect("a sound value");
                    }
                });
            });
        });
        group.bench_function(BenchmarkId::new("check", name), |bench| {
            bench.iter(|| {
                let mut repeats = Repeats::default();
                walk(file, |item| {
                    if let Item::Value(value) = item {
                        loadable::check(&value.object, &mut repeats).expect("a sound value");
                    }
                });
            });
        });
    }
    let file = lists();
    group.bench_function("crc64", |bench| bench.iter(|| crc64::checksum(black_box(&file))));
    group.finish();
}

criterion_group!(benches, rdb);
criterion_main!(benches);
