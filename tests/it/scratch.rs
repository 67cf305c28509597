//! Commands that tie directories together, through the server that runs them: a private one, or one that is named.
//!
//! The bug: what was tied is lost, doubled or stale where the load was killed between the scratch server and the
//! directories; or a server process is left behind. Its mechanism: a copy that outlives its original, or a process that
//! nobody waits for. The guard: the lane has a marker like every other, keys are copied before anything is removed, and
//! the server ends with a pipe that the kernel closes.

use crate::drill::{self, Drill};
use crate::kill::run_and_kill;
use crate::scene::{Scene, assert_refused, assert_untouched, keys_in, reference, servers, started};
use crate::support::aof;
use crate::support::compare::assert_same;
use crate::support::loader::Loader;
use crate::support::rdb::saved;
use crate::support::server::Server;
use crate::support::snapshot::{Snapshot, now_ms};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const SHARDS: usize = 3;

/// Names that are tied across shards, some with deadlines, of every type; and functions.
const TIED: &str = "SET tmp:1 one|RENAME tmp:1 user:1|SET tmp:2 two PXAT 4102444800000|RENAME tmp:2 user:2
    |SET past:1 x PXAT 1500000000000|RENAME past:1 past:2|SET past:3 y PXAT 1500000000000|RENAME past:3 kept:1|PERSIST kept:1
    |SADD s:1 a b c|SADD s:2 b c d|SINTERSTORE s:3 s:1 s:2|SUNIONSTORE s:4 s:1 s:2 s:3
    |RPUSH l:1 1 2 3|LMOVE l:1 l:2 LEFT RIGHT|ZADD z:1 1 a 2 b|ZUNIONSTORE z:2 1 z:1|HSET h:1 f v|COPY h:1 h:2
    |XADD x:1 1-1 f v|XGROUP CREATE x:1 g 0|COPY x:1 x:2|PEXPIREAT x:2 4102444800001
    |SELECT 3|SET k 3|COPY k j DB 5|SELECT 0|MOVE user:1 5|SETBIT b:1 9 1|BITOP NOT b:2 b:1
    |FUNCTION LOAD REPLACE {lib}|DEL s:1";

fn tied() -> Vec<u8> {
    let library = "#!lua name=lib\nredis.register_function('f', function(keys, args) return 1 end)";
    let mut out = Vec::new();
    for line in TIED.split('|').map(str::trim) {
        let words: Vec<&[u8]> = line
            .split_whitespace()
            .map(|word| if word == "{lib}" { library.as_bytes() } else { word.as_bytes() })
            .collect();
        aof::push(&mut out, &words);
    }
    out
}

/// The scratch directory of a load with this checkpoint.
fn scratch_of(checkpoint: &Path) -> PathBuf {
    PathBuf::from(format!("{}.scratch", checkpoint.display()))
}

/// Processes that work in this directory.
fn processes_in(directory: &Path) -> usize {
    let works_there =
        |entry: fs::DirEntry| fs::read_link(entry.path().join("cwd")).ok().map(|cwd| cwd == directory);
    fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| works_there(entry.ok()?))
        .filter(|is| *is)
        .count()
}

/// A server's program that takes its time.
fn slow_program(dir: &Path) -> PathBuf {
    let path = dir.join("slow-server");
    let text =
        "#!/bin/sh\n[ \"$1\" = --version ] || sleep 0.1\nexec \"${REDIS_SERVER:-redis-server}\" \"$@\"\n";
    fs::write(&path, text).expect("room");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
    path
}

#[test]
fn a_private_server_runs_what_is_tied_to_directories() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", tied());
    let (loader, dirs) = scene.load_into_directories(&source, SHARDS);
    let output = loader.clone().run_ok();
    assert!(output.stdout.contains("loaded into 3 shards") && output.stdout.contains("scratch"), "{output}");
    let scratch = scratch_of(&scene.dir().join("out.checkpoint"));
    assert!(!scratch.exists() && processes_in(&scratch) == 0);
    assert_same(&reference(&source), &started(dirs));
    assert!(loader.run_ok().stdout.contains("nothing was done"));
}

/// The same program by its path, from a directory whose name is too long for sockets.
#[test]
fn a_program_may_be_named_and_paths_may_be_long() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", tied());
    let deep = scene.dir().join("d".repeat(100)).join("e".repeat(100));
    fs::create_dir_all(&deep).expect("room");
    let out = deep.join("out");
    let program = slow_program(scene.dir());
    let loader = scene.loader().arg(&source).args(&["--shards", "3", "--output"]).arg(&out);
    loader
        .arg("--checkpoint")
        .arg(deep.join("c"))
        .arg("--scratch")
        .arg(program)
        .env("PATH", path_to_tools())
        .run_ok();
    let dirs = (0..SHARDS).map(|shard| out.join(format!("shard-{shard}"))).collect();
    assert_same(&reference(&source), &started(dirs));
}

