//! Sources that tie names together, each in a way of its own.

use super::{SHARDS, calls, loaded, surveyed};
use crate::scene::{Scene, reference, servers};
use crate::support::aof;
use crate::support::compare::assert_same;
use std::fmt::Write;

/// Each final key is a group of its own, at home where it belongs: nothing has to be moved in the end.
#[test]
fn one_temporary_name_renamed_onto_many_keys_ships_nothing() {
    const KEYS: usize = 20_000;
    let mut lines = String::new();
    for key in 0..KEYS {
        let _ = writeln!(lines, "SET tmp value{key}\nRENAME tmp user:{key}");
    }
    let scene = Scene::new();
    let source = scene.file("dump.aof", aof::of_lines(&lines));
    let targets = servers(SHARDS);
    let ties = surveyed(&scene, &source, &targets);
    assert_eq!(ties["commands"], KEYS, "{ties}");
    let across = ties["across_shards"].as_u64().expect("a number");
    assert!(across > KEYS as u64 / 2, "{ties}");
    assert_eq!(ties["groups"], across, "{ties}");
    assert_eq!((&ties["largest_group_names"], &ties["shipped_keys_max"]), (&2.into(), &0.into()), "{ties}");
    scene.load(&source, &targets).run_ok();
    assert_same(&reference(&source), &targets);
    assert_eq!(calls(&targets, "restore"), 0);
}

/// Whatever ties everything to everything stays right, and the survey says what it comes to.
#[test]
fn everything_tied_together() {
    const KEYS: usize = 600;
    let mut lines = String::new();
    for key in 0..KEYS {
        let _ = writeln!(lines, "SADD s:{key} m{key} n{}", key % 7);
        let _ = writeln!(lines, "SUNIONSTORE all all s:{key}");
        if key % 5 == 0 {
            let _ = writeln!(lines, "PEXPIREAT s:{key} {}", 4_000_000_000_000_u64 + key as u64);
        }
    }
    let scene = Scene::new();
    let source = scene.file("dump.aof", aof::of_lines(&lines));
    let targets = servers(SHARDS);
    let ties = surveyed(&scene, &source, &targets);
    assert_eq!((&ties["groups"], &ties["largest_group_names"]), (&1.into(), &(KEYS + 1).into()), "{ties}");
    let shipped = ties["shipped_keys_max"].as_u64().expect("a number");
    assert!(shipped > KEYS as u64 / 2 && shipped < KEYS as u64, "{ties}");
    let text = scene.load(&source, &targets).arg("--dry-run").run_ok().stdout;
    assert!(text.contains("in 1 group, the largest of 601 names"), "{text}");
    assert!(text.contains(&format!("at most {shipped} keys")), "{text}");
    scene.load(&source, &targets).run_ok();
    assert_same(&reference(&source), &targets);
    assert_eq!(calls(&targets, "restore"), shipped);
}

/// Lives end where a name is certainly absent, and nowhere else.
#[test]
fn what_ends_a_life_and_what_does_not() {
    loaded(
        "SET a 1\nRENAME a b\nSET a 2\nRENAME a d\nDEL b\nSET b 3\nRENAMENX b c\nSET b 4\nRENAME c b\n
        SET x 1 \nSET y 2\nRENAMENX x y\nAPPEND x 5\nRENAME y z\nAPPEND y 6\nGETDEL z\nSET z 7\nRENAME nosuch z\n
        RPUSH l 1 2 3\nRPOPLPUSH l m\nRPOPLPUSH l m\nRPOPLPUSH l m\nRPUSH l 9\nLMOVE m l LEFT LEFT\n
        SADD s 1\nSMOVE s t 1\nSADD s 2\nUNLINK s t\nSADD s 3\nSUNIONSTORE u s t\nSADD t 4\n
        SET k v PX 0\nRENAME k k\nRENAME a a\nSET a z\nDEL a a nosuch\nSET a end",
    );
}

/// The databases change their numbers, the names go with them.
#[test]
fn databases_are_followed() {
    loaded(
        "SET a 1\nSELECT 1\nSET a 2\nRENAME a b\nSET c 3\nSWAPDB 0 1\nAPPEND a x\nRENAME a d\nSELECT 0\nAPPEND b y\n
        COPY b e DB 2\nMOVE c 3\nSELECT 3\nRENAME c f\nSWAPDB 3 2\nAPPEND e z\nFLUSHDB\nSET f 4\nRENAME f g\nSELECT 2\n
        APPEND f w\nSWAPDB 0 7\nSWAPDB 7 5\nSELECT 5\nRENAME b h\nFLUSHDB nonsense\nAPPEND h 1\nSWAPDB 5 x\nAPPEND h 2\n
        COPY h i DB 9 REPLACE\nSELECT 9\nAPPEND i 3\nMOVE i 5\nSWAPDB 9 9\nAPPEND i 4\nRENAME i j",
    );
}

