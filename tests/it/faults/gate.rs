//! A proxy that knows where transactions begin: it stops a connection right before one, lets some more through, and
//! keeps the rest, also when the client has gone. While a connection is stopped no new one gets through.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::drill::eventually;

const BEGIN: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const POLL_PAUSE: Duration = Duration::from_micros(500);
const CHUNK_BYTES: usize = 64 * 1024;

/// The proxy; its threads end with the process.
#[derive(Debug)]
pub struct Gate {
    port: u16,
    shared: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// How many transactions may still begin; `None`: any number.
    left: Option<usize>,
    /// A connection stands before a transaction that may not begin.
    is_stopped: bool,
    /// The stopped connection's client has gone.
    is_abandoned: bool,
    /// The stopped connection is worked off, to the end.
    is_worked_off: bool,
    /// What the server has answered on the stopped connection since it was stopped.
    replies: Vec<u8>,
}

impl Gate {
    /// Before a server.
    pub fn start(upstream: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("a bound port").port();
        let shared = Arc::default();
        let theirs = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &upstream, &theirs));
        Self { port, shared }
    }

    /// What the topology names.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Stops the next connection that begins a transaction, right before it.
    pub fn close(&self) {
        self.state().left = Some(0);
        eventually("a transaction", || self.state().is_stopped);
    }

    /// Lets so many transactions through and stops before the next one.
    pub fn pass(&self, transactions: usize) {
        let mut state = self.state();
        (state.left, state.is_stopped) = (Some(transactions), false);
    }

    /// What the server has answered since, as text.
    pub fn replies(&self) -> String {
        String::from_utf8_lossy(&self.state().replies).into_owned()
    }

    /// Lets everything through. If the client has gone, first all that it had sent, until the server is done with it.
    pub fn open(&self) {
        let is_abandoned = {
            let mut state = self.state();
            state.left = None;
            state.is_abandoned
        };
        if is_abandoned {
            eventually("the end of what was kept", || self.state().is_worked_off);
        }
        *self.state() = State::default();
    }

    /// Whether the stopped client has given up.
    pub fn is_abandoned(&self) -> bool {
        self.state().is_abandoned
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().expect("no panic inside")
}

fn accept(listener: &TcpListener, upstream: &str, shared: &Arc<Mutex<State>>) {
    for client in listener.incoming() {
        // A stop ends when the gate is opened, however long that takes.
        while lock(shared).left.is_some() {
            thread::sleep(POLL_PAUSE);
        }
        let (Ok(client), Ok(server)) = (client, TcpStream::connect(upstream)) else { continue };
        let (down_client, down_server) =
            (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
        let (up, down) = (Arc::clone(shared), Arc::clone(shared));
        thread::spawn(move || carry_up(client, server, &up));
        thread::spawn(move || carry_down(down_server, down_client, &down));
    }
}

fn carry_up(mut client: TcpStream, mut server: TcpStream, shared: &Mutex<State>) {
    client.set_read_timeout(Some(POLL_PAUSE)).expect("a timeout");
    let (mut kept, mut buffer, mut is_over) = (Vec::new(), vec![0; CHUNK_BYTES], false);
    while !(is_over && kept.is_empty()) {
        if is_over {
            thread::sleep(POLL_PAUSE);
        } else {
            match client.read(&mut buffer) {
                Ok(0) => is_over = true,
                Ok(count) => kept.extend_from_slice(&buffer[..count]),
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                Err(_) => is_over = true,
            }
        }
        let passing = passing(&kept, shared, is_over);
        if server.write_all(&kept[..passing]).is_err() {
            return;
        }
        kept.drain(..passing);
    }
    // Already closed is as good.
    let _ = server.shutdown(Shutdown::Write);
}

/// How many of the bytes may go on.
fn passing(kept: &[u8], shared: &Mutex<State>, is_over: bool) -> usize {
    let mut state = lock(shared);
    let mut from = 0;
    while let Some(left) = state.left {
        let Some(at) = kept[from..].windows(BEGIN.len()).position(|bytes| bytes == BEGIN) else {
            return if is_over { kept.len() } else { kept.len() - begun(&kept[from..]) };
        };
        if left == 0 {
            state.is_stopped = true;
            state.is_abandoned |= is_over;
            return from + at;
        }
        state.left = Some(left - 1);
        from += at + BEGIN.len();
    }
    kept.len()
}

/// Bytes at the end that may be the beginning of a [`BEGIN`].
fn begun(bytes: &[u8]) -> usize {
    (0..BEGIN.len().min(bytes.len() + 1)).rev().find(|len| bytes.ends_with(&BEGIN[..*len])).unwrap_or(0)
}

fn carry_down(mut server: TcpStream, mut client: TcpStream, shared: &Mutex<State>) {
    let mut buffer = vec![0; CHUNK_BYTES];
    // A client that has gone must not keep the server from being read.
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        let mut state = lock(shared);
        if state.left.is_some() {
            state.replies.extend_from_slice(&buffer[..count]);
        }
        drop(state);
        let _ = client.write_all(&buffer[..count]);
    }
    lock(shared).is_worked_off = true;
    let _ = client.shutdown(Shutdown::Both);
}
