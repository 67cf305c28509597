//! What is taken for a source and what is not: redis-server, given the same bytes, is the judge.

use crate::scene::{Scene, assert_refused, assert_untouched, empty, reference, servers, started};
use crate::support::aof::{self, MultiPart};
use crate::support::compare::{Snapshot, assert_same};
use crate::support::loader::Output;
use crate::support::server::Server;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;

/// Workers of tests that start a server for each of many cases.
const WORKERS: usize = 4;

/// Loads `source` both ways into empty targets. What the server takes, the tool must take to the same end; what the
/// server refuses, the tool must refuse untouched, as damaged or as commands that it cannot carry out.
fn judge(scene: &Scene, source: &Path, targets: &[Server]) -> Output {
    empty(targets);
    let output = scene.load(source, targets).run();
    let what = format!("{}, loaded: {output}", source.display());
    match (Server::loading(source), output.code) {
        (Ok(reference), Some(0)) => assert_same(&reference, targets),
        (Err(_), Some(3)) | (_, Some(4)) => assert_untouched(targets),
        (Ok(_), _) => panic!("the server takes {what}"),
        (Err(log), _) => panic!("the server refuses {what}\n{log}"),
    }
    output
}

/// A source cut into its parts, each with whether a server may stop loading behind it.
fn parts() -> Vec<(Vec<u8>, bool)> {
    let lines = |text: &str| aof::of_lines(text);
    let mut odd = Vec::new();
    aof::push(&mut odd, &[b"SET", b"odd\r\n*1", b"$5\r\n\0"]);
    vec![
        (lines("SELECT 1"), true),
        (lines("SET a 1"), true),
        (b"#TS:1700000000\r\n".to_vec(), true),
        (lines("MULTI"), false),
        (lines("INCR a"), false),
        (b"#TS:1700000001\r\n".to_vec(), false),
        (lines("SELECT 2"), false),
        (lines("RPUSH l x yy"), false),
        (lines("EXEC"), true),
        (odd, true),
        (lines("SET b v PXAT 4102444800000"), true),
    ]
}

/// Where a server cuts a source of [`parts`] that ends at `end`, if it has to.
fn tail_of(parts: &[(Vec<u8>, bool)], end: usize) -> Option<usize> {
    let (mut at, mut sure) = (0, 0);
    for (bytes, ends) in parts {
        let inside = end < at + bytes.len();
        // A cut annotation is one all the same.
        if inside && (bytes.starts_with(b"#") && *ends || end == at && sure == at) {
            return None;
        }
        if inside {
            break;
        }
        at += bytes.len();
        if *ends {
            sure = at;
        }
    }
    (sure < end).then_some(sure)
}

/// Whether the output says so, and where.
fn assert_tail(output: &Output, tail: Option<usize>, what: &str) {
    match tail {
        Some(at) => {
            let place = format!("from byte {at} of ");
            assert!(output.stderr.contains(&place), "{what}: no word of {place:?}: {output}");
        }
        None => assert!(!output.stderr.contains("dropped"), "{what} drops nothing: {output}"),
    }
}

#[test]
fn a_source_cut_at_any_byte_gives_what_a_server_makes_of_it() {
    let parts = parts();
    let whole: Vec<u8> = parts.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    let work = |worker: usize| {
        let (scene, targets) = (Scene::new(), servers(2));
        for end in (worker..=whole.len()).step_by(WORKERS) {
            let source = scene.file(&format!("cut-at-{end}.aof"), &whole[..end]);
            let output = judge(&scene, &source, &targets);
            assert_eq!(output.code, Some(0), "a cut tail is no reason to refuse: {output}");
            assert_tail(&output, tail_of(&parts, end), &format!("cut at {end}"));
        }
    };
    thread::scope(|scope| (0..WORKERS).for_each(|worker| drop(scope.spawn(move || work(worker)))));
}

