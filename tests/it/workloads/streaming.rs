//! Streams with groups, whose reads servers write as claims.

use super::{assert_loads, stopped, writing};
use crate::support::raw::Raw;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Forms that readers and writers of streams use; `{s}` and `{t}` are streams, `{g}` a group, `{c}` a consumer.
const FORMS: &str = "XADD {s} * f {n} g v|XADD {s} * f {n}|XADD {s} MAXLEN ~ 40 * f {n}|XADD {s} MAXLEN 60 * f {n}|XADD {s} NOMKSTREAM * f v
    |XREADGROUP GROUP {g} {c} COUNT 3 STREAMS {s} >|XREADGROUP GROUP {g} {c} COUNT 2 STREAMS {s} {t} > >
    |XREADGROUP GROUP {g} {c} NOACK COUNT 2 STREAMS {s} >|XREADGROUP GROUP {g} {c} COUNT 9 STREAMS {s} 0|XACK {s} {g} {id}
    |XACK {s} {g} {id}|XCLAIM {s} {g} {c} 0 {id}|XCLAIM {s} {g} {c} 0 {id} JUSTID|XCLAIM {s} {g} {c} 0 {id} FORCE RETRYCOUNT 7
    |XAUTOCLAIM {s} {g} {c} 0 0 COUNT 3|XAUTOCLAIM {s} {g} {c} 0 0 COUNT 2 JUSTID|XDEL {s} {id}|XTRIM {s} MAXLEN ~ 50
    |XTRIM {s} MINID {id}|XGROUP CREATE {s} {g} 0 MKSTREAM|XGROUP CREATE {s} {g} $ MKSTREAM|XGROUP SETID {s} {g} {id}
    |XGROUP CREATECONSUMER {s} {g} {c}|XGROUP DELCONSUMER {s} {g} {c}|RENAME {s} {t}|COPY {s} {t}|EXPIRE {s} 100000";
const COMMANDS: usize = 3000;

#[test]
fn streams_with_groups() {
    let mut server = writing(&[("stream-node-max-entries", "10")]);
    let client = &mut Raw::of(&server);
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let rng = &mut StdRng::seed_from_u64(seed);
    let forms: Vec<&str> = FORMS.split('|').map(str::trim).collect();
    for n in 0..COMMANDS {
        let stream = format!("stream:{}", rng.random_range(0..6));
        let line = forms
            .choose(rng)
            .expect("there are some")
            .replace("{s}", &stream)
            .replace("{t}", &format!("stream:{}", rng.random_range(0..6)))
            .replace("{g}", ["one", "two"][rng.random_range(0..2)])
            .replace("{c}", ["eve", "adam", "lilith"][rng.random_range(0..3)])
            .replace("{n}", &n.to_string());
        let line =
            if line.contains("{id}") { line.replace("{id}", &some_id(client, rng, &stream)) } else { line };
        // Some fail: there is no such group or stream.
        client.words(&line);
        if n == COMMANDS / 2 {
            crate::support::rdb::rewrite(&server);
        }
    }
    client.words("SADD others 1 2 3");
    for n in 0..10 {
        client.words(&format!("XADD last:{n} * f v"));
    }
    assert_loads(&stopped(&mut server));
}

/// The id of an entry.
fn some_id(client: &mut Raw, rng: &mut StdRng, stream: &str) -> String {
    let reply = client.words(&format!("XRANGE {stream} - + COUNT 20"));
    let id =
        reply.items().choose(rng).map(|entry| String::from_utf8_lossy(entry.items()[0].bytes()).into_owned());
    id.unwrap_or_else(|| "1-1".to_owned())
}
