//! What goes wrong before a load begins, through the binary: source, topology, permissions, disk, output.

use crate::scene::{Scene, assert_refused, assert_untouched, reference, servers, started};
use crate::support::aof;
use crate::support::compare::assert_same;
use crate::support::loader::{Loader, Output};
use serde_json::Value as Json;
use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `nobody`, on every system that matters.
const NOBODY: u32 = 65_534;

/// Runs the tool as a user whom permissions hold: this one, unless it is root.
fn run_unprivileged(scene: &Scene, args: &[&Path]) -> Output {
    let mut command = if rustix::process::geteuid().is_root() {
        // The tool itself may lie where nobody else may look.
        let tool = scene.dir().join("redcluster-load");
        // By another process: a file that this one has open for writing is inherited by whatever another test starts
        // at that moment, and cannot be run as long.
        let from = assert_cmd::cargo::cargo_bin!("redcluster-load");
        let copied = Command::new("cp").arg(from).arg(&tool).status().expect("cp can be run");
        assert!(copied.success(), "there is room");
        fs::set_permissions(scene.dir(), Permissions::from_mode(0o755)).expect("it is ours");
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={NOBODY}"))
            .arg(format!("--regid={NOBODY}"))
            .arg("--clear-groups")
            .arg(tool);
        command
    } else {
        Command::new(assert_cmd::cargo::cargo_bin!("redcluster-load"))
    };
    run(command.args(args))
}

fn run(command: &mut Command) -> Output {
    let done = command.output().expect("it can be run");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (stdout, stderr) = (text(done.stdout), text(done.stderr));
    Output { code: done.status.code(), signal: done.status.signal(), stdout, stderr }
}

#[test]
fn sources_that_are_none_are_refused_by_what_they_are() {
    let (scene, targets) = (Scene::new(), servers(2));
    let file = |name: &str, bytes: &[u8]| scene.file(name, bytes);
    let empty_dir = scene.dir().join("empty");
    fs::create_dir(&empty_dir).expect("room");
    let dangling = scene.dir().join("dangling");
    std::os::unix::fs::symlink("/no/such/file", &dangling).expect("room");
    let cases: [(PathBuf, &[&str]); 13] = [
        (scene.dir().join("missing.aof"), &["cannot read the source", "No such file"]),
        (dangling, &["cannot read the source", "No such file"]),
        (empty_dir, &["no manifest"]),
        (PathBuf::from("/dev/null"), &["not a regular file"]),
        (file("dump.rdb", b"REDIS0011\xfa\x09redis-ver"), &["RDB", "cut off", "byte: 20\n"]),
        (file("dump.aof.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"), &["gzip", "decompress"]),
        (file("dump.aof.zst", b"\x28\xb5\x2f\xfd\x04\x58"), &["zstd", "decompress"]),
        (file("dump.json", b"{\"key\": \"value\"}\n"), &["JSON"]),
        (file("list.json", b"[1, 2]\n"), &["JSON"]),
        (
            file("commands.txt", b"SET key value\r\n"),
            &["damaged", "byte: 0\n", "expected: ", "found: SET key value", "all that lies behind is lost"],
        ),
        (file("page.html", b"<html>\n"), &["damaged", "byte: 0\n", "found: <html>"]),
        (file("zeros", &[0; 4096]), &["damaged", "byte: 0\n"]),
        (scene.dir().join("missing/appendonly.aof.manifest"), &["cannot read the source", "No such file"]),
    ];
    for (path, words) in cases {
        let output = scene.load(&path, &targets).run();
        assert_refused(&output, 3, words);
        assert!(
            output.stderr.contains(&path.display().to_string()),
            "it does not name {}: {output}",
            path.display()
        );
        assert_untouched(&targets);
        // A dry run says the same.
        assert_refused(&scene.load(&path, &targets).arg("--dry-run").run(), 3, words);
    }
}

