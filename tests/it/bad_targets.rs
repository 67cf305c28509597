//! Targets that must not be written to: unreachable, secured, of the wrong role, full, too small.

use crate::scene::{Scene, assert_refused, assert_untouched, keys_in, reference, servers};
use crate::support::aof;
use crate::support::compare::{Snapshot, assert_same};
use crate::support::loader::Output;
use crate::support::port;
use crate::support::server::Server;
use redis::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

const PASSWORD: &str = "hunter2-secret";

fn source(scene: &Scene) -> PathBuf {
    scene.file("dump.aof", aof::of_lines("SET a 1\n SET d 2\n SELECT 2\n RPUSH l x"))
}

/// What stands before one refusal must not have been written to either.
fn assert_unfit(output: &Output, target: &str, words: &[&str]) {
    assert_refused(output, 5, words);
    assert!(output.stderr.contains(target), "it does not name {target}: {output}");
    assert!(output.stderr.contains("nothing was written"), "{output}");
}

#[test]
fn a_closed_port_is_refused() {
    let (scene, good) = (Scene::new(), servers(1));
    let closed = format!("127.0.0.1:{}", port::free());
    let output = scene.loader().arg(source(&scene)).masters(&[good[0].addr(), closed.clone()]).run();
    assert_unfit(&output, &closed, &["refused"]);
    assert_untouched(&good);
    let output = scene.loader().arg(source(&scene)).masters(&["no-such-host.invalid:6379"]).run();
    assert_unfit(&output, "no-such-host.invalid:6379", &[]);
    let socket = scene.dir().join("no.sock");
    let output = scene.loader().arg(source(&scene)).masters(&[format!("unix:{}", socket.display())]).run();
    assert_unfit(&output, "no.sock", &["No such file"]);
}

/// A host that takes connections and then says nothing.
#[test]
fn a_silent_target_is_given_up_after_the_timeout() {
    let (scene, target) = (Scene::new(), servers(1));
    target[0].pause();
    let output = scene.load(&source(&scene), &target).args(&["--timeout-ms", "300"]).run();
    target[0].resume();
    assert_unfit(&output, &target[0].addr(), &[]);
    assert_untouched(&target);
}

/// What stops a transaction that empties a target is said as it was answered.
#[test]
fn a_renamed_flushall_is_named() {
    let scene = Scene::new();
    let target = [Server::start(&[("rename-command FLUSHALL", "hidden")])];
    target[0].cmd(&["SET", "theirs", "1"]).expect("SET");
    let output = scene.load(&source(&scene), &target).arg("--flush-targets").run();
    assert_refused(&output, 5, &["unknown command 'FLUSHALL'", "without renamed commands"]);
    assert_eq!(keys_in(&target[0]), 1);
}

fn secured() -> Server {
    Server::start(&[("requirepass", PASSWORD)])
}

fn assert_secret(output: &Output) {
    assert!(!output.to_string().contains(PASSWORD), "the password is shown: {output}");
    assert!(!output.to_string().contains("hunter"), "a part of the password is shown: {output}");
}

#[test]
fn a_wrong_or_missing_password_is_refused() {
    let (scene, target) = (Scene::new(), secured());
    let set = format!("[[replica_set]]\nmaster = \"{}\"\n", target.addr());
    let loader = scene.loader().arg(source(&scene)).args(&["-vv"]);
    let wrong = loader.clone().topology(&format!("{set}password_env = \"WORD\"\n")).env("WORD", "hunter3");
    let output = wrong.run();
    let shard = format!("shard: 0 ({})", target.addr());
    assert_unfit(&output, &shard, &["password", "answer: WRONGPASS\n"]);
    assert_secret(&output);
    let output = loader.clone().topology(&set).run();
    assert_unfit(&output, &shard, &["password", "answer: NOAUTH"]);
    let user = format!("{set}username = \"nobody\"\npassword = \"{PASSWORD}\"\n");
    let output = loader.clone().topology(&user).run();
    assert_unfit(&output, &target.addr(), &["password"]);
    assert_secret(&output);
    assert_untouched(std::slice::from_ref(&target));
    // The other way round: a password for a server that has none.
    let open = servers(1);
    let set = format!("[[replica_set]]\nmaster = \"{}\"\npassword = \"{PASSWORD}\"\n", open[0].addr());
    let output = loader.topology(&set).run();
    let answer = "AUTH <password> called without any password configured";
    assert_unfit(&output, &open[0].addr(), &[answer, "leave the password out"]);
    assert_secret(&output);
}

