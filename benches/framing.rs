//! Framing plus routing of a mapped source on one core, beside a memchr pass over the same map.

use std::hint::black_box;
use std::io::Write;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use redcluster_load::command::deadline::{Clock, OFFSET_FAR_MS};
use redcluster_load::partition::{walk, window_bytes};
use redcluster_load::rdb::Product;
use redcluster_load::resp::encode;
use redcluster_load::route::Takes;
use redcluster_load::route::{Routed, Routing, Rules};
use redcluster_load::source::Source;
use redcluster_load::source::window::Windows;
use redcluster_load::survey::Surveyed;

const LANES: usize = 3;
const SOURCE_BYTES: usize = 256 << 20;

fn sets(value_bytes: usize) -> Vec<u8> {
    let value = vec![b'v'; value_bytes];
    let mut out = Vec::with_capacity(SOURCE_BYTES + value_bytes + 100);
    for number in 0.. {
        if out.len() >= SOURCE_BYTES {
            break;
        }
        encode::command(&mut out, &[b"SET".as_slice(), format!("key:{number:012}").as_bytes(), &value]);
    }
    out
}

fn framing(criterion: &mut Criterion) {
    let rules = Rules {
        routing: Routing::new(LANES),
        live: vec![Some(Takes::anything(Product::Redis)); LANES],
        marker_key: b"redcluster-load:marker".to_vec(),
        clock: Clock { now_ms: 0, offset_ms: OFFSET_FAR_MS },
        touches: None,
        scripts: None,
    };
    let mut group = criterion.benchmark_group("source");
    group.sample_size(20);
    for value_bytes in [32, 4096] {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(&sets(value_bytes)).expect("room for the source");
        let source = Source::open(file.path()).expect("a readable source");
        group.throughput(Throughput::Bytes(source.len()));
        group.bench_function(BenchmarkId::new("memchr", value_bytes), |bench| {
            bench.iter(|| memchr::memchr_iter(0, source.bytes(0)).count());
        });
        group.bench_function(BenchmarkId::new("frame", value_bytes), |bench| {
            bench.iter(|| {
                let mut windows = Windows::new(&source, window_bytes(LANES), source.end());
                while let Some(window) = windows.next_window().expect("a sound source") {
                    black_box(window);
                }
            });
        });
        group.bench_function(BenchmarkId::new("frame-and-route", value_bytes), |bench| {
            bench.iter(|| {
                let mut windows = Windows::new(&source, u64::MAX / 2, source.end());
                let window = windows.next_window().expect("a sound source").expect("one window");
                black_box(window)
            });
        });
        let mut windows = Windows::new(&source, u64::MAX / 2, source.end());
        let whole = windows.next_window().expect("a sound source").expect("one window");
        group.bench_function(BenchmarkId::new("walk", value_bytes), |bench| {
            bench.iter(|| {
                let mut counts = [0u64; LANES];
                walk(&source, &Surveyed { window: whole, sum: 0, before: 0, commands: 0 }, &rules, |step| {
                    if let Routed::Lane(lane, ..) = step.routed {
                        counts[lane] += 1;
                    }
                })
                .expect("an unchanged source");
                counts
            });
        });
    }
    group.finish();
}

criterion_group!(benches, framing);
criterion_main!(benches);
