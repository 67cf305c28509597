//! Scripts and functions of old files: with `--accept-scripts` they run where the keys that they declare are.

use crate::scene::{Scene, Slow, assert_refused, assert_untouched, reference, servers, started};
use crate::support::aof;
use crate::support::compare::{Snapshot, assert_same};
use crate::support::loader::{MARKER, Output};
use crate::support::server::Server;
use crate::support::wire;
use redis::Value;
use std::path::Path;

const SHARDS: usize = 3;
const ACCEPT: &str = "--accept-scripts";

/// Appends, so that running twice shows.
const APPEND: &str = "redis.call('APPEND', KEYS[1], ARGV[1]) return redis.call('INCR', KEYS[1]..':count')";
const PUSH: &str = "return redis.call('RPUSH', KEYS[1], ARGV[1])";
const LIBRARY: &str = "#!lua name=tested\nredis.register_function('push', function(keys, args) \
                       return redis.call('RPUSH', keys[1], args[1]) end)";

fn sha1(body: &str) -> String {
    let server = Server::start(&[]);
    wire::text(&server.cmd(&["SCRIPT", "LOAD", body]).expect("SCRIPT LOAD"))
}

fn push(out: &mut Vec<u8>, words: &[&str]) {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    aof::push(out, &words);
}

fn scripts_of(output: &Output) -> u64 {
    let json: serde_json::Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output}"));
    let place = if json["commands"].is_object() { &json["commands"]["scripts"] } else { &json["scripts"] };
    place.as_u64().unwrap_or_else(|| panic!("{output}"))
}

/// Scripts in every form, between commands that must stay on their side of them; each on one key of many.
fn source(keys: usize) -> (Vec<u8>, u64) {
    let mut out = Vec::new();
    let sha = sha1(PUSH);
    let (upper, unknown) = (sha.to_uppercase(), "0".repeat(40));
    let mut scripts = 0;
    push(&mut out, &["FUNCTION", "LOAD", LIBRARY]);
    push(&mut out, &["SCRIPT", "LOAD", PUSH]);
    for round in 0..3 {
        for key in 0..keys {
            let (list, text) = (format!("list:{key}"), format!("text:{key}"));
            push(&mut out, &["SET", &text, &round.to_string()]);
            push(
                &mut out,
                &["EVAL", "redis.call('SET', KEYS[1], redis.call('GET', KEYS[1]) * 10)", "1", &text],
            );
            push(&mut out, &["EVALSHA", if key % 2 == 0 { &sha } else { &upper }, "1", &list, &text]);
            push(&mut out, &["FCALL", "push", "1", &list, &round.to_string()]);
            push(&mut out, &["INCR", &text]);
            scripts += 3;
        }
        push(&mut out, &["EVALSHA", &unknown, "1", "list:0", "never"]);
        push(&mut out, &["MULTI"]);
        push(&mut out, &["EVAL", PUSH, "1", "list:1", "in a transaction"]);
        push(&mut out, &["EVALSHA", &sha, "1", "list:1", "in a transaction, too"]);
        push(&mut out, &["EXEC"]);
        scripts += 3;
    }
    // Forgotten, known again, replaced.
    push(&mut out, &["SCRIPT", "FLUSH"]);
    push(&mut out, &["EVALSHA", &sha, "1", "list:0", "forgotten"]);
    push(&mut out, &["EVAL", PUSH, "1", "list:2", "known"]);
    push(&mut out, &["EVALSHA", &sha, "1", "list:0", "known again"]);
    push(&mut out, &["SCRIPT", "FLUSH", "SYNC"]);
    push(&mut out, &["EVAL", PUSH, "5", "list:2", "rejected"]);
    push(&mut out, &["EVALSHA", &sha, "1", "list:0", "not known from there"]);
    push(&mut out, &["FUNCTION", "LOAD", "REPLACE", &LIBRARY.replace("RPUSH", "LPUSH")]);
    push(&mut out, &["FCALL", "push", "1", "list:0", "first"]);
    push(&mut out, &["FUNCTION", "DELETE", "tested"]);
    push(&mut out, &["FCALL", "push", "1", "list:0", "gone"]);
    push(&mut out, &["FUNCTION", "LOAD", LIBRARY]);
    scripts += 7;
    (out, scripts)
}