#[test]
fn what_follows_a_flush_is_tied_to_nothing_before_it() {
    let (_, targets, _) = loaded(
        "SADD a 1\nSADD b 2\nSADD d 3\nSUNIONSTORE all a b d\nFLUSHALL SYNC\nSADD a 5\nSADD b 6\nSADD d 7\nSADD all 8",
    );
    assert_eq!(calls(&targets, "restore"), 0, "all are at home");
}

/// Transactions, nested and given up ones, with tied commands inside; what is behind the last MULTI is dropped.
#[test]
fn transactions_with_tied_commands() {
    let (_, _, output) = loaded(
        "MULTI\nSET a 1\nRENAME a b\nSELECT 2\nSET a 2\nMULTI\nRENAME a b\nMOVE b 0\nEXEC\nAPPEND b 3\nEXEC\n
        MULTI\nSADD s 1 2\nSUNIONSTORE t s u\nFLUSHDB\nSADD s 3\nSDIFFSTORE v s t\nSWAPDB 2 0\nEXEC\nSADD v 9\n
        MULTI\nRENAME v w\nSET a lost",
    );
    assert!(output.stderr.contains("a transaction without EXEC"), "{output}");
}

/// DEL, UNLINK, TOUCH and MSET are split; each part goes to the home of its names at that moment.
#[test]
fn split_commands_go_where_their_names_are() {
    loaded(
        "MSET a 1 b 2 c 3 d 4 e 5 f 6\nBITOP OR g a b c\nMSET a 7 g 8 h 9\nTOUCH a b c g\nBITOP XOR h g a d\n
        DEL a g d nosuch\nMSET a 1 g 2 d 3\nUNLINK h h\nAPPEND h 4\nRENAME h i\nMSET h 5 i 6 j 7\nMSET h 5 i",
    );
}

/// A million and one things happen to one list of names; one batch each.
#[test]
fn keys_of_an_rdb_part_are_tied_too() {
    let server = crate::support::server::Server::start(&[]);
    for line in
        ["SADD a 1 2", "SADD b 3", "ZADD c 1 m", "SET d x", "SET e y PXAT 4102444800000", "RPUSH l 1 2 3"]
    {
        server.cmd(&line.split(' ').collect::<Vec<_>>()).expect("a fine command");
    }
    let base = crate::support::rdb::saved(&server);
    let tail =
        "SUNIONSTORE u a b\nZUNIONSTORE c 2 c u\nRENAME e d\nCOPY d f\nLMOVE l k LEFT RIGHT\nPERSIST f";
    let scene = Scene::new();
    let source = scene.file("dump.aof", [base, aof::of_lines(tail)].concat());
    let targets = servers(SHARDS);
    scene.load(&source, &targets).run_ok();
    assert_same(&reference(&source), &targets);
}

/// The keys that a command names differ from those that it is tied by: options that look like keys, and keys like options.
#[test]
fn odd_forms() {
    loaded(
        "RPUSH l 3 1 2\nSORT l STORE a STORE b\nSORT l BY nosort LIMIT 0 2 STORE c\nGEOADD g 13 38 p 15 37 q\n
        GEORADIUS g 15 37 200 km STORE x STOREDIST y\nGEORADIUSBYMEMBER g p 200 km STOREDIST STORE\n
        GEOSEARCHSTORE z g FROMLONLAT 15 37 BYRADIUS 200 km\nZUNIONSTORE v 2 x z WEIGHTS 1 2\nZUNIONSTORE w x z\n
        ZUNIONSTORE w 0 z\nZRANGESTORE r x 0 -1\nLMPOP 2 nosuch l LEFT\nZMPOP 3 nosuch v r MAX\nBLPOP q l 0\n
        XADD s 1-1 f v\nXADD t 1-1 f v\nXGROUP CREATE s g 0\nXGROUP CREATE t g 0\n
        XREADGROUP GROUP g c NOACK STREAMS s t > >\nPFADD h 1 2\nPFADD i 3\nPFMERGE j h i\nPFCOUNT j\nPFCOUNT h i j\n
        MSETNX n 1 o 2 p 3\nMSETNX n 4 zz 5\nCOPY DB REPLACE\nSET DB 1\nCOPY DB REPLACE\nCOPY DB k DB\nCOPY DB k DB 3 DB 4",
    );
}
