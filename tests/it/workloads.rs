//! Files that a live server writes itself: workloads of clients on a server with `appendonly yes`, whose files are then
//! loaded by one server and by the tool into any number of shards, and compared key by key.

mod blocked;
mod expiring;
mod mixed;
mod scripted;
mod streaming;

use crate::scene::{Scene, reference, servers, started};
use crate::support::compare::assert_same;
use crate::support::raw::{Raw, Reply};
use crate::support::server::Server;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(30);
const POLL_PAUSE: Duration = Duration::from_millis(2);

/// A server that writes an append-only file.
fn writing(options: &[(&str, &str)]) -> Server {
    let mut all = vec![("appendonly", "yes"), ("auto-aof-rewrite-percentage", "0")];
    all.extend_from_slice(options);
    Server::start(&all)
}

/// Stops it, and returns the directory of its files.
fn stopped(server: &mut Server) -> PathBuf {
    // It closes the connection instead of answering.
    let _ = server.cmd(&["SHUTDOWN", "NOSAVE"]);
    server.kill9();
    server.dir().join("appendonlydir")
}

/// Loads a server's files into one to five masters, and into directories, each compared with a server that loads them.
fn assert_loads(files: &Path) {
    let reference = reference(files);
    assert!(crate::scene::keys_in(&reference) > 10, "the workload leaves too little to compare");
    for shards in [1, 2, 3, 5] {
        let scene = Scene::new();
        let targets = servers(shards);
        scene.load(files, &targets).arg("--checkpoint").arg(scene.dir().join("checkpoint")).run_ok();
        println!("{shards} masters");
        assert_same(&reference, &targets);
    }
    let scene = Scene::new();
    let (loader, dirs) = scene.load_into_directories(files, 3);
    loader.own_scratch().run_ok();
    assert_same(&reference, &started(dirs));
}

/// Waits until a condition holds.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "no sign of {what}");
        thread::sleep(POLL_PAUSE);
    }
}

/// Sends lines of commands separated by `|`, none of which may fail.
fn send(client: &mut Raw, lines: &str) {
    for line in lines.split('|').map(str::trim) {
        let reply = client.words(line);
        assert!(!reply.failed(), "{line}: {reply:?}");
    }
}

/// A field of INFO that is a number.
fn info_number(server: &Server, name: &str) -> u64 {
    server.info(name).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("INFO tells {name}"))
}

/// The commands of redis-benchmark.
#[test]
fn a_benchmark() {
    let mut server = writing(&[]);
    let port = server.port().to_string();
    let run = |args: &[&str]| {
        let all = ["-p", &port, "-n", "1500", "-r", "300", "-P", "16", "-c", "4", "-q"];
        let output = Command::new("redis-benchmark").args(all).args(args).output();
        let output = output.expect("these tests need redis-benchmark, of the package redis-tools");
        assert!(output.status.success(), "redis-benchmark failed: {output:?}");
    };
    run(&[]);
    crate::support::rdb::rewrite(&server);
    run(&["-t", "set,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,mset"]);
    run(&["rpoplpush", "mylist", "other:__rand_int__"]);
    run(&["sunionstore", "union:__rand_int__", "myset", "union:__rand_int__"]);
    run(&["lmove", "mylist", "list:__rand_int__", "LEFT", "RIGHT"]);
    run(&["copy", "key:__rand_int__", "copied:__rand_int__", "REPLACE"]);
    run(&["set", "temporary:__rand_int__", "v", "EX", "100000"]);
    assert_loads(&stopped(&mut server));
}

#[test]
fn names_that_clients_change() {
    let mut server = writing(&[("aof-timestamp-enabled", "yes")]);
    let client = &mut Raw::of(&server);
    for n in 0..300 {
        let (day, old) = (n % 7, n % 40);
        send(
            client,
            &format!(
                "HSET tmp name user{n} n {n}|EXPIRE tmp 100000|RENAME tmp user:{n}|SADD day:{day} user{n} all
                |SUNIONSTORE week day:0 day:1 day:2 day:{day}|SMOVE day:{day} gone user{n}|SET lock {n} NX PX 900000|DEL lock
                |COPY user:{n} backup:{old} REPLACE|COPY user:{n} user:{n} DB 3 REPLACE|RPUSH new {n}|LMOVE new busy LEFT RIGHT
                |RPOPLPUSH busy done|ZADD score:{day} {n} user{n}|ZUNIONSTORE best 2 best score:{day} AGGREGATE MAX"
            ),
        );
        if n % 60 == 59 {
            send(client, "SWAPDB 3 4|SELECT 4|MOVE user:3 5|FLUSHDB|SELECT 0|UNLINK week best");
        }
    }
    let moved = client.words("RENAMENX user:1 user:2");
    assert_eq!(moved, Reply::Int(0), "both are there");
    send(client, "RENAMENX user:1 user:1000|RENAMENX user:2 user:1");
    assert_loads(&stopped(&mut server));
}