/// From a variable that the file names, from a file, from the tool's own variable, from the topology; never shown.
#[test]
fn passwords_from_everywhere_work_and_are_never_shown() {
    let word_file = |scene: &Scene| scene.file("word", format!("{PASSWORD}\n"));
    for way in ["env", "file", "default", "plain", "auth", "user"] {
        let (scene, target) = (Scene::new(), secured());
        target
            .cmd(&["ACL", "SETUSER", "loader", "on", &format!(">{PASSWORD}"), "~*", "+@all"])
            .expect("ACL SETUSER");
        let source = source(&scene);
        let set = format!("[[replica_set]]\nmaster = \"{}\"\n", target.addr());
        let loader = scene.loader().arg(&source).arg("-vv");
        let path = word_file(&scene).display().to_string();
        let loader = match way {
            "env" => loader.topology(&format!("{set}password_env = \"WORD\"\n")).env("WORD", PASSWORD),
            "file" => loader.topology(&format!("{set}password_file = \"{path}\"\n")),
            "default" => loader.topology(&set).env("REDCLUSTER_LOAD_PASSWORD", PASSWORD),
            "plain" => loader.topology(&format!("{set}password = \"{PASSWORD}\"\n")),
            "auth" => loader.topology(&format!("[auth]\npassword_file = \"{path}\"\n{set}")),
            _ => loader.topology(&format!("{set}username = \"loader\"\npassword_file = \"{path}\"\n")),
        };
        let output = loader.clone().arg("--keep-markers").run_ok();
        assert_secret(&output);
        let checkpoint = fs::read_to_string(scene.dir().join("dump.aof.checkpoint")).expect("a checkpoint");
        assert!(!checkpoint.contains(PASSWORD), "{checkpoint}");
        let marker = target.cmd(&["GET", crate::support::loader::MARKER]).expect("a marker");
        assert!(matches!(&marker, Value::BulkString(text) if !text.is_empty()), "{marker:?}");
        assert!(!crate::support::wire::text(&marker).contains(PASSWORD));
        target.cmd(&["DEL", crate::support::loader::MARKER]).expect("DEL");
        assert_same(&reference(&source), std::slice::from_ref(&target));
    }
}

/// A user who may not do what the load needs: told before anything is written.
#[test]
fn a_user_without_the_necessary_rights_is_refused() {
    let (scene, target) = (Scene::new(), servers(1));
    let set = format!(
        "[[replica_set]]\nmaster = \"{}\"\nusername = \"loader\"\npassword = \"word\"\n",
        target[0].addr()
    );
    let rights: [&[&str]; 2] = [&["~*", "+@all", "-multi", "-exec"], &["~other:*", "+@all"]];
    for rights in rights {
        let user = [&["ACL", "SETUSER", "loader", "reset", "on", ">word"], rights].concat();
        target[0].cmd(&user).expect("ACL SETUSER");
        let output = scene.loader().arg(source(&scene)).topology(&set).run();
        assert_unfit(&output, &format!("shard: 0 ({})", target[0].addr()), &["NOPERM"]);
        assert_untouched(&target);
    }
    // Seen only when the first marker is set: whether it was, the loader may not know.
    target[0]
        .cmd(&["ACL", "SETUSER", "loader", "reset", "on", ">word", "~*", "+@all", "-set"])
        .expect("ACL SETUSER");
    let output = scene.loader().arg(source(&scene)).topology(&set).run();
    assert_refused(&output, 5, &["a target cannot be used; no data was written, at most a marker", "NOPERM"]);
    assert_untouched(&target);
}

