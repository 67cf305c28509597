//! Between server versions: from every source version into every target version, is the load exact, or refused before
//! anything is written, by the name of what the target does not know?
//!
//! `MATRIX_SERVERS` names the servers, a line for each, as `redis-7.0=/path/to/redis-server`; scripts/matrix sets it. The table is printed at the end, and the exit code says whether every cell is as it should be.

// Tests of the others that need a newer server than they have.
#[allow(dead_code)]
#[path = "../it/fields.rs"]
mod fields;
mod random;
mod streams;
// The harness of the other tests, of which not everything is used here.
#[allow(dead_code)]
#[path = "../it/scene.rs"]
mod scene;
#[allow(dead_code, unused_imports)]
#[path = "../it/support/mod.rs"]
mod support;

use redis::Value;
use scene::Scene;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use support::binary::Binary;
use support::compare::{Content, Placement, Snapshot, diff};
use support::loader::Output;
use support::server::Server;
use support::{fill, rdb};

const SHARDS: usize = 3;
/// Servers that have to be there, oldest first.
const NAMES: [&str; 4] = ["redis-6.2", "redis-7.0", "redis-8.0", "valkey-8.1"];
/// The one that knows deadlines of hash fields.
const WITH_FIELDS: &str = "redis-8.0";
/// How a source is written: its name, the policy (under LRU and LFU a server writes how long, or how often, each value
/// was used), and whether the rewrite makes an RDB part or commands.
const FORMS: [(&str, &str, bool); 4] = [
    ("noeviction", "noeviction", true),
    ("allkeys-lru", "allkeys-lru", true),
    ("allkeys-lfu", "allkeys-lfu", true),
    ("commands", "noeviction", false),
];

/// A server of the matrix.
struct Named {
    name: String,
    binary: Binary,
}

/// A source: what a server wrote, and what it holds.
struct Origin {
    server: Server,
    source: PathBuf,
    held: Snapshot,
}

/// What became of a source and a target, in words for the table; Err: what is wrong.
type Cell = Result<String, String>;

