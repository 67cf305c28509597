//! What the generator of random commands makes, sent by several clients at once to a live server, which is killed.

use super::{assert_loads, writing};
use crate::support::generate::{Command, Generator, GeneratorOptions, Payloads};
use crate::support::raw::Raw;
use crate::support::rdb;
use crate::support::server::Server;
use rand::RngExt;
use std::thread;

const CLIENTS: u64 = 3;
const COMMANDS: usize = 1200;

/// What would wait for ever, as nobody serves it.
fn waits(command: &Command) -> bool {
    let name = command[0].to_ascii_uppercase();
    let blocks =
        [&b"BLPOP"[..], b"BRPOP", b"BLMPOP", b"BLMOVE", b"BRPOPLPUSH", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP"];
    blocks.contains(&&name[..]) || command.iter().any(|word| word.eq_ignore_ascii_case(b"BLOCK"))
}

fn client(server: &Server, seed: u64, payloads: Payloads) {
    let options = GeneratorOptions {
        rare: true,
        stories: true,
        relative_deadlines: true,
        near_deadlines: true,
        tied: true,
        ..GeneratorOptions::default()
    };
    let commands = Generator::new(seed, options).with_payloads(payloads).commands(COMMANDS);
    let mut raw = Raw::of(server);
    for (nth, command) in commands.iter().enumerate().filter(|(_, command)| !waits(command)) {
        raw.ask(&[command]);
        // What servers make something else of when they write it.
        match nth % 29 {
            0 => drop(raw.words("SPOP user:set 2")),
            1 => drop(raw.words("XADD user:stream MAXLEN ~ 20 * f v")),
            2 => drop(raw.words("SADD user:set a b c d e f g h")),
            3 => drop(raw.words("INCRBYFLOAT user:float 0.25")),
            _ => {}
        }
    }
}

fn mixed(options: &[(&str, &str)]) {
    let mut server = writing(options);
    let payloads = Payloads::of(&server);
    let seed = rand::rng().random_range(0..1_000_000_u64);
    println!("seed {seed}, {options:?}");
    let some = |first: u64| {
        thread::scope(|scope| {
            for nth in first..first + CLIENTS {
                let (server, payloads) = (&server, payloads.clone());
                scope.spawn(move || client(server, seed * 100 + nth, payloads));
            }
        });
    };
    some(0);
    rdb::rewrite(&server);
    some(CLIENTS);
    // Every reply was sent after its command was written.
    server.kill9();
    assert_loads(&server.dir().join("appendonlydir"));
}

#[test]
fn many_commands_of_several_clients() {
    mixed(&[]);
}

#[test]
fn many_commands_with_a_base_of_commands() {
    mixed(&[("aof-use-rdb-preamble", "no"), ("aof-timestamp-enabled", "yes"), ("appendfsync", "no")]);
}