#[test]
fn a_source_that_may_not_be_read_is_refused() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", aof::of_lines("SET a 1"));
    fs::set_permissions(&source, Permissions::from_mode(0o000)).expect("it is ours");
    let flags: [&Path; 5] =
        ["--shards", "1", "--output", "/tmp/redcluster-load-test-never-made", "--dry-run"].map(Path::new);
    let output = run_unprivileged(&scene, &[&[source.as_path()], &flags[..]].concat());
    assert_refused(
        &output,
        3,
        &["cannot read the source", "Permission denied", &source.display().to_string()],
    );
    // Otherwise nothing is wrong with it.
    fs::set_permissions(&source, Permissions::from_mode(0o444)).expect("it is ours");
    let output = run_unprivileged(&scene, &[&[source.as_path()], &flags[..]].concat());
    assert_eq!(output.code, Some(0), "{output}");
}

/// Nothing may be written before it is certain that progress can be recorded.
#[test]
fn a_checkpoint_directory_that_may_not_be_written_is_refused() {
    let (scene, targets) = (Scene::new(), servers(1));
    let home = scene.dir().join("read-only");
    fs::create_dir(&home).expect("room");
    let source = aof::write_file(&home, "dump.aof", &aof::of_lines("SET a 1"));
    let topology = scene.file("sets.toml", format!("[[replica_set]]\nmaster = \"{}\"\n", targets[0].addr()));
    fs::set_permissions(&home, Permissions::from_mode(0o555)).expect("it is ours");
    let flag = Path::new("--topology");
    let output = run_unprivileged(&scene, &[&source, flag, &topology]);
    assert_refused(&output, 1, &["checkpoint", "Permission denied", "--checkpoint"]);
    assert_untouched(&targets);
    // The remedy that it names is one.
    let elsewhere = scene.dir().join("elsewhere");
    fs::create_dir(&elsewhere).expect("room");
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o777)).expect("it is ours");
    let checkpoint = elsewhere.join("checkpoint");
    let output =
        run_unprivileged(&scene, &[&source, flag, &topology, Path::new("--checkpoint"), &checkpoint]);
    assert_eq!(output.code, Some(0), "{output}");
    assert!(checkpoint.is_file());
    assert_same(&reference(&source), &targets);
    fs::set_permissions(&home, Permissions::from_mode(0o755)).expect("it is ours");
}

#[test]
fn a_topology_with_a_mistake_is_refused_with_its_line() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", aof::of_lines("SET a 1"));
    let set = "[[replica_set]]\nmaster = \"127.0.0.1:1\"\n";
    let cases = [
        (format!("{set}replica = [\"127.0.0.1:2\"]\n"), "line: 3, column 1", "did you mean `replicas`"),
        (
            format!("{set}\n[[replica_sets]]\nmaster = \"127.0.0.1:2\"\n"),
            "line: 4, column 3",
            "did you mean `replica_set`",
        ),
        (
            "\n[[replica_set]]\nmaster = \"127.0.0.1:port\"\n".to_owned(),
            "line: 3, column 10",
            "`port` is not a port",
        ),
        ("[[replica_set]]\nmaster = 6379\n".to_owned(), "line: 2, column 10", "an address"),
        ("[[replica_set]]\nmaster = \"a\n".to_owned(), "line: 2", "not TOML"),
        (format!("[routing]\nhash = \"crc16\"\n{set}"), "line: 2, column 8", "crc32"),
        ("[[replica_set]]\nreplicas = []\n".to_owned(), "line: 1", "neither `master` nor `aof`"),
        (format!("{set}{set}"), "line: 3", "named twice"),
        (format!("{set}tls = true\n"), "line: 3", "TLS is not supported yet"),
        (format!("{set}password_env = \"NO_SUCH_VARIABLE\"\n"), "line: 3", "NO_SUCH_VARIABLE"),
        (String::new(), "topology.toml", "names 0 replica sets"),
    ];
    for (text, place, words) in cases {
        for more in [&[][..], &["--dry-run"]] {
            let output = scene.loader().arg(&source).topology(&text).args(more).run();
            assert_refused(&output, 2, &[place, words, "topology.toml"]);
            assert!(!scene.dir().join("dump.aof.checkpoint").exists());
        }
    }
    let missing = scene.loader().arg(&source).args(&["--topology", "/no/such/sets.toml"]).run();
    assert_refused(&missing, 2, &["cannot read the topology file", "/no/such/sets.toml"]);
    let output = scene.loader().arg(&source).args(&["--topology", "sets.toml", "--no-such-option"]).run();
    assert_eq!(output.code, Some(2), "{output}");
    assert!(output.stderr.contains("--no-such-option"), "{output}");
}