#[test]
fn strict_tail_refuses_what_would_be_dropped() {
    let parts = parts();
    let whole: Vec<u8> = parts.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    let (scene, targets) = (Scene::new(), servers(2));
    let mut refused = 0;
    for end in (0..=whole.len()).rev().step_by(7) {
        empty(&targets);
        let source = scene.file(&format!("cut-at-{end}.aof"), &whole[..end]);
        let output = scene.load(&source, &targets).arg("--strict-tail").run();
        match tail_of(&parts, end) {
            Some(at) => {
                assert_refused(
                    &output,
                    3,
                    &["source ends in", &format!("byte: {at}\n"), &source.display().to_string()],
                );
                assert_untouched(&targets);
                refused += 1;
            }
            None => assert_eq!(output.code, Some(0), "cut at {end}: {output}"),
        }
    }
    assert!(refused > 20, "{refused} cuts were refused");
}

/// Between two sound commands; where the damage is seen, counted from its beginning, and what should be there.
const DAMAGE: [(&[u8], usize, &str); 14] = [
    (b"garbage\r\n", 0, "'*'"),
    (b"PING\r\n", 0, "'*'"),
    (b"\r\n", 0, "'*'"),
    (b"\0\0\0\0\0\0\0\0", 0, "'*'"),
    (b"$3\r\nSET\r\n", 0, "'*'"),
    (b"*0\r\n", 0, "at least 1"),
    (b"*-1\r\n", 0, "at least 1"),
    (b"*x\r\n", 0, "at least 1"),
    (b"*1\r\n+PING\r\n", 4, "'$'"),
    (b"*1\r\n\r\n", 4, "'$'"),
    (b"*1\r\n$-1\r\n", 4, "0 or more"),
    (b"*2\r\n$3\r\nDEL\r\n#TS:1700000000\r\n$1\r\na\r\n", 13, "'$'"),
    (b"*2\r\n$3\r\nDELL\r\n$1\r\na\r\n", 13, "'$'"),
    (b"*3\r\n$3\r\nDEL\r\n$1\r\na\r\n", 20, "'$'"),
];

#[test]
fn damage_is_told_with_its_place_and_nothing_is_written() {
    let (scene, targets) = (Scene::new(), servers(2));
    let start = aof::of_lines("SET a 1\n MULTI\n SET b 1\n EXEC");
    for (at, (bytes, seen_at, expected)) in DAMAGE.iter().enumerate() {
        let source =
            scene.file(&format!("{at}.aof"), [&start, *bytes, &aof::of_lines("SET c 1\n SET d 1")].concat());
        let output = judge(&scene, &source, &targets);
        let place = format!("byte: {}\n", start.len() + seen_at);
        let found = bytes[*seen_at..].iter().copied().take_while(u8::is_ascii_graphic).map(char::from);
        let found = format!("found: {}", found.collect::<String>());
        let file = format!("file: {}", source.display());
        assert_refused(
            &output,
            3,
            &["damaged", "nothing was written", &file, &place, expected, "expected: ", &found],
        );
    }
    // The last commands in front of it were sound, whatever `--skip-unsupported` may leave out.
    let source = scene.dir().join("0.aof");
    let output = scene.load(&source, &targets).arg("--skip-unsupported").run();
    assert_refused(&output, 3, &["damaged"]);
    assert_untouched(&targets);
}