/// Whoever reads that nothing was written might take an unfinished load for one that never began.
#[test]
fn a_rerun_does_not_deny_what_was_written_before() {
    let (scene, target) = (Scene::new(), servers(1));
    let loader = scene.load(&source(&scene), &target);
    loader.run_ok();
    target[0].cmd(&["CONFIG", "SET", "requirepass", PASSWORD]).expect("CONFIG SET");
    assert_refused(&loader.run(), 5, &["a target cannot be used; nothing more was written", "NOAUTH"]);
    std::fs::remove_file(scene.dir().join("dump.aof")).expect("it is there");
    assert_refused(&loader.run(), 3, &["cannot read the source; nothing more was written"]);
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "no sign of {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_replica_named_as_master_is_refused() {
    let (scene, master) = (Scene::new(), servers(1));
    let replica = Server::start(&[("replicaof", &format!("127.0.0.1 {}", master[0].port()))]);
    wait_until("the replica's link", || replica.info("master_link_status").as_deref() == Some("up"));
    let output = scene.load(&source(&scene), std::slice::from_ref(&replica)).run();
    assert_unfit(&output, &replica.addr(), &["replica of", &master[0].addr()]);
    assert_untouched(&master);
    // A writable replica takes writes and throws them away at its next resync.
    replica.cmd(&["CONFIG", "SET", "replica-read-only", "no"]).expect("CONFIG SET");
    let output = scene.load(&source(&scene), std::slice::from_ref(&replica)).run();
    assert_unfit(&output, &replica.addr(), &["replica of"]);
}

#[test]
fn one_master_for_two_sets_is_refused_under_any_name() {
    let (scene, target) = (Scene::new(), servers(1));
    let (addr, alias) = (target[0].addr(), format!("localhost:{}", target[0].port()));
    let output = scene.loader().arg(source(&scene)).masters(&[&addr, &alias]).run();
    assert_unfit(&output, &addr, &["same master", &alias, "shard: 0", "shard: 1"]);
    assert_untouched(&target);
    // What the file alone shows is a mistake in the file.
    let output = scene.loader().arg(source(&scene)).masters(&[&addr, &addr]).run();
    assert_refused(&output, 2, &["named twice", "line"]);
}

#[test]
fn a_target_that_is_not_empty_is_refused_or_flushed() {
    let fills: [(&[&[&str]], &str); 3] = [
        (&[&["SET", "theirs", "1"]], "holds: 1 key\n"),
        (
            &[&["SET", "a", "theirs", "PX", "900000"], &["COPY", "a", "b", "DB", "7"], &["MOVE", "a", "9"]],
            "2 keys",
        ),
        (
            &[&["FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)"]],
            "holds: 1 library of functions\n",
        ),
    ];
    for (commands, holds) in fills {
        let (scene, targets) = (Scene::new(), servers(2));
        for command in commands {
            targets[1].cmd(command).expect("it can be filled");
        }
        let before = Snapshot::of(&targets[1]);
        let source = source(&scene);
        let output = scene.load(&source, &targets).run();
        assert_unfit(&output, &targets[1].addr(), &["not empty", holds, "--flush-targets"]);
        scene.load(&source, &targets).args(&["--dry-run", "--flush-targets"]).run_ok();
        let after = Snapshot::of(&targets[1]);
        assert_eq!((after.keys, after.functions), (before.keys, before.functions), "nothing is deleted yet");
        assert_eq!(keys_in(&targets[0]), 0);
        scene.load(&source, &targets).arg("--flush-targets").run_ok();
        assert_same(&reference(&source), &targets);
        // Once it is done, the same words do nothing, least of all delete.
        targets[0].cmd(&["SET", "later", "1"]).expect("SET");
        scene.load(&source, &targets).arg("--flush-targets").run_ok();
        assert_eq!(targets[0].cmd(&["EXISTS", "later"]), Ok(Value::Int(1)));
    }
}

#[test]
fn a_target_that_would_evict_is_refused() {
    for policy in ["allkeys-lru", "volatile-ttl", "allkeys-random"] {
        let (scene, targets) = (Scene::new(), servers(2));
        targets[1].cmd(&["CONFIG", "SET", "maxmemory-policy", policy]).expect("CONFIG SET");
        targets[1].cmd(&["CONFIG", "SET", "maxmemory", "100mb"]).expect("CONFIG SET");
        let output = scene.load(&source(&scene), &targets).run();
        assert_unfit(&output, &targets[1].addr(), &["evict", "maxmemory-policy noeviction"]);
        assert_untouched(&targets);
        // Neither of the two alone evicts.
        targets[0].cmd(&["CONFIG", "SET", "maxmemory", "100mb"]).expect("CONFIG SET");
        targets[1].cmd(&["CONFIG", "SET", "maxmemory", "0"]).expect("CONFIG SET");
        scene.load(&source(&scene), &targets).run_ok();
    }
}