fn run(scene: &Scene, source: &Path, targets: &[Server], args: &[&str]) -> Output {
    scene.load(source, targets).args(args).run()
}

#[test]
fn scripts_run_on_the_shard_of_their_keys() {
    let scene = Scene::new();
    let (bytes, count) = source(40);
    let source = scene.file("dump.aof", bytes);
    let (reference, targets) = (reference(&source), servers(SHARDS));
    assert!(reference.cmd(&["LLEN", "list:0"]).is_ok_and(|reply| reply == Value::Int(8)), "as it is meant");
    // Not unless they are accepted.
    assert_refused(&run(&scene, &source, &targets, &[]), 4, &["runs a script", "EVAL", "FCALL"]);
    assert_untouched(&targets);
    let dry = run(&scene, &source, &targets, &[ACCEPT, "--dry-run", "--json"]);
    assert_eq!((dry.code, scripts_of(&dry)), (Some(0), count), "{dry}");
    let dry = run(&scene, &source, &targets, &[ACCEPT, "--dry-run"]);
    let told = format!("{count} scripts run as they stand");
    assert!(dry.stdout.contains(&told), "{dry}");
    let output = run(&scene, &source, &targets, &[ACCEPT, "--batch-commands", "7"]);
    assert!(output.code == Some(0) && output.stdout.contains(&told), "{output}");
    assert!(output.stdout.contains("NOSCRIPT"), "{output}");
    assert_same(&reference, &targets);
    let (loader, dirs) = scene.load_into_directories(&source, SHARDS);
    let output = loader.args(&[ACCEPT, "--json"]).run_ok();
    assert_eq!(scripts_of(&output), count);
    assert_same(&reference, &started(dirs));
}

#[test]
fn scripts_without_keys_need_one_shard() {
    let scene = Scene::new();
    let mut bytes = Vec::new();
    push(&mut bytes, &["EVAL", "redis.call('SET', 'undeclared', ARGV[1])", "0", "v"]);
    push(&mut bytes, &["EVAL", "redis.call('SET', KEYS[1], 'v')", "1", "declared"]);
    let source = scene.file("dump.aof", bytes);
    let targets = servers(2);
    let output = run(&scene, &source, &targets, &[ACCEPT]);
    assert_refused(&output, 4, &["1 x runs a script without declared keys", ": EVAL: runs a script"]);
    assert_untouched(&targets);
    let one = servers(1);
    scene.load(&source, &one).args(&[ACCEPT, "--checkpoint", "one"]).run_ok();
    assert_same(&reference(&source), &one);
}

/// A target is not to blame for it, so mending one is no remedy.
#[test]
fn an_error_that_a_script_makes_up_is_told_apart() {
    let scene = Scene::new();
    let mut bytes = Vec::new();
    push(&mut bytes, &["eval", "return {err = 'of its own'}", "1", "key"]);
    let source = scene.file("dump.aof", bytes);
    let output = run(&scene, &source, &servers(1), &[ACCEPT]);
    assert_eq!(output.code, Some(8), "{output}");
    for words in [
        "of its own",
        "command: eval\n  key: key\n",
        "BGREWRITEAOF, which leaves no scripts",
        "--restart --flush-targets",
    ] {
        assert!(output.stderr.contains(words), "{words:?} is missing: {output}");
    }
}

