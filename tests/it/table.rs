//! Is the command table what a live server says of its commands? A wrong row loses or misplaces data without a sound.

use crate::support::server::Server;
use crate::support::wire::{ask, int, items, text};
use redcluster_load::command::{Class, Spec, keys, lookup, lookup_sub};
use redis::{Connection, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Commands that write and that the table lacks on purpose, with the reason.
const WRITES_LEFT_OUT: [(&str, &str); 5] = [
    (
        "MIGRATE",
        "an AOF holds the DEL that it is replaced by; replayed, it would move data out of the source",
    ),
    ("SFLUSH", "of clusters, whose AOFs name slots; which keys those are cannot be told"),
    ("TRIMSLOTS", "of clusters, as SFLUSH"),
    ("CLUSTER FLUSHSLOT", "of clusters, as SFLUSH"),
    ("HIMPORT", "field sets belong to a connection; how they get into an AOF is not verified"),
];

/// Reads that are not simply dropped.
const READS_CARRIED: [(&str, Class, &str); 2] = [
    ("PFCOUNT", Class::PfCount, "stores the cardinality it found in the value"),
    ("TOUCH", Class::Splittable, "harmless, and carried as the writes it resembles"),
];

/// Commands of modules and of releases that had not been tried when the table was made: the server may be stricter
/// about the number of arguments than the table, never the other way round.
const ARITY_OPEN: &str = "VADD VREM VSETATTR DELEX MSETEX XACKDEL XDELEX XCFGSET XIDMPRECORD XNACK INCREX GCRA LMOVEM BLMOVEM \
     ARDEL ARDELRANGE ARINSERT ARMSET ARRING ARSEEK ARSET";

/// Commands whose keys depend on other arguments: calls that show it.
const SAMPLES: &[&str] = &[
    "EVAL script 2 a b c",
    "EVALSHA 0123456789012345678901234567890123456789 1 a b",
    "FCALL function 2 a b c",
    "BLMPOP 0 2 a b LEFT",
    "BZMPOP 0 1 a MIN COUNT 3",
    "LMPOP 2 a b LEFT",
    "ZMPOP 3 a b c MAX COUNT 1",
    "ZUNIONSTORE d 2 a b WEIGHTS 1 2",
    "ZINTERSTORE d 1 a AGGREGATE MAX",
    "ZDIFFSTORE d 3 a b c",
    "SORT a",
    "SORT a STORE d",
    "SORT a BY w_* LIMIT 0 1 GET STORE STORE d ALPHA",
    "SORT a STORE d STORE e",
    "GEORADIUS a 1 2 3 km",
    "GEORADIUS a 1 2 3 km WITHDIST STORE d",
    "GEORADIUSBYMEMBER a m 3 km STOREDIST d",
    "XREADGROUP GROUP g c COUNT 2 STREAMS a b > >",
    "MSETEX 2 a 1 b 2 EX 5",
];

/// One row of what COMMAND tells.
#[derive(Debug)]
struct Live {
    name: String,
    arity: i64,
    flags: BTreeSet<String>,
}

impl Live {
    fn is(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    /// What the table says of it.
    fn row(&self) -> Option<&'static Spec> {
        row(&self.name)
    }
}

fn row(name: &str) -> Option<&'static Spec> {
    match name.split_once(' ') {
        Some((container, sub)) => lookup_sub(lookup(container.as_bytes())?, sub.as_bytes()),
        None => lookup(name.as_bytes()),
    }
}

/// All commands and subcommands of a server; a container that only has subcommands is left out.
fn commands(conn: &mut Connection) -> Vec<Live> {
    let reply = ask(conn, &[b"COMMAND"]);
    let mut found = Vec::new();
    for command in items(&reply) {
        let subcommands = items(command).get(9).map_or(&[][..], items);
        found.extend(subcommands.iter().map(live));
        if subcommands.is_empty() {
            found.push(live(command));
        }
    }
    assert!(found.len() > 200, "COMMAND tells {} commands only", found.len());
    found
}

fn live(command: &Value) -> Live {
    let parts = items(command);
    Live {
        name: text(&parts[0]).to_uppercase().replace('|', " "),
        arity: int(&parts[1]).expect("an arity is a number"),
        flags: items(&parts[2]).iter().map(text).collect(),
    }
}

fn fail_on(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} rows are wrong:\n  {}", wrong.len(), wrong.join("\n  "));
}