fn path_to_tools() -> String {
    std::env::var("PATH").expect("a PATH")
}

#[test]
fn a_live_server_that_is_named_is_left_as_it_was() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", tied());
    let scratch = Server::start(&[]);
    let (loader, dirs) = scene.load_into_directories(&source, SHARDS);
    loader.arg("--scratch").arg(scratch.addr()).env("PATH", "/nowhere").run_ok();
    assert_untouched(std::slice::from_ref(&scratch));
    assert_same(&reference(&source), &started(dirs));
}

#[test]
fn servers_beside_directories_get_their_share() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", tied());
    for (nth, live) in [false, true].into_iter().enumerate() {
        let (ends, scratch) = (servers(2), Server::start(&[]));
        let dir = scene.dir().join(format!("middle-{nth}"));
        let loader =
            mixed(&scene, &source, &ends, &dir).arg("--checkpoint").arg(scene.dir().join(format!("c{nth}")));
        let loader = if live { loader.arg("--scratch").arg(scratch.addr()) } else { loader };
        loader.arg("--flush-targets").run_ok();
        assert_untouched(std::slice::from_ref(&scratch));
        let mut targets = ends;
        targets.splice(1..1, started(vec![dir]));
        assert_same(&reference(&source), &targets);
    }
}

/// A directory between two masters.
fn mixed(scene: &Scene, source: &Path, ends: &[Server], dir: &Path) -> Loader {
    scene.loader().arg(source).topology(&format!(
        "[[replica_set]]\nmaster = \"{}\"\n[[replica_set]]\naof = \"{}\"\n[[replica_set]]\nmaster = \"{}\"\n",
        ends[0].addr(),
        dir.display(),
        ends[1].addr()
    ))
}

#[test]
fn without_a_server_the_source_is_refused_and_the_dry_run_says_so() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", tied());
    let (loader, dirs) = scene.load_into_directories(&source, SHARDS);
    let alone = loader.clone().env("PATH", "/nowhere");
    let words =
        ["commands need keys of several shards", "no redis-server or valkey-server on the PATH", "--scratch"];
    assert_refused(&alone.run(), 4, &words);
    let output = alone.arg("--dry-run").run();
    assert_refused(&output, 4, &words);
    assert!(output.stdout.contains("scratch server: none was found"), "{output}");
    let output = loader.arg("--dry-run").run_ok();
    assert!(output.stdout.contains("scratch server: a private redis-server"), "{output}");
    assert!(
        dirs.iter().all(|dir| !dir.exists()) && !scratch_of(&scene.dir().join("out.checkpoint")).exists()
    );
}

#[test]
fn a_server_that_cannot_take_it_is_refused_by_name() {
    let scene = Scene::new();
    let program = |name: &str, text: &str| {
        let path = scene.dir().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("room");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
        path
    };
    let source = scene.file("dump.aof", tied());
    let (loader, _) = scene.load_into_directories(&source, SHARDS);
    let old = program("old-server", "echo 'Redis server v=6.2.14 sha=0'");
    assert_refused(&loader.clone().arg("--scratch").arg(old).run(), 4, &["6.2.14", "older than version 7.0"]);
    let broken =
        program("broken-server", "[ \"$1\" = --version ] && echo 'Redis server v=7.0.15' || echo no luck");
    let output = loader.clone().arg("--scratch").arg(broken).run();
    assert_refused(&output, 5, &["has ended before it was ready", "no luck", "nothing was written"]);
    assert!(!scratch_of(&scene.dir().join("out.checkpoint")).exists());
    // An RDB part of a version that it does not read.
    let mut base = b"REDIS0012\xff".to_vec();
    base.extend([0; 8]);
    let source = scene.file("base.aof", [base, tied()].concat());
    let (loader, _) = scene.load_into_directories(&source, SHARDS);
    let seven = program("seven", "echo 'Redis server v=7.0.15'");
    assert_refused(
        &loader.arg("--scratch").arg(seven).run(),
        4,
        &["REDIS0012", "redis-server 7.0.15", "PATH"],
    );
}

