//! Does the proxy lose, delay and keep back exactly what it says?

use super::aof;
use super::proxy::Proxy;
use super::server::Server;
use redis::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).expect("the proxy accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream
}

fn incrs(count: usize) -> Vec<u8> {
    aof::of_lines(&"INCR n\n".repeat(count))
}

fn counter(server: &Server) -> i64 {
    match server.cmd(&["GET", "n"]).expect("GET") {
        Value::BulkString(text) => String::from_utf8_lossy(&text).parse().expect("a number"),
        _ => 0,
    }
}

/// Polls, since a cut's last bytes are worked off after the client sees its end.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn it_passes_everything_and_counts() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.addr());
    let mut client = connect(&proxy);
    let bytes = incrs(1000);
    client.write_all(&bytes).expect("sent");
    let mut reply = vec![0; 9 * 4 + 90 * 5 + 900 * 6 + 7];
    client.read_exact(&mut reply).expect("answered");
    assert!(reply.ends_with(b":1000\r\n"));
    assert_eq!((proxy.bytes_up(), proxy.bytes_down()), (bytes.len() as u64, reply.len() as u64));
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn a_delay_is_latency_and_not_a_bottleneck() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.addr());
    proxy.delay(Duration::from_millis(100));
    let mut client = connect(&proxy);
    let since = Instant::now();
    for _ in 0..100 {
        // Apart, so that they travel as chunks of their own: serialised they would take 10 s.
        client.write_all(&incrs(1)).expect("sent");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut reply = vec![0; 9 * 4 + 90 * 5 + 6];
    client.read_exact(&mut reply).expect("answered");
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_cut_lets_exactly_the_bytes_before_it_through() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.addr());
    let one = incrs(1).len() as u64;
    for (extra, expected) in [(0, 7), (1, 14), (one - 1, 21)] {
        proxy.cut_after(7 * one + extra);
        let mut client = connect(&proxy);
        // May fail half way: the connection is cut under it.
        let _ = client.write_all(&incrs(100));
        let mut replies = Vec::new();
        if let Err(error) = client.read_to_end(&mut replies) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        eventually("the seventh INCR", || counter(&server) == expected);
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(counter(&server), expected, "nothing comes after the cut");
    }
    assert_eq!(proxy.bytes_up(), 21 * one + one);
}

#[test]
fn cut_replies_are_lost_though_the_work_is_done() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.addr());
    proxy.cut_replies_after(8);
    let mut client = connect(&proxy);
    client.write_all(&incrs(5)).expect("sent");
    let mut replies = Vec::new();
    let _ = client.read_to_end(&mut replies);
    assert_eq!(replies, b":1\r\n:2\r\n");
    assert_eq!(counter(&server), 5);
}

#[test]
fn held_bytes_arrive_when_released_after_another_connection_has_worked() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.addr());
    let one = incrs(1).len();
    proxy.hold_after(3 * one as u64 + 5);
    let mut client = connect(&proxy);
    client.write_all(&incrs(10)).expect("sent");
    let mut replies = Vec::new();
    // It closes the client once that has been silent.
    let _ = client.read_to_end(&mut replies);
    assert_eq!(replies, b":1\r\n:2\r\n:3\r\n");
    eventually("holding", || proxy.held_bytes() > 0);
    assert_eq!(proxy.held_bytes(), 7 * one - 5);
    let mut second = connect(&proxy);
    second.write_all(&aof::of_lines("SET n 100")).expect("sent");
    second.read_exact(&mut [0; 5]).expect("answered");
    assert_eq!(counter(&server), 100, "the held INCRs are not there yet");
    assert_eq!(proxy.release(), 7 * one - 5);
    assert_eq!(counter(&server), 107, "and are once released");
    assert_eq!(proxy.release(), 0);
}

#[test]
fn it_refuses_accepts_again_and_changes_its_target() {
    let (first, second) = (Server::start(&[]), Server::start(&[]));
    let proxy = Proxy::start(first.addr());
    let mut open = connect(&proxy);
    open.write_all(&incrs(1)).expect("sent");
    open.read_exact(&mut [0; 4]).expect("answered");
    proxy.refuse(true);
    let refused = TcpStream::connect(proxy.addr()).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    open.write_all(&incrs(1)).expect("an open connection stays");
    open.read_exact(&mut [0; 4]).expect("answered");
    proxy.refuse(false);
    proxy.retarget(second.addr());
    let mut client = connect(&proxy);
    client.write_all(&incrs(1)).expect("sent");
    client.read_exact(&mut [0; 4]).expect("answered");
    assert_eq!((counter(&first), counter(&second)), (2, 1));
    proxy.cut();
    assert_eq!(open.read(&mut [0; 4]).expect("an end"), 0);
}

#[test]
fn a_dead_server_closes_its_clients() {
    let mut server = Server::start(&[]);
    let proxy = Proxy::start(server.addr());
    let mut client = connect(&proxy);
    client.write_all(&incrs(1)).expect("sent");
    client.read_exact(&mut [0; 4]).expect("answered");
    server.kill9();
    assert_eq!(client.read(&mut [0; 4]).expect("an end"), 0);
}
