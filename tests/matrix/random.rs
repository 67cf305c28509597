//! Random sources on each server version: a server of that version loads the source itself, and the targets, of the same
//! version, have to come to the same, however they are asked for their deadlines.

use crate::Named;
use crate::scene::Scene;
use crate::support::aof;
use crate::support::compare::{Placement, Snapshot, diff};
use crate::support::generate::{Command, Generator, GeneratorOptions, Payloads};
use crate::support::server::Server;
use redcluster_load::command::{lookup, lookup_sub, since};
use std::time::{SystemTime, UNIX_EPOCH};

const SHARDS: usize = 3;
const COMMANDS: usize = 4000;
/// A deadline from which on the tool shifts by more than a script's numbers hold.
const FAR_MS: i64 = 4_000_000_000_000_001;

/// How deadlines are put right.
const WAYS: [(&str, bool, bool); 3] =
    [("by a script", true, false), ("without scripts", false, false), ("far deadlines", true, true)];

/// Loads a random source in each way; what went wrong.
pub fn check(named: &Named) -> Result<(), String> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs();
    for (nth, (way, scripts, far)) in WAYS.into_iter().enumerate() {
        let seed = seed.wrapping_add(nth as u64);
        println!("{}: a random source of seed {seed}, {way}", named.name);
        one(named, seed, scripts, far)
            .map_err(|wrong| format!("{} ({way}, seed {seed}): {wrong}", named.name))?;
    }
    Ok(())
}

fn one(named: &Named, seed: u64, scripts: bool, far: bool) -> Result<(), String> {
    let scene = Scene::new();
    let source = scene.file("dump.aof", source(named, seed, far));
    let reference = Server::loading_binary(&named.binary, &source, &[])?;
    let targets: Vec<Server> = (0..SHARDS).map(|_| Server::start_binary(&named.binary, &[])).collect();
    if !scripts {
        for target in &targets {
            target.cmd(&["ACL", "SETUSER", "default", "-eval"]).expect("users can be changed");
        }
    }
    let output = scene.load(&source, &targets).args(&["--batch-commands", "20"]).run();
    if output.code != Some(0) {
        return Err(output.to_string());
    }
    let held: Vec<Snapshot> = targets.iter().map(Snapshot::of).collect();
    let found = diff(&Snapshot::of(&reference), &held, Placement::Crc32);
    if found.is_empty() { Ok(()) } else { Err(format!("{:#?}", &found[..found.len().min(5)])) }
}

/// Commands with deadlines that pass meanwhile; all of them are such that the version knows.
fn source(named: &Named, seed: u64, far: bool) -> Vec<u8> {
    let is_old = named.binary.version() < (7, 0);
    let options = GeneratorOptions {
        shards: SHARDS,
        near_deadlines: true,
        broadcast: !is_old,
        candidate_pops: !is_old,
        ..GeneratorOptions::default()
    };
    let payloads = Payloads::of(&Server::start_binary(&named.binary, &[]));
    let mut commands = Generator::new(seed, options).with_payloads(payloads).commands(COMMANDS);
    commands.retain(|command| !is_old || !is_newer(command));
    let mut bytes = Vec::new();
    for command in &commands {
        aof::push(&mut bytes, &command.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    if far {
        aof::push_words(&mut bytes, &format!("SET far v PXAT {FAR_MS}"));
        aof::push_words(&mut bytes, "APPEND far w");
    }
    bytes
}

/// Whether Redis 6.2 lacks something in a command.
fn is_newer(command: &Command) -> bool {
    let arguments: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    let Some(spec) = lookup(arguments[0]) else { return false };
    let sub = arguments.get(1).and_then(|sub| lookup_sub(spec, sub));
    since::newer_in(sub.unwrap_or(spec), &arguments).next().is_some()
}