#[test]
fn a_live_server_must_be_empty_and_no_target() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", tied());
    let scratch = Server::start(&[]);
    let (loader, _) = scene.load_into_directories(&source, SHARDS);
    scratch.cmd(&["SET", "k", "v"]).expect("SET");
    let with = |loader: Loader| loader.arg("--scratch").arg(scratch.addr());
    assert_refused(&with(loader).run(), 5, &["the scratch server is not empty", "holds: 1 key\n"]);
    assert_eq!(keys_in(&scratch), 1);
    scratch.cmd(&["DEL", "k"]).expect("DEL");
    let other = Server::start(&[]);
    let topology = format!(
        "[[replica_set]]\nmaster = \"{}\"\n[[replica_set]]\naof = \"{}\"\n",
        scratch.addr(),
        scene.dir().join("d").display()
    );
    let same = with(scene.loader().arg(&source).topology(&topology));
    assert_refused(&same.run(), 5, &["the scratch server is one of the targets"]);
    assert_untouched(&[scratch, other]);
}

/// The shards' directories of a drill, and the tool that loads into them.
fn into_directories(drill: &Drill, name: &str) -> (Loader, Vec<PathBuf>) {
    let out = drill.dir().join(name);
    let dirs = (0..SHARDS).map(|shard| out.join(format!("shard-{shard}"))).collect();
    (drill.loader().args(&["--shards", "3", "--output"]).arg(out), dirs)
}

/// Killed at random moments: while lanes are applied, while the scratch server starts, and while keys are shipped.
#[test]
fn killed_at_any_moment() {
    const LOADS: usize = 8;
    let mut rng = StdRng::seed_from_u64(drill::seed(11));
    let drill = Drill::mixed(drill::seed(11), 300);
    let scratch = scratch_of(&drill.checkpoint());
    let program = slow_program(drill.dir());
    let (mut kills, mut with_server) = (0, 0);
    for load in 0..LOADS {
        let (loader, dirs) = into_directories(&drill, &format!("out-{load}"));
        let loader = loader.arg("--scratch").arg(&program);
        for _ in 0..rng.random_range(1..=3) {
            let phase = ["loading", "shipping", "shipping", "shipped", "settling"][rng.random_range(0..5)];
            let mut more = rng.random_range(1..=300);
            let reached = || {
                more -= u32::from(phase_of(&scratch).is_some_and(|found| found == phase) && more > 0);
                more == 0
            };
            if !run_and_kill(&loader, reached) {
                break;
            }
            kills += 1;
            with_server += usize::from(phase_of(&scratch).is_some_and(|phase| phase == "shipping"));
            drill::eventually("the end of the scratch server", || processes_in(&scratch) == 0);
        }
        loader.run_ok();
        assert!(!scratch.exists() && processes_in(&scratch) == 0);
        drill.assert_loaded(&started(dirs));
        fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    }
    println!("{with_server} of {kills} kills came when keys were to be shipped");
    assert!(kills >= LOADS / 2 && with_server > 0);
}

/// The phase that the scratch directory's marker names.
fn phase_of(scratch: &Path) -> Option<String> {
    let text = fs::read_to_string(scratch.join("redcluster-load.marker")).ok()?;
    text.split(' ').find_map(|word| word.strip_prefix("phase=")).map(str::to_owned)
}

#[test]
fn stopped_while_the_private_server_runs() {
    let drill = Drill::mixed(drill::seed(12), 100);
    let scratch = scratch_of(&drill.checkpoint());
    let (loader, dirs) = into_directories(&drill, "out");
    let loader = loader.arg("--scratch").arg(slow_program(drill.dir()));
    let mut run = loader.spawn();
    run.wait_until("the phase of shipping", || phase_of(&scratch).is_some_and(|phase| phase == "shipping"));
    run.wait_until("the server", || processes_in(&scratch) > 0);
    run.sigterm();
    assert_eq!(run.finish().code, Some(9));
    drill::eventually("the end of the scratch server", || processes_in(&scratch) == 0);
    loader.run_ok();
    drill.assert_loaded(&started(dirs));
}

/// Lost to the system, say, which was out of memory: it is started again, or the load ends and resumes.
#[test]
fn a_private_server_that_is_lost_is_started_again() {
    let drill = Drill::mixed(drill::seed(17), 200);
    let scratch = scratch_of(&drill.checkpoint());
    let mut again = 0;
    for nth in 0..4 {
        let (loader, dirs) = into_directories(&drill, &format!("out-{nth}"));
        let mut run = loader.spawn();
        drill::or_end(&mut run, || {
            phase_of(&scratch).is_some_and(|phase| phase == "shipping") && kill_server_in(&scratch)
        });
        let output = run.finish();
        assert!(matches!(output.code, Some(0 | 7)), "{output}");
        again += u32::from(output.code == Some(0));
        loader.run_ok();
        drill.assert_loaded(&started(dirs));
        fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    }
    println!("{again} of 4 loads went on");
}