#[test]
fn a_target_with_too_few_databases_is_refused() {
    let few = || Server::start(&[("databases", "4")]);
    for (lines, needed) in [
        ("SET a 1\n SELECT 4\n SET b 1", 5),
        ("SET a 1\n MOVE a 5", 6),
        ("SET a 1\n COPY a a DB 6", 7),
        ("SWAPDB 0 7", 8),
        ("SELECT 8", 9),
    ] {
        let (scene, targets) = (Scene::new(), [Server::start(&[]), few()]);
        let source = scene.file("dump.aof", aof::of_lines(lines));
        let output = scene.load(&source, &targets).run();
        assert_unfit(
            &output,
            &targets[1].addr(),
            &["too few databases", &format!("needed: {needed}"), "found: 4"],
        );
        assert_untouched(&targets);
    }
    let (scene, targets) = (Scene::new(), [few(), few()]);
    let source =
        scene.file("dump.aof", aof::of_lines("SELECT 3\n SET a 1\n SET d 1\n SWAPDB 2 3\n MOVE a 1"));
    scene.load(&source, &targets).run_ok();
    assert_same(&reference(&source), &targets);
}

/// Every master is looked at before any is written to.
#[test]
fn the_last_unfit_target_keeps_the_first_from_being_written_to() {
    let (scene, good) = (Scene::new(), servers(3));
    let full = servers(1);
    full[0].cmd(&["SET", "theirs", "1"]).expect("SET");
    let addrs: Vec<String> = good.iter().chain(&full).map(Server::addr).collect();
    let output =
        scene.loader().arg(source(&scene)).masters(&addrs).arg("--check-topology").arg("--dry-run").run();
    let loaded = scene.loader().arg(source(&scene)).masters(&addrs).run();
    for output in [output, loaded] {
        assert_unfit(&output, &full[0].addr(), &["shard: 3", "not empty"]);
    }
    assert_untouched(&good);
}

/// What is about to be deleted is said while nothing is deleted yet.
#[test]
fn a_dry_run_says_what_flushing_would_delete() {
    let (scene, targets) = (Scene::new(), servers(2));
    targets[1].cmd(&["SET", "theirs", "1"]).expect("SET");
    let addrs: Vec<String> = targets.iter().map(Server::addr).collect();
    let dry_run = |more: &[&str]| {
        let loader = scene.loader().arg(source(&scene)).masters(&addrs);
        loader.args(&["--check-topology", "--dry-run", "--flush-targets"]).args(more).run_ok()
    };
    let said = dry_run(&[]);
    assert!(said.stdout.contains("--flush-targets deletes what targets hold now"), "{said}");
    assert!(said.stdout.contains(&format!("{}: 1 key\n", addrs[1])), "{said}");
    assert!(!said.stdout.contains(&format!("{}: ", addrs[0])), "{said}");
    assert!(dry_run(&["--json"]).stdout.contains(r#""deletes":[{"holds":"1 key","target":"#));
    assert_eq!(targets[1].cmd(&["GET", "theirs"]).expect("GET"), redis::Value::BulkString(b"1".to_vec()));
}

#[test]
fn the_marker_key_is_reserved_unless_another_is_named() {
    let (scene, targets) = (Scene::new(), servers(2));
    let source =
        scene.file("dump.aof", aof::of_lines("SET a 1\n SET redcluster-load:marker theirs\n SET d 2"));
    let output = scene.load(&source, &targets).run();
    assert_refused(&output, 4, &["--marker-key", "redcluster-load:marker"]);
    assert_untouched(&targets);
    scene.load(&source, &targets).args(&["--marker-key", "another"]).run_ok();
    assert_same(&reference(&source), &targets);
}

#[test]
fn an_output_that_cannot_be_written_is_refused() {
    let scene = Scene::new();
    let file = scene.file("out", "");
    let load = |out: &Path| scene.loader().arg(source(&scene)).args(&["--shards", "1", "--output"]).arg(out);
    assert_refused(
        &load(&file).run(),
        5,
        &["cannot read the directory", "Not a directory", "or name another"],
    );
    // Nobody can make a directory there.
    let output = load(Path::new("/proc/out")).run();
    assert_refused(&output, 1, &["cannot write the append-only file", "/proc/out/shard-0", "make room"]);
}
