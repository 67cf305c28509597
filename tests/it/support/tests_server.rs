//! Does the harness do to servers and processes what its names say?

use super::aof::{self, MultiPart};
use super::server::Server;
use redis::Value;
use std::time::{Duration, Instant};

#[test]
fn a_server_keeps_port_and_data_across_a_kill() {
    let mut server = Server::start(&[("appendonly", "yes"), ("appendfsync", "always")]);
    let (port, pid) = (server.port(), server.pid());
    server.cmd(&["SET", "k", "v"]).expect("SET");
    server.kill9();
    assert!(server.try_conn().is_err(), "nobody listens");
    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(server.cmd(&["GET", "k"]), Ok(Value::BulkString(b"v".to_vec())));
    assert_eq!(server.info("loading").as_deref(), Some("0"));
}

#[test]
fn a_paused_server_answers_when_resumed() {
    let server = Server::start(&[]);
    server.pause();
    let since = Instant::now();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| server.cmd(&["ECHO", "x"]).expect("ECHO"));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!asked.is_finished());
        server.resume();
    });
    assert!(since.elapsed() >= Duration::from_millis(200));
}

#[test]
fn options_reach_the_server_and_bad_ones_are_told() {
    let server = Server::start(&[("maxmemory", "100mb"), ("databases", "3")]);
    assert!(server.cmd(&["SELECT", "3"]).is_err());
    assert_eq!(server.info("maxmemory").as_deref(), Some("104857600"));
    let refused = std::panic::catch_unwind(|| Server::start(&[("no-such-option", "1")]));
    let message = refused.expect_err("it cannot start").downcast::<String>().expect("a message");
    assert!(message.contains("no-such-option"), "{message}");
}

#[test]
fn cpu_time_grows_with_work() {
    let server = Server::start(&[]);
    let before = server.cpu_ms();
    server.cmd(&["EVAL", "local x = 0 for i = 1, 30000000 do x = x + i end return x", "0"]).expect("EVAL");
    assert!(server.cpu_ms() > before);
}

#[test]
fn a_reference_loads_every_layout_and_leaves_it_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let (one, two) = (aof::of_lines("SELECT 2\n SET a 1"), aof::of_lines("INCR a"));
    let dir =
        MultiPart { name: "other.aof", base: Some((&one, false)), incrs: &[&two, &two] }.write(home.path());
    let file = aof::write_file(home.path(), "dump.aof", &one);
    for (path, expected) in [(home.path(), "2"), (&dir, "2")] {
        let server = Server::loading(path).expect("it loads");
        // Files of a set each begin in database 0.
        assert_eq!(server.cmd(&["GET", "a"]), Ok(Value::BulkString(expected.into())));
    }
    let server = Server::loading(&file).expect("it loads");
    assert!(server.info("db2").is_some_and(|held| held.starts_with("keys=1,")));
    assert_eq!(std::fs::read(&file).expect("still there"), one);
}

#[test]
fn a_reference_tells_why_it_refuses() {
    let home = tempfile::tempdir().expect("a directory");
    let torn = aof::write_file(home.path(), "torn.aof", &aof::of_lines("SET a 1\n SET b 2")[..40]);
    assert!(Server::loading(torn).is_ok(), "a torn tail is cut off");
    let broken = aof::write_file(home.path(), "broken.aof", b"*1\r\n$4\r\nPING\r\nnonsense\r\n");
    let log = Server::loading(broken).expect_err("it must refuse");
    assert!(log.contains("Bad file format"), "{log}");
}