#[test]
fn every_write_has_its_row_with_equal_arity() {
    let server = Server::start(&[]);
    let mut wrong = Vec::new();
    let mut seen = 0;
    for command in commands(&mut server.conn()).iter().filter(|command| command.is("write")) {
        let left_out = WRITES_LEFT_OUT.iter().any(|(name, _)| *name == command.name);
        match command.row() {
            None if left_out => {}
            None => wrong.push(format!("{} writes and has no row", command.name)),
            Some(_) if left_out => wrong.push(format!("{} has a row: take it off the list", command.name)),
            Some(row) if row.class == Class::Read => {
                wrong.push(format!("{} writes and is dropped", command.name))
            }
            Some(row) if ARITY_OPEN.split(' ').any(|name| name == row.name) => {
                seen += 1;
                if (1..20).any(|argc| accepts(command.arity, argc) && !row.takes(argc)) {
                    wrong.push(format!("{}: arity {}, server {}", command.name, row.arity, command.arity));
                }
            }
            Some(row) => {
                seen += 1;
                if i64::from(row.arity) != command.arity {
                    wrong.push(format!("{}: arity {}, server {}", command.name, row.arity, command.arity));
                }
            }
        }
    }
    fail_on(&wrong);
    assert!(seen > 90, "only {seen} writes compared");
}

fn accepts(arity: i64, argc: u32) -> bool {
    let argc = i64::from(argc);
    if arity >= 0 { argc == arity } else { argc >= -arity }
}

#[test]
fn reads_are_dropped_and_nothing_else() {
    let server = Server::start(&[]);
    let live = commands(&mut server.conn());
    let mut wrong = Vec::new();
    for command in &live {
        let row = command.row();
        let carried =
            READS_CARRIED.iter().find(|(name, _, _)| *name == command.name).map(|(_, class, _)| *class);
        match (row.map(|row| row.class), carried) {
            (None, _) if command.is("readonly") => wrong.push(format!("{} has no row", command.name)),
            (Some(class), Some(expected)) if class != expected => {
                wrong.push(format!("{} is {class:?}, expected {expected:?}", command.name));
            }
            (Some(class), None) if command.is("readonly") && class != Class::Read => {
                wrong.push(format!("{} reads and is {class:?}", command.name));
            }
            (Some(class), None) if !command.is("readonly") && !command.is("write") && is_for_keys(class) => {
                wrong.push(format!("{} touches no data and is {class:?}", command.name));
            }
            _ => {}
        }
        // A read of a newer server may have grown arguments; the table must not refuse what this one accepts.
        if let Some(row) = row.filter(|row| row.class == Class::Read)
            && (1..20).any(|argc| accepts(command.arity, argc) && !row.takes(argc))
        {
            wrong.push(format!("{}: arity {}, server {}", command.name, row.arity, command.arity));
        }
    }
    fail_on(&wrong);
}

fn is_for_keys(class: Class) -> bool {
    matches!(class, Class::Keyed | Class::Several | Class::Splittable | Class::PfCount)
}

#[test]
fn what_is_neither_read_nor_write_keeps_its_meaning() {
    let server = Server::start(&[]);
    let known: BTreeMap<String, Live> =
        commands(&mut server.conn()).into_iter().map(|command| (command.name.clone(), command)).collect();
    let expected = [
        ("SELECT", Class::Select),
        ("MULTI", Class::Multi),
        ("EXEC", Class::Exec),
        ("DISCARD", Class::Discard),
        ("EVAL", Class::Script),
        ("EVALSHA", Class::Script),
        ("FCALL", Class::Script),
        ("SCRIPT LOAD", Class::Broadcast),
        ("SCRIPT FLUSH", Class::Broadcast),
        ("FUNCTION LOAD", Class::Broadcast),
        ("FUNCTION DELETE", Class::Broadcast),
        ("FUNCTION FLUSH", Class::Broadcast),
        ("FUNCTION RESTORE", Class::Broadcast),
        ("FLUSHALL", Class::Broadcast),
        ("FLUSHDB", Class::Broadcast),
        ("SWAPDB", Class::Broadcast),
    ];
    for (name, class) in expected {
        let command = &known[name];
        let row = command.row().unwrap_or_else(|| panic!("{name} has no row"));
        assert_eq!((row.class, i64::from(row.arity)), (class, command.arity), "{name}");
    }
    // A write without keys concerns the whole server, and only what is listed may.
    for command in known.values().filter(|command| command.is("write")) {
        let Some(row) = command.row().filter(|row| row.class == Class::Broadcast) else { continue };
        assert!(expected.iter().any(|(name, _)| *name == row.name), "{} is broadcast", row.name);
    }
}