/// Kills the server that works in a directory, if there is one; not the shell that watches it.
fn kill_server_in(directory: &Path) -> bool {
    let is_server = |path: &Path| {
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == directory) && name.trim() != "sh"
    };
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(|entry| Some(entry.ok()?.path()));
    let server = processes
        .filter(|path| is_server(path))
        .find_map(|path| path.file_name()?.to_str()?.parse().ok().and_then(rustix::process::Pid::from_raw));
    server.is_some_and(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok())
}

/// Durable names and texts: a change here is a change of docs/formats.md.
#[test]
fn the_scratch_directory_is_as_documented() {
    let drill = Drill::mixed(drill::seed(16), 100);
    let scratch = scratch_of(&drill.checkpoint());
    let (loader, _) = into_directories(&drill, "out");
    let mut run = loader.arg("--scratch").arg(slow_program(drill.dir())).spawn();
    let log = scratch.join("redcluster-load.log");
    run.wait_until("the server", || {
        phase_of(&scratch).is_some_and(|phase| phase == "shipping") && log.exists()
    });
    drill::freeze(&run);
    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).expect("it is there");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names.into_iter().map(|name| name.into_string().expect("text")).collect::<Vec<_>>()
    };
    let mut files = names(&scratch);
    files.retain(|name| name != "redcluster-load.sock");
    assert_eq!(files, ["appendonlydir", "redcluster-load.log", "redcluster-load.marker"]);
    assert_eq!(
        names(&scratch.join("appendonlydir")),
        ["appendonly.aof.1.incr.aof", "appendonly.aof.manifest"]
    );
    let marker = fs::read_to_string(scratch.join("redcluster-load.marker")).expect("a marker");
    assert!(marker.contains(" lane=3/3 ") && marker.contains(" shift=0 "), "{marker}");
    let checkpoint = fs::read_to_string(drill.checkpoint()).expect("a checkpoint");
    assert!(checkpoint.contains("\"target\": \"scratch\""), "{checkpoint}");
}

/// Between two runs the scratch directory is lost: the lane begins again.
#[test]
fn a_scratch_directory_that_is_lost_is_made_again() {
    let drill = Drill::mixed(drill::seed(13), 100);
    let scratch = scratch_of(&drill.checkpoint());
    for (nth, phase) in ["loading", "shipping", "settling"].into_iter().enumerate() {
        let (loader, dirs) = into_directories(&drill, &format!("out-{nth}"));
        let loader = loader.arg("--scratch").arg(slow_program(drill.dir()));
        if run_and_kill(&loader, || phase_of(&scratch).is_some_and(|found| found == phase)) {
            fs::remove_dir_all(&scratch).expect("it is there");
        }
        loader.run_ok();
        drill.assert_loaded(&started(dirs));
        fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    }
}

#[test]
fn killed_with_a_live_scratch_server() {
    const LOADS: usize = 4;
    let mut rng = StdRng::seed_from_u64(drill::seed(14));
    let drill = Drill::mixed(drill::seed(14), 300);
    let scratch = Server::start(&[]);
    for load in 0..LOADS {
        let (loader, dirs) = into_directories(&drill, &format!("out-{load}"));
        let loader = loader
            .args(&["--batch-bytes", "4KiB", "--in-flight-bytes", "8KiB", "--scratch"])
            .arg(scratch.addr());
        for _ in 0..rng.random_range(1..=3) {
            let phase = ["loading", "shipping", "shipped", "settling", "settled"][rng.random_range(0..5)];
            let mut more = rng.random_range(1..=40);
            let mut sight = drill::Sight::of(&scratch);
            let reached = || {
                more -= u32::from(sight.mark().is_some_and(|mark| mark.phase == phase) && more > 0);
                more == 0
            };
            if !run_and_kill(&loader, reached) {
                break;
            }
        }
        loader.run_ok();
        assert_untouched(std::slice::from_ref(&scratch));
        drill.assert_loaded(&started(dirs));
        fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    }
}