/// What servers accept although no server writes it.
#[test]
fn lenient_framing_is_read_as_a_server_reads_it() {
    let (scene, targets) = (Scene::new(), servers(2));
    let accepted: [&[u8]; 12] = [
        b"*03\r\n$03\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
        b"*+3\r\n$+3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
        b"* 3\r\n$ \t3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
        b"*3abc\r\n$3 SET\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
        b"*3\n$3\nSET\r\n$1\na\r\n$1\n1\r\n",
        b"*3\r\n$3\r\nSETxy$1\r\na*1$1\r\n1\n\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$\r\n\r\n",
        b"*3\r\n$3\r\nSET\r\n$x\r\n\r\n$-0\r\n\r\n",
        b"*4294967299\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
        b"#\r\n# a comment\r\n#TS:1\n",
        b"*1\r\n$5\r\nMULTI\r\n#TS:1\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n#\n*1\r\n$4\r\nEXEC\r\n",
        b"*1\r\n$4\r\nEXEC\r\n*1\r\n$7\r\nDISCARD\r\n*2\r\n$6\r\nSELECT\r\n$2\r\n-1\r\n*2\r\n$6\r\nSELECT\r\n$1\r\nx\r\n",
    ];
    for (at, bytes) in accepted.iter().enumerate() {
        let around =
            [&aof::of_lines("SELECT 3\n SET before 1"), *bytes, &aof::of_lines("SET after 1")].concat();
        let source = scene.file(&format!("{at}.aof"), around);
        let output = judge(&scene, &source, &targets);
        assert_eq!(output.code, Some(0), "{}: {output}", bytes.escape_ascii());
    }
    // The longest line that is one line to a server, and one byte more.
    for (length, code) in [(1022, 0), (1023, 0), (1024, 3), (3000, 3)] {
        let comment = [b"#", "x".repeat(length - 2).as_bytes(), b"\n"].concat();
        let source = scene.file(&format!("line-{length}.aof"), [comment, aof::of_lines("SET a 1")].concat());
        assert_eq!(judge(&scene, &source, &targets).code, Some(code), "a line of {length} bytes");
    }
}

/// The bytes of a canonical source that are not a command's arguments.
fn framing(bytes: &[u8]) -> Vec<usize> {
    let mut arguments: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + bytes[at..].iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        if bytes[at] == b'$' {
            let length: usize =
                std::str::from_utf8(&bytes[at + 1..end - 2]).expect("digits").parse().expect("a number");
            arguments.push(end..end + length);
            at = end + length + 2;
        } else {
            at = end;
        }
    }
    (0..bytes.len()).filter(|at| !arguments.iter().any(|argument| argument.contains(at))).collect()
}

/// One framing byte replaced, left out or doubled: the server's verdict counts. `MUTATIONS` tries more of them.
#[test]
fn any_wrong_framing_byte_is_judged_as_a_server_does() {
    let count: u64 = std::env::var("MUTATIONS").map_or(60, |count| count.parse().expect("a number"));
    let whole = aof::of_lines(
        "SET key value\n MULTI\n RPUSH list a b c\n SET k 1\n EXEC\n SADD set 1 2 3 4 5 6 7 8 9\n DEL k",
    );
    let places = framing(&whole);
    let work = |worker: u64| {
        let (scene, targets) = (Scene::new(), servers(2));
        for seed in (worker..count).step_by(WORKERS) {
            let mut rng = StdRng::seed_from_u64(seed);
            let at = places[rng.random_range(0..places.len())];
            let byte = b"0129*$#\n\r-+ x:\0"[rng.random_range(0..15)];
            let with: &[u8] = match rng.random_range(0..4) {
                0 => &[],
                1 => &[whole[at], byte],
                _ => &[byte],
            };
            let bytes = [&whole[..at], with, &whole[at + 1..]].concat();
            println!("mutation {seed}: byte {at} becomes {}", with.escape_ascii());
            let source = scene.file(&format!("mutation-{seed}.aof"), bytes);
            judge(&scene, &source, &targets);
        }
    };
    thread::scope(|scope| (0..WORKERS as u64).for_each(|worker| drop(scope.spawn(move || work(worker)))));
}

#[test]
fn an_empty_source_is_loaded_too() {
    let nothing: &[u8] = b"";
    let targets = servers(2);
    for name in ["file", "directory"] {
        let scene = Scene::new();
        let source = match name {
            "file" => scene.file("dump.aof", ""),
            _ => MultiPart::of(&[nothing, nothing]).write(scene.dir()),
        };
        scene.load(&source, &targets).run_ok();
        assert_untouched(&targets);
        let again = scene.load(&source, &targets).run_ok();
        assert!(again.stdout.contains("earlier run"), "{again}");
        let (loader, dirs) = scene.load_into_directories(&source, 2);
        loader.run_ok();
        assert_untouched(&started(dirs));
    }
}