fn main() -> ExitCode {
    let begun = Instant::now();
    let all = servers();
    // Ends with a panic if one is not as it should be.
    all.iter().filter(|server| server.name == WITH_FIELDS).for_each(|server| fields::all(&server.binary));
    let mut rows = Vec::new();
    for from in &all {
        for (form, policy, rdb) in FORMS {
            let origin = origin(&from.binary, policy, rdb);
            let cells: Vec<Cell> = all.iter().map(|to| cell(&origin, to)).collect();
            for (to, cell) in all.iter().zip(&cells) {
                println!("{} ({form}) -> {}: {cell:?}", from.name, to.name);
            }
            rows.push((from, form, cells));
        }
    }
    let old = all.iter().filter(|named| named.binary.version() < (7, 0));
    let streams = old.filter_map(|from| streams::check(from, &all).err());
    let random = all.iter().filter_map(|named| random::check(named).err());
    let others: Vec<String> = streams
        .map(|wrong| format!("a long stream, {wrong}"))
        .chain(random.map(|wrong| format!("a random source on {wrong}")))
        .collect();
    others.iter().for_each(|wrong| println!("WRONG: {wrong}"));
    print_table(&all, &rows);
    let wrong = rows.iter().flat_map(|(.., cells)| cells).filter(|cell| cell.is_err()).count() + others.len();
    println!("{} loads in {} s, {wrong} of them wrong", rows.len() * all.len(), begun.elapsed().as_secs());
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All of them; a matrix with a hole shows nothing.
fn servers() -> Vec<Named> {
    let text = std::env::var("MATRIX_SERVERS").unwrap_or_default();
    let path = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let named = NAMES.iter().map(|name| {
        let path =
            path(name).unwrap_or_else(|| panic!("MATRIX_SERVERS does not name {name}; run scripts/matrix"));
        let binary = Binary::at(path);
        let (major, minor) = binary.version();
        assert!(
            name.ends_with(&format!("-{major}.{minor}")),
            "{path} is of version {major}.{minor}, not {name}"
        );
        Named { name: (*name).to_owned(), binary }
    });
    named.collect()
}

/// Every type in every encoding, rewritten into an RDB part or into commands, and some of it changed by commands behind
/// that.
fn origin(binary: &Binary, policy: &str, rdb: bool) -> Origin {
    let options = [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("aof-use-rdb-preamble", if rdb { "yes" } else { "no" }),
        ("maxmemory-policy", policy),
    ];
    let server = Server::start_binary(binary, &options);
    fill::fill(&server);
    let encodings = fill::encodings(&server);
    let expected = ["int", "embstr", "raw", "intset", "hashtable", "quicklist", "skiplist", "stream"];
    let missing: BTreeSet<_> = expected.iter().filter(|name| !encodings.contains(**name)).collect();
    assert!(missing.is_empty(), "no value is stored as {missing:?}, only as {encodings:?}");
    assert!(encodings.contains("listpack") || encodings.contains("ziplist"), "{encodings:?}");
    if !rdb {
        // An entry that is pending though it is deleted: commands cannot say that to a server of 7.0 or later.
        ["stream:0", "stream:1", "stream:2", "stream:3"].iter().for_each(|stream| {
            assert_eq!(server.cmd(&["XACK", stream, "group", "2-1"]), Ok(Value::Int(1)), "{stream}");
        });
    }
    rdb::rewrite(&server);
    fill::touch(&server);
    let source = if binary.version() < (7, 0) { "appendonly.aof" } else { "appendonlydir" };
    let source = server.dir().join(source);
    let held = Snapshot::of(&server);
    Origin { server, source, held }
}

fn cell(origin: &Origin, to: &Named) -> Cell {
    let scene = Scene::new();
    let targets = start(to);
    let run = |args: &[&str]| -> Output {
        scene.load(&origin.source, &targets).args(args).arg("--checkpoint").arg(scene.dir().join("c")).run()
    };
    let output = run(&[]);
    let into_masters = match output.code {
        Some(0) => exact(origin, &targets, &[]).map(|()| "exact".to_owned()),
        Some(4) => untouched(&targets).and_then(|()| {
            let reasons = reasons(&output);
            let rest = run(&["--skip-unsupported"]);
            let refused = format!("refused: {}", reasons.join(", "));
            match (rest.code, reasons.is_empty()) {
                (Some(0), false) => {
                    exact(origin, &targets, &reasons).map(|()| format!("{refused}; the rest exact"))
                }
                (Some(5), false) => {
                    unknown_commands(&rest, &targets).map(|commands| format!("{refused}; {commands}"))
                }
                _ => Err(format!("refused without a reason, or not to be left out: {output}\n{rest}")),
            }
        }),
        Some(5) => unknown_commands(&output, &targets).map(|commands| format!("refused: {commands}")),
        _ => Err(format!("neither loaded nor refused: {output}")),
    }?;
    Ok(format!("{into_masters}; directories {}", into_directories(origin, to, &scene)?))
}

/// The commands for which a target is refused as a whole, with nothing written.
fn unknown_commands(output: &Output, targets: &[Server]) -> Cell {
    let named = output.stderr.lines().find_map(|line| line.trim().strip_prefix("commands: "));
    let named = named.ok_or_else(|| format!("refused for another reason: {output}"))?;
    untouched(targets).map(|()| format!("commands {named}"))
}

fn start(to: &Named) -> Vec<Server> {
    (0..SHARDS).map(|_| Server::start_binary(&to.binary, &[])).collect()
}

/// A server that takes the source itself takes its shards, and comes to the same.
fn into_directories(origin: &Origin, to: &Named, scene: &Scene) -> Cell {
    let (loader, dirs) = scene.load_into_directories(&origin.source, SHARDS);
    let output = loader.run();
    if output.code != Some(0) {
        return Err(format!("not written: {output}"));
    }
    if to.binary.version() < (7, 0) {
        return Ok("need 7.0".to_owned());
    }
    let whole = Server::loading_binary(&to.binary, &origin.source, &[]);
    let shards: Result<Vec<Server>, String> =
        dirs.iter().map(|dir| Server::loading_binary(&to.binary, dir, &[])).collect();
    match (whole, shards) {
        (Ok(whole), Ok(shards)) => {
            differences(&Snapshot::of(&whole), &shards, &[])?;
            exact(origin, &shards, &[]).map(|()| "exact".to_owned())
        }
        (Err(_), Err(_)) => Ok("refused by the server, as the source is".to_owned()),
        (Ok(_), Err(log)) => Err(format!("the server refuses a shard of a source that it takes: {log}")),
        (Err(log), Ok(_)) => Err(format!("the server takes the shards of a source that it refuses: {log}")),
    }
}

/// The reasons of a refusal, without their numbers.
fn reasons(output: &Output) -> Vec<String> {
    let lines =
        output.stderr.lines().filter_map(|line| line.trim().strip_prefix("reason: ")?.split_once(" x "));
    lines
        .map(|(_, reason)| reason.trim_end_matches(" is more than its target's version knows").to_owned())
        .collect()
}

/// The targets hold what the source's server holds, but for what was left out.
fn exact(origin: &Origin, targets: &[Server], left_out: &[String]) -> Result<(), String> {
    assert!(origin.server.cmd(&["PING"]).is_ok(), "the source's server is there");
    differences(&origin.held, targets, left_out)
}

fn differences(held: &Snapshot, targets: &[Server], left_out: &[String]) -> Result<(), String> {
    let has = |words: &[&str]| left_out.iter().any(|reason| words.iter().any(|word| reason.contains(word)));
    let streams = has(&["stream", "XSETID", "XGROUP"]);
    let fields = has(&["field deadlines", "deadlines of hash fields"]);
    let functions = has(&["functions"]);
    let kept = |mut snapshot: Snapshot| {
        if functions {
            snapshot.functions = None;
        }
        let gone: BTreeSet<_> = snapshot
            .keys
            .iter()
            .filter(|((_, key), entry)| {
                (streams && matches!(entry.content, Content::Stream(_)))
                    || (fields && key.starts_with(b"fields:"))
            })
            .map(|(name, _)| name.clone())
            .collect();
        snapshot.without(|db, key| gone.contains(&(db, key.to_vec())))
    };
    let targets: Vec<Snapshot> = targets.iter().map(|target| kept(Snapshot::of(target))).collect();
    let found = diff(&kept(held.clone()), &targets, Placement::Crc32);
    let keys: usize = targets.iter().map(|target| target.keys.len()).sum();
    if found.is_empty() && keys > 100 {
        return Ok(());
    }
    Err(format!("{keys} keys, {} differences: {:#?}", found.len(), &found[..found.len().min(5)]))
}

fn untouched(targets: &[Server]) -> Result<(), String> {
    let keys: u64 = targets.iter().map(scene::keys_in).sum();
    if keys == 0 { Ok(()) } else { Err(format!("refused, but {keys} keys were written")) }
}

/// One row for each source whose cells are the same in all forms.
fn print_table(all: &[Named], rows: &[(&Named, &str, Vec<Cell>)]) {
    let shown = |cell: &Cell| cell.clone().unwrap_or_else(|_| "WRONG".to_owned());
    println!("\n| source | {} |", all.iter().map(|to| to.name.as_str()).collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "---|".repeat(all.len()));
    for (nth, (from, policy, cells)) in rows.iter().enumerate() {
        let cells: Vec<String> = cells.iter().map(shown).collect();
        let first = &rows[nth - nth % FORMS.len()];
        let same = first.2.iter().map(shown).eq(cells.iter().cloned());
        if nth % FORMS.len() == 0 || !same {
            println!("| {} ({policy}) | {} |", from.name, cells.join(" | "));
        }
    }
    println!();
}