/// What a load that is given up, or started over, has left in a scratch server or directory.
#[test]
fn abandoned_and_restarted() {
    let drill = Drill::mixed(drill::seed(15), 200);
    let live = Server::start(&[]);
    let directory = scratch_of(&drill.checkpoint());
    let address = live.addr();
    let choices: [(&[&str], &str); 2] = [(&[], "private"), (&["--scratch", &address], "live")];
    for (more, name) in choices {
        let is_there = || match more {
            [] => phase_of(&directory).is_some_and(|phase| phase == "loading"),
            _ => keys_in(&live) > 20,
        };
        let (loader, dirs) = into_directories(&drill, name);
        let loader = if more.is_empty() { loader.own_scratch() } else { loader.args(more) };
        assert!(run_and_kill(&loader, is_there), "it ended too soon");
        loader.clone().arg("--abandon").run_ok();
        assert!(!directory.exists());
        assert_untouched(std::slice::from_ref(&live));
        assert!(run_and_kill(&loader, is_there), "it ended too soon");
        // The directories' markers are of the load that is started over.
        loader.arg("--restart").run_ok();
        assert_untouched(std::slice::from_ref(&live));
        drill.assert_loaded(&started(dirs));
        fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    }
}

/// Loads into directories, through a private server and through one that is named.
fn assert_loaded_by_either(scene: &Scene, source: &Path) {
    let scratch = Server::start(&[]);
    // A private one has to be of the version that wrote the source, which the PATH need not have.
    let private =
        std::env::var("REDIS_SERVER").map_or(vec![], |program| vec!["--scratch".to_owned(), program]);
    for (nth, args) in [private, vec!["--scratch".to_owned(), scratch.addr()]].into_iter().enumerate() {
        let out = scene.dir().join(format!("o{nth}"));
        let loader = scene.loader().arg(source).args(&["--shards", "3", "--output"]).arg(&out);
        loader.args(&args).arg("--checkpoint").arg(scene.dir().join(format!("c{nth}"))).run_ok();
        let dirs = (0..SHARDS).map(|shard| out.join(format!("shard-{shard}"))).collect();
        assert_same(&reference(source), &started(dirs));
    }
    assert_untouched(&[scratch]);
}

/// Keys that are too large to go whole, into directories, from either kind of server.
#[test]
fn large_keys_go_in_pieces() {
    const ELEMENTS: usize = 40_000;
    let scene = Scene::new();
    let mut out = Vec::new();
    for nth in 0..ELEMENTS {
        let value = format!("{nth}").repeat(200);
        aof::push(&mut out, &[b"RPUSH", b"list:1", value.as_bytes()]);
        aof::push(&mut out, &[b"HSET", b"hash:1", format!("f{nth}").as_bytes(), value.as_bytes()]);
    }
    for line in
        ["RENAME list:1 list:2", "RENAME hash:1 hash:2", "PEXPIREAT hash:2 4102444800000", "APPEND a:1 x"]
    {
        aof::push_words(&mut out, line);
    }
    let source = scene.file("dump.aof", out);
    assert_loaded_by_either(&scene, &source);
}

/// What is tied may lie in an RDB base.
#[test]
fn an_rdb_base_is_loaded_by_either_server() {
    let scene = Scene::new();
    let base = saved(&Server::loading(scene.file("first.aof", tied())).expect("a sound source"));
    let mut rest = Vec::new();
    for line in [
        "RENAME user:2 user:3",
        "SUNIONSTORE s:9 s:2 s:3 s:4",
        "SELECT 5",
        "RENAME j i",
        "COPY user:1 u DB 0",
    ] {
        aof::push_words(&mut rest, line);
    }
    let source = scene.file("dump.aof", [base, rest].concat());
    assert_loaded_by_either(&scene, &source);
}

/// Deadlines pass between any two questions about a key; then it is gone, and must not come as one without deadline.
#[test]
fn keys_that_expire_while_they_are_brought() {
    const KEYS: i64 = 60_000;
    const SPAN_MS: i64 = 2_000;
    let scene = Scene::new();
    let from_ms = now_ms() + 300;
    let pair =
        |n: i64| format!("SET tmp:{n} v PXAT {}\nRENAME tmp:{n} user:{n}\n", from_ms + n * 7 % SPAN_MS);
    let source = scene.file("dump.aof", aof::of_lines(&(0..KEYS).map(pair).collect::<String>()));
    let (loader, directories) = scene.load_into_directories(&source, SHARDS);
    loader.own_scratch().run_ok();
    drill::eventually("all deadlines to pass", || now_ms() > from_ms + SPAN_MS);
    for target in started(directories) {
        let alive = Snapshot::of(&target);
        let alive = alive.alive(now_ms());
        assert!(alive.is_empty(), "{alive:?}");
    }
}