/// The keys that the server finds in a call; `None` if it says that there are none.
fn keys_by_server(conn: &mut Connection, call: &[String]) -> Result<Vec<String>, String> {
    let mut command: Vec<&[u8]> = vec![b"COMMAND", b"GETKEYS"];
    command.extend(call.iter().map(String::as_bytes));
    match ask(conn, &command) {
        Value::ServerError(error) if error.to_string().contains("no key arguments") => Ok(Vec::new()),
        Value::ServerError(error) => Err(error.to_string()),
        reply => Ok(sorted(items(&reply).iter().map(text))),
    }
}

fn keys_by_table(row: &Spec, call: &[String]) -> Option<Vec<String>> {
    let arguments: Vec<&[u8]> = call.iter().map(String::as_bytes).collect();
    Some(sorted(keys::positions(row, &arguments)?.into_iter().map(|at| call[at].clone())))
}

/// The order of keys means nothing to routing, and servers list a destination first or last.
fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Calls with as many arguments as the command takes and some more, each argument different.
fn calls(command: &Live) -> Vec<Vec<String>> {
    let least = usize::try_from(command.arity.abs()).expect("an arity is small").max(2);
    let most = if command.arity > 0 { least } else { least + 3 };
    let name: Vec<String> = command.name.split(' ').map(str::to_owned).collect();
    let call = |argc: usize| {
        let more = (name.len()..argc).map(|at| format!("arg{at}"));
        name.iter().cloned().chain(more).collect::<Vec<_>>()
    };
    (least..=most).map(call).collect()
}

#[test]
fn keys_are_where_the_server_finds_them() {
    let server = Server::start(&[]);
    let conn = &mut server.conn();
    let mut wrong = Vec::new();
    let mut compared = 0;
    for command in commands(conn) {
        let carried =
            |row: &&Spec| is_for_keys(row.class) || [Class::Broadcast, Class::Script].contains(&row.class);
        let Some(row) = command.row().filter(carried) else { continue };
        let mut calls = calls(&command);
        if command.is("movablekeys") {
            calls = samples(&command.name);
            assert!(!calls.is_empty(), "{} needs a sample: its keys depend on its arguments", command.name);
        }
        for call in calls {
            compared += 1;
            let (theirs, ours) = (keys_by_server(conn, &call), keys_by_table(row, &call));
            match (theirs, ours) {
                (Ok(theirs), Some(ours)) if theirs == ours => {}
                // Half a pair or an unknown word: an error on every server, keys or not.
                (Err(error), _) if error.contains("Invalid arguments") => {}
                (theirs, ours) => wrong.push(format!("{call:?}: server {theirs:?}, table {ours:?}")),
            }
        }
    }
    fail_on(&wrong);
    assert!(compared > 250, "only {compared} calls compared");
}

/// The key specifications name both destinations, but the server only writes to the one that is named last.
#[test]
fn the_last_destination_of_georadius_counts() {
    let server = Server::start(&[]);
    server.cmd(&["GEOADD", "a", "1", "2", "member"]).expect("GEOADD");
    for call in
        ["GEORADIUS a 1 2 3 km STORE d STOREDIST e", "GEORADIUSBYMEMBER a member 3 km STOREDIST f STORE g"]
    {
        let call: Vec<String> = call.split(' ').map(str::to_owned).collect();
        server.cmd(&call).expect("it stores");
        let row = row(&call[0]).expect("a row");
        let destination = call.last().expect("it has words").clone();
        assert_eq!(keys_by_table(row, &call), Some(vec!["a".to_owned(), destination]));
    }
    let held = [("d", 0), ("e", 1), ("f", 0), ("g", 1)];
    for (key, count) in held {
        assert_eq!(server.cmd(&["EXISTS", key]), Ok(Value::Int(count)), "{key}");
    }
}

fn samples(name: &str) -> Vec<Vec<String>> {
    let calls = SAMPLES.iter().filter(|sample| sample.split(' ').next() == Some(name));
    calls.map(|sample| sample.split(' ').map(str::to_owned).collect()).collect()
}