/// A limit on the size of files stands for a disk that is full: the write fails in the middle of the load.
#[test]
fn a_full_disk_ends_the_load_and_it_resumes_with_room() {
    let (scene, value) = (Scene::new(), "v".repeat(1000));
    let lines: String = (0..6000).map(|n| format!("RPUSH list:{} {n} {value}\n", n % 50)).collect();
    let source = scene.file("dump.aof", aof::of_lines(&lines));
    let (loader, dirs) = scene.load_into_directories(&source, 2);
    let mut limited = Command::new("prlimit");
    limited.arg("--fsize=1500000").arg(assert_cmd::cargo::cargo_bin!("redcluster-load")).arg(&source);
    limited.arg("--checkpoint").arg(scene.dir().join("out.checkpoint"));
    limited.arg("--shards").arg("2").arg("--output").arg(scene.dir().join("out"));
    for _ in 0..2 {
        let output = run(&mut limited);
        assert_refused(&output, 1, &["File too large", "shard-", "run the same command again"]);
        assert!(
            !dirs[0].join("appendonlydir/appendonly.aof.manifest").exists(),
            "no server may start from a half"
        );
    }
    loader.run_ok();
    assert_same(&reference(&source), &started(dirs));
}

#[test]
fn a_directory_that_holds_other_files_is_not_overwritten() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", aof::of_lines("SET a 1"));
    let (loader, dirs) = scene.load_into_directories(&source, 2);
    fs::create_dir_all(&dirs[1]).expect("room");
    let theirs = aof::write_file(&dirs[1], "appendonly.aof", b"precious");
    assert_refused(&loader.run(), 5, &["not empty", &dirs[1].display().to_string()]);
    assert_eq!(fs::read(&theirs).expect("still there"), b"precious");
    assert!(
        !dirs[0].exists() || fs::read_dir(&dirs[0]).expect("a directory").next().is_none(),
        "nothing was written"
    );
    fs::remove_file(theirs).expect("it is ours");
    loader.run_ok();
    // Nor what an earlier load has made.
    let other = scene.file("other.aof", aof::of_lines("SET b 1"));
    let again = scene.loader().arg(&other).args(&["--shards", "2", "--output"]).arg(scene.dir().join("out"));
    assert_refused(&again.run(), 5, &["not empty"]);
    assert_same(&reference(&source), &started(dirs));
}