#[test]
fn files_of_a_multi_part_source_are_each_judged_as_a_server_does() {
    let (base, next) = (aof::of_lines("SELECT 2\n SET a 1"), aof::of_lines("SET b 1\n SET c 1"));
    let open = aof::of_lines("SET b 1\n MULTI\n SET c 1");
    let cut = &next[..next.len() - 3];
    let length_of_one = aof::of_lines("SET b 1").len();
    let at_b = format!("byte: {length_of_one}\n");
    // The files, and for those that are refused the file at fault and words about it.
    type Case<'a> = (&'a [&'a [u8]], Option<(&'a str, &'a str)>);
    let cases: [Case<'_>; 7] = [
        (&[&base, &next], None),
        (&[&base, b"", &next, b""], None),
        (&[&base, &next, cut], None),
        (&[&base, &next, &open], None),
        (&[&base, cut, &next], Some(("2.incr.aof", "a cut command"))),
        (&[&base, &open, &next], Some(("2.incr.aof", "a transaction without EXEC"))),
        (&[&base, cut, b""], Some(("2.incr.aof", "a cut command"))),
    ];
    let targets = servers(2);
    for (files, refused) in cases {
        let scene = Scene::new();
        let dir = MultiPart::of(files).write(scene.dir());
        let output = judge(&scene, &dir, &targets);
        match refused {
            None => assert_eq!(output.code, Some(0), "{output}"),
            Some((file, words)) => assert_refused(&output, 3, &[file, words, &at_b]),
        }
    }
}

/// It is dropped, but a server ends at what it does not know.
#[test]
fn commands_of_a_transaction_without_exec_have_to_be_known() {
    let (scene, targets) = (Scene::new(), servers(2));
    let known = aof::of_lines("SET a 1\n MULTI\n SET b 2\n XGROUP CREATE s g $");
    for (end, code) in [
        (known.clone(), 0),
        ([&known, &b"*2\r\n$3\r\nSE"[..]].concat(), 0),
        ([known.clone(), aof::of_lines("NOSUCH a")].concat(), 4),
        ([known.clone(), aof::of_lines("NOSUCH a\n SET b 3")].concat(), 4),
        ([&known, &aof::of_lines("XGROUP NOSUCH a")[..], b"*2\r\n$3\r\nSE"].concat(), 4),
    ] {
        let source = scene.file("dump.aof", &end);
        let is_taken = Server::loading(&source).is_ok();
        assert_eq!(is_taken, code == 0, "{}", end.escape_ascii());
        let output = judge(&scene, &source, &targets);
        assert_eq!(output.code, Some(code), "{output}");
        let dry = scene.load(&source, &targets).args(&["--dry-run", "--restart"]).run();
        assert_eq!(dry.code, Some(code), "{dry}");
        if code > 0 {
            assert_refused(&output, code, &["unknown command", "NOSUCH", "nothing was written"]);
            let left_out = scene.load(&source, &targets).args(&["--skip-unsupported", "--restart"]).run();
            assert_eq!(left_out.code, Some(0), "{left_out}");
        }
        let _ = fs::remove_file(scene.dir().join("dump.aof.checkpoint"));
    }
}

/// No process has room for so long an argument, so a server ends where a shorter one would just be cut off.
#[test]
fn an_argument_that_no_memory_holds_is_refused() {
    let (scene, targets) = (Scene::new(), servers(2));
    for length in [i64::MAX.to_string(), "18446744073709551619".to_owned(), (1u64 << 62).to_string()] {
        let bytes = [&b"*2\r\n$3\r\nGET\r\n$"[..], length.as_bytes(), b"\r\nkey\r\n"].concat();
        let source = scene.file("dump.aof", [aof::of_lines("SET a 1"), bytes].concat());
        let output = judge(&scene, &source, &targets);
        assert_refused(&output, 3, &["the source is damaged", "fits into memory"]);
    }
}

#[test]
fn a_manifest_is_read_as_a_server_reads_it() {
    let targets = servers(2);
    let one = aof::of_lines("SET a 1");
    let entry = "file appendonly.aof.1.incr.aof seq 1 type i\n";
    let refused = [
        (format!("{entry}file appendonly.aof.2.incr.aof seq 2 type i\n"), "appendonly.aof.2.incr.aof"),
        (format!("{entry}file appendonly.aof.1.incr.aof seq 1 type i\n"), "line: 2"),
        (format!("{entry}\n"), "line: 2"),
        (format!("{entry}file ../dump.aof seq 2 type i\n"), "line: 2"),
        (entry.trim_end().to_owned(), "line: 1"),
        (String::new(), "is empty"),
        (format!("#{}\n{entry}", "x".repeat(1024)), "line: 2"),
        (format!("{}{entry}", entry.replace("type i", "type b").repeat(2)), "line: 2"),
    ];
    for (manifest, words) in refused {
        let scene = Scene::new();
        let dir = MultiPart::of(&[&one]).write(scene.dir());
        fs::write(dir.join("appendonly.aof.manifest"), &manifest).expect("room");
        assert_refused(&judge(&scene, &dir, &targets), 3, &[words]);
    }
    let taken = [
        "# a comment\n".to_owned(),
        entry.replace("seq 1", "seq 1abc"),
        entry.replace("seq 1", "seq 99999999999999999999"),
        format!("{}{entry}", entry.replace("type i", "type b").replace("seq 1", "seq -7")),
        // What a comment has behind its first 1,024 bytes is a line of its own.
        format!("#{}{entry}", "x".repeat(1023)),
    ];
    for manifest in taken {
        let scene = Scene::new();
        let dir = MultiPart::of(&[&one]).write(scene.dir());
        fs::write(dir.join("appendonly.aof.manifest"), &manifest).expect("room");
        assert_eq!(judge(&scene, &dir, &targets).code, Some(0), "{manifest:?}");
    }
    // Any bytes make a name, and what a server has not finished is none.
    let scene = Scene::new();
    let dir = MultiPart::of(&[&one]).write(scene.dir());
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.aof");
    fs::rename(dir.join("appendonly.aof.1.incr.aof"), dir.join(name)).expect("it is there");
    fs::write(dir.join("appendonly.aof.manifest"), b"file caf\xe9.aof seq 1 type i\n").expect("room");
    fs::write(dir.join("temp-appendonly.aof.manifest"), "file half").expect("room");
    assert_eq!(judge(&scene, &dir, &targets).code, Some(0));
    // But `appendfilename` may begin like that, too.
    let scene = Scene::new();
    let dir = MultiPart { name: "temp-x.aof", ..MultiPart::of(&[&one]) }.write(scene.dir());
    empty(&targets);
    assert_eq!(scene.load(&dir, &targets).run().code, Some(0));
    empty(&targets);
    // Without a manifest there is nothing to go by; with two it is not clear by which.
    let scene = Scene::new();
    let dir = MultiPart::of(&[&one]).write(scene.dir());
    fs::write(dir.join("second.aof.manifest"), entry).expect("room");
    assert_refused(&scene.load(&dir, &targets).run(), 3, &["several manifests", &dir.display().to_string()]);
    fs::remove_file(dir.join("second.aof.manifest")).expect("it is there");
    fs::remove_file(dir.join("appendonly.aof.manifest")).expect("it is there");
    for path in [dir.as_path(), scene.dir()] {
        assert_refused(&scene.load(path, &targets).run(), 3, &["no manifest", &dir.display().to_string()]);
    }
    assert_untouched(&targets);
}

/// A source that names a database which the reference has and one that nobody has.
#[test]
fn a_database_that_no_server_has_keeps_the_one_before() {
    let (scene, targets) = (Scene::new(), servers(2));
    let source = scene.file(
        "dump.aof",
        aof::of_lines("SELECT 63\n SET a 1\n SELECT -5\n SET b 1\n SELECT 99999999999\n SET c 1"),
    );
    assert_eq!(judge(&scene, &source, &targets).code, Some(0));
    assert!(Snapshot::of(&reference(&source)).keys.keys().all(|(database, _)| *database == 63));
}