/// Deadlines before and behind a script, and those that it carries to another name, unseen.
#[test]
fn scripts_find_keys_past_their_deadline() {
    let scene = Scene::new();
    let mut bytes = aof::of_lines(
        "SET k 5 PXAT 1600000000000\n SET last v PXAT 1600000000000\n SET far 1 PXAT 4102444800000",
    );
    push(
        &mut bytes,
        &["EVAL", "redis.call('INCR', KEYS[1]) redis.call('RENAME', KEYS[1], 'moved')", "1", "k"],
    );
    push(&mut bytes, &["EVAL", "redis.call('RENAME', KEYS[1], 'elsewhere')", "1", "far"]);
    push(&mut bytes, &["PERSIST", "moved"]);
    let source = scene.file("dump.aof", bytes);
    let (reference, targets) = (reference(&source), servers(1));
    assert_eq!(reference.cmd(&["GET", "moved"]).map(|reply| wire::text(&reply)), Ok("6".to_owned()));
    scene.load(&source, &targets).arg(ACCEPT).run_ok();
    assert_same(&reference, &targets);
    assert_eq!(targets[0].cmd(&["PEXPIRETIME", "elsewhere"]), Ok(Value::Int(4_102_444_800_000)));
}

/// A rerun says as the first run whether scripts are accepted.
#[test]
fn accepting_scripts_is_for_the_whole_load() {
    let scene = Scene::new();
    let mut bytes = Vec::new();
    for n in 0..600 {
        push(&mut bytes, &["EVAL", APPEND, "1", &format!("k:{n}"), "x"]);
        push(&mut bytes, &["APPEND", &format!("k:{n}"), "y"]);
    }
    let source = scene.file("dump.aof", bytes);
    let reference = reference(&source);
    let slow = Slow::start(1);
    let loader = slow.load(&scene, &source);
    slow.kill_midway(&loader.clone().arg(ACCEPT));
    assert_refused(&loader.run(), 4, &["600 x runs a script"]);
    assert_refused(
        &loader.clone().arg("--skip-unsupported").run(),
        6,
        &["left out then: 0", "left out now: 600"],
    );
    loader.clone().arg(ACCEPT).run_ok();
    assert_same(&reference, &slow.targets);
    let slow = Slow::start(1);
    let loader = slow.load(&scene, &source).args(&["--checkpoint", "other"]);
    slow.kill_midway(&loader.clone().arg("--skip-unsupported"));
    for more in [vec![ACCEPT], vec![ACCEPT, "--skip-unsupported"]] {
        assert_refused(&loader.clone().args(&more).run(), 6, &["left out then: 600", "left out now: 0"]);
    }
    loader.clone().arg("--skip-unsupported").run_ok();
    let left = Snapshot::of(&slow.targets[0]).keys;
    assert!(left.len() == 600 && left.values().all(|entry| format!("{entry:?}").contains("[121]")), "only y");
}

/// Killed in the middle, on servers that lose their scripts meanwhile: nothing runs twice, and nothing is unknown.
#[test]
fn killed_in_the_middle_of_scripts() {
    let scene = Scene::new();
    let (bytes, _) = source(150);
    let source = scene.file("dump.aof", bytes);
    let reference = reference(&source);
    let slow = Slow::start(2);
    let loader = slow.load(&scene, &source).arg(ACCEPT);
    slow.kill_midway(&loader);
    for target in &slow.targets {
        target.cmd(&["SCRIPT", "FLUSH"]).expect("SCRIPT FLUSH");
        assert_eq!(target.cmd(&["EXISTS", MARKER]), Ok(Value::Int(1)));
    }
    loader.run_ok();
    assert_same(&reference, &slow.targets);
}

/// The same where it stops in the middle of writing files.
#[test]
fn killed_while_scripts_go_into_directories() {
    let scene = Scene::new();
    let (bytes, _) = source(3_000);
    let source = scene.file("dump.aof", bytes);
    let (loader, dirs) = scene.load_into_directories(&source, 2);
    let loader = loader.args(&[ACCEPT, "--batch-bytes", "1KiB"]);
    let begun = || dirs.iter().all(|dir| dir.exists() && size_of(dir) > 10_000);
    assert!(crate::kill::run_and_kill(&loader, begun), "it had ended before it could be killed");
    loader.run_ok();
    assert_same(&reference(&source), &started(dirs.clone()));
}

fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| entry.path())
        .map(|path| if path.is_dir() { size_of(&path) } else { path.metadata().map_or(0, |meta| meta.len()) })
        .sum()
}