/// Three kinds of commands that cannot be carried out, 27 in all, among some that can.
fn unsupported() -> (Vec<u8>, Vec<usize>, Vec<u8>) {
    let (mut bytes, mut places, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..9 {
        let good = aof::of_lines(&format!("SET key{n} {n}\n RPUSH list{n} a"));
        bytes.extend_from_slice(&good);
        rest.extend_from_slice(&good);
        for line in ["SORT a BY w_* STORE d", "JSON.SET doc $ 1", "EVAL return 0"] {
            places.push(bytes.len());
            bytes.extend(aof::of_lines(line));
        }
    }
    (bytes, places, rest)
}

#[test]
fn commands_that_cannot_be_carried_out_are_counted_listed_and_refused() {
    let (scene, targets) = (Scene::new(), servers(2));
    let (bytes, places, _) = unsupported();
    let source = scene.file("dump.aof", bytes);
    let output = scene.load(&source, &targets).run();
    let counts =
        ["27 commands", "9 x reads keys through a pattern", "9 x unknown command", "9 x runs a script"];
    assert_refused(&output, 4, &[&counts[..], &["nothing was written", "--skip-unsupported"]].concat());
    let listed: Vec<usize> = output.stderr.lines().filter_map(|line| listed_at(line, &source)).collect();
    assert_eq!(listed, places[..20], "the first 20 with their places: {output}");
    for words in ["SORT a", "JSON.SET doc", "EVAL: runs a script"] {
        assert!(output.stderr.contains(words), "{output}");
    }
    assert_untouched(&targets);
    let dry = scene.load(&source, &targets).arg("--dry-run").run();
    assert_refused(&dry, 4, &counts);
    assert!(dry.stdout.contains("27 commands that cannot be carried out"), "{dry}");
}

fn listed_at(line: &str, source: &Path) -> Option<usize> {
    let rest = line.trim().strip_prefix("refused: ")?.strip_prefix(&source.display().to_string())?;
    rest.trim_start().strip_prefix("byte ")?.split(':').next()?.parse().ok()
}

#[test]
fn what_cannot_be_carried_out_may_be_left_out_and_is_told() {
    let (scene, targets) = (Scene::new(), servers(2));
    let (bytes, places, rest) = unsupported();
    let source = scene.file("dump.aof", bytes);
    let output = scene.load(&source, &targets).arg("--skip-unsupported").run_ok();
    assert_same(&reference(&scene.file("rest.aof", rest)), &targets);
    for words in ["without 27 commands", "27 commands left out", "unknown command", "runs a script"] {
        assert!(output.stdout.contains(words), "{words:?} is missing: {output}");
    }
    for place in &places[..3] {
        assert!(output.stdout.contains(&format!("byte {place} of ")), "byte {place} is missing: {output}");
    }
}

#[test]
fn a_dry_run_connects_to_nothing_and_writes_nothing() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", aof::of_lines("SET a 1\n SELECT 3\n SET b 1 PXAT 1\n GET a"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("it can wait or not");
    let addr = listener.local_addr().expect("it has one").to_string();
    let loader: Loader =
        scene.loader().arg(&source).masters(&[addr.as_str(), "127.0.0.1:1"]).arg("--dry-run");
    let output = loader.clone().args(&["--flush-targets", "--restart"]).run_ok();
    assert!(output.stdout.contains("the source can be loaded"), "{output}");
    let error = listener.accept().expect_err("nobody has called");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    let left: Vec<_> = fs::read_dir(scene.dir())
        .expect("a directory")
        .map(|entry| entry.expect("a file").file_name())
        .collect();
    assert_eq!(left.len(), 2, "source and topology, but {left:?}");
    // Asked to look at the targets it does.
    drop(listener);
    assert_refused(&loader.arg("--check-topology").run(), 5, &[&addr, "nothing was written"]);
}

fn json(output: &Output) -> Json {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error} in the JSON of {output}"))
}

#[test]
fn json_is_all_that_stdout_holds() {
    let (scene, targets) = (Scene::new(), servers(2));
    let source = scene.file(
        "dump.aof",
        aof::of_lines("SET a 1\n SET d 2\n GET a\n SELECT 3\n LPOP missing\n SET b x PXAT 1"),
    );
    let dry = json(&scene.load(&source, &targets).args(&["--json", "--dry-run"]).run_ok());
    assert_eq!(dry["format"], "redcluster-load-survey/1");
    assert_eq!(dry["commands"]["total"], 6);
    assert_eq!(dry["databases_needed"], 4);
    let done = json(&scene.load(&source, &targets).args(&["--json", "-v"]).run_ok());
    assert_eq!(done["format"], "redcluster-load-report/1");
    assert_eq!((&done["outcome"], &done["resumable"]), (&"complete".into(), &false.into()));
    assert_eq!(done["total"]["commands"], 4);
    assert_eq!(done["shards"].as_array().map(Vec::len), Some(2));
    let again = json(&scene.load(&source, &targets).arg("--json").run_ok());
    assert_eq!(again["outcome"], "already_complete");
    // A refusal has no result; what is said about it is for stderr.
    let refused = scene.load(&scene.dir().join("missing"), &targets).arg("--json").run();
    assert_refused(&refused, 3, &["cannot read the source"]);
    assert_eq!(refused.stdout, "");
}

/// What a load has made may be deleted, and then the same command does not make it again.
#[test]
fn a_complete_load_of_which_nothing_is_left() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", aof::of_lines("SET a 1\n SET d 2"));
    let (loader, directories) = scene.load_into_directories(&source, 2);
    loader.run_ok();
    let again = scene.load_into_directories(&source, 2).0.run_ok();
    assert!(!again.stderr.contains("--restart"), "{again}");
    std::fs::remove_dir_all(&directories[1]).expect("a directory");
    let again = scene.load_into_directories(&source, 2).0.run_ok();
    assert!(again.stdout.contains("nothing was done"), "{again}");
    assert!(again.stderr.contains("nothing is there now in shard 1 "), "{again}");

    let targets = servers(2);
    scene.load(&source, &targets).run_ok();
    redis::cmd("FLUSHALL").exec(&mut targets[0].conn()).expect("an answer");
    let again = scene.load(&source, &targets).run_ok();
    assert!(!again.stderr.contains("--restart"), "a shard may well be empty: {again}");
    redis::cmd("FLUSHALL").exec(&mut targets[1].conn()).expect("an answer");
    let again = scene.load(&source, &targets).run_ok();
    assert!(again.stderr.contains("--restart"), "{again}");
}

#[test]
fn quiet_means_the_result_only() {
    let (scene, targets) = (Scene::new(), servers(2));
    let source = scene.file("dump.aof", aof::of_lines("SET a 1"));
    let output = scene.load(&source, &targets).args(&["-q", "--progress-interval-s", "1"]).run_ok();
    assert_eq!(output.stderr, "");
    assert!(output.stdout.contains("complete: "), "{output}");
    let loud = scene.load(&source, &targets).args(&["--restart", "--flush-targets"]).run_ok();
    assert_ne!(loud.stderr, "", "without -q there is progress");
    let missing = scene.load(&scene.dir().join("missing"), &targets).arg("-q").run();
    assert_refused(&missing, 3, &["cannot read the source"]);
}

/// Whoever reads the output may have gone already; that is no reason to fail or to panic. Where it cannot be written for
/// another reason, that is said.
#[test]
fn a_closed_stdout_does_not_end_the_load() {
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let (reader, closed) = std::io::pipe().expect("a pipe");
    drop(reader);
    for (stdout, code, said) in
        [(Stdio::from(full), Some(1), "cannot write to stdout"), (Stdio::from(closed), Some(0), "")]
    {
        let (scene, targets) = (Scene::new(), servers(1));
        let source = scene.file("dump.aof", aof::of_lines("SET a 1"));
        let text = format!("[[replica_set]]\nmaster = \"{}\"\n", targets[0].addr());
        let topology = scene.file("sets.toml", text);
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("redcluster-load"));
        let command = command.arg(&source).arg("--topology").arg(topology).stdout(stdout);
        let done = command.output().expect("it runs");
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), code, "{stderr}");
        assert!(stderr.contains(said) && !stderr.contains("panicked"), "{stderr}");
        assert_same(&reference(&source), &targets);
    }
}

/// Who has set a variable long ago does not think of it when an option is refused that was never given.
#[test]
fn a_bad_value_of_a_variable_names_the_variable() {
    let cases = [
        ("REDCLUSTER_LOAD_BATCH_BYTES", "1KB", "--batch-bytes", "4KiB"),
        ("REDCLUSTER_LOAD_COLOR", "sometimes", "--color", "never"),
        ("REDCLUSTER_LOAD_VERBOSE", "much", "--verbose", "--json"),
        ("REDCLUSTER_LOAD_JSON", "perhaps", "--json", "--verbose"),
        ("REDCLUSTER_LOAD_THREADS", "0", "--threads", "1"),
        ("REDCLUSTER_LOAD_MARKER_KEY", &"k".repeat(100_000), "--marker-key", "k"),
    ];
    let scene = Scene::new();
    for (variable, bad, option, good) in cases {
        let loader = scene.loader().args(&["dump.aof", "--shards", "1", "--output", "out"]);
        let output = loader.clone().env(variable, bad).run();
        assert_eq!(output.code, Some(2), "{output}");
        assert!(output.stderr.contains(variable) && output.stderr.contains(option), "{variable}: {output}");
        if !good.starts_with('-') {
            // Said on the command line it is the option's.
            let output = loader.args(&[option, bad]).env(variable, good).run();
            assert!(output.code == Some(2) && !output.stderr.contains(variable), "{variable}: {output}");
        }
    }
}
