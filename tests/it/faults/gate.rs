//! A proxy that knows where transactions begin and end: it stops a connection right before the MULTI or the EXEC of one,
//! lets some more through, and keeps the rest, also when the client has gone.

use crate::drill::eventually;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
/// A connection that has sent this and MULTI in one go is one for batches.
const GUARD: &[u8] = b"\r\n$3\r\nGET\r\n";
const POLL_PAUSE: Duration = Duration::from_micros(500);
const CHUNK_BYTES: usize = 64 * 1024;

/// Where a connection is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Before the commands are queued.
    Multi,
    /// Before they are carried out.
    Exec,
}

impl Before {
    fn word(self) -> &'static [u8] {
        match self {
            Before::Multi => MULTI,
            Before::Exec => EXEC,
        }
    }
}

/// The proxy; its threads end with the process.
#[derive(Debug)]
pub struct Gate {
    port: u16,
    shared: Arc<Mutex<State>>,
}

/// Connections are numbered as they come.
#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    /// How often the place may still be passed, by connection; never where there is no number.
    left: BTreeMap<usize, usize>,
    /// Those that stand there, in the order in which they came.
    stopped: Vec<usize>,
    /// Connections that nothing stops any more.
    free: BTreeSet<usize>,
    /// Those whose client has gone.
    abandoned: BTreeSet<usize>,
    /// Those that the server is done with.
    worked_off: BTreeSet<usize>,
    /// New connections wait, from the first stop on.
    admits: bool,
    /// What the server has answered to the first that was stopped, since then.
    replies: Vec<u8>,
}

impl Gate {
    /// Before a server.
    pub fn start(upstream: String, before: Before) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("a bound port").port();
        let shared = Arc::default();
        let theirs = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &upstream, before, &theirs));
        Self { port, shared }
    }

    /// What the topology names.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Stops the next connection that gets to the place. Nobody else gets through from then on.
    pub fn close(&self) {
        self.state().is_closed = true;
        eventually("a batch", || !self.state().stopped.is_empty());
    }

    /// Lets the stopped connection pass the place so many times.
    pub fn pass(&self, batches: usize) {
        let mut state = self.state();
        let first = state.stopped[0];
        state.left.insert(first, batches);
    }

    /// What the server has answered since, as text.
    pub fn replies(&self) -> String {
        String::from_utf8_lossy(&self.state().replies).into_owned()
    }

    /// Whether the first client that was stopped has given up.
    pub fn is_abandoned(&self) -> bool {
        let state = self.state();
        state.stopped.first().is_some_and(|first| state.abandoned.contains(first))
    }

    /// Lets new connections through, each up to the place, and waits for one to get there.
    pub fn admit_another(&self) {
        self.state().admits = true;
        eventually("another connection's first batch", || self.state().stopped.len() > 1);
    }

    /// Delivers what the first client had sent before it gave up, and waits until the server is done with it.
    pub fn deliver_first(&self) {
        let first = self.state().stopped[0];
        self.state().free.insert(first);
        eventually("the end of what was kept", || self.state().worked_off.contains(&first));
    }

    /// Lets everything through.
    pub fn open(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().expect("no panic inside")
}

fn accept(listener: &TcpListener, upstream: &str, before: Before, shared: &Arc<Mutex<State>>) {
    for (id, client) in listener.incoming().enumerate() {
        let waits = |state: &State| state.is_closed && !state.stopped.is_empty() && !state.admits;
        while waits(&lock(shared)) {
            thread::sleep(POLL_PAUSE);
        }
        let (Ok(client), Ok(server)) = (client, TcpStream::connect(upstream)) else { continue };
        let copy = |socket: &TcpStream| socket.try_clone().expect("a socket can be shared");
        let (down_client, down_server) = (copy(&client), copy(&server));
        let (up, down) = (Arc::clone(shared), Arc::clone(shared));
        thread::spawn(move || carry_up(id, (client, server), before, &up));
        thread::spawn(move || carry_down(id, down_server, down_client, &down));
    }
}

fn carry_up(
    id: usize,
    (mut client, mut server): (TcpStream, TcpStream),
    before: Before,
    shared: &Mutex<State>,
) {
    client.set_read_timeout(Some(POLL_PAUSE)).expect("a timeout");
    let (mut kept, mut buffer, mut is_guarded, mut is_over) =
        (Vec::new(), vec![0; CHUNK_BYTES], false, false);
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
        is_guarded |= find(&kept, GUARD).is_some_and(|at| find(&kept[at..], MULTI).is_some());
        if is_over {
            lock(shared).abandoned.insert(id);
        }
        let passing =
            if is_guarded { passing(id, &kept, before.word(), &mut lock(shared)) } else { kept.len() };
        if server.write_all(&kept[..passing]).is_err() {
            return;
        }
        kept.drain(..passing);
    }
    // Already closed is as good.
    let _ = server.shutdown(Shutdown::Write);
}

/// How many of the bytes may go on.
fn passing(id: usize, kept: &[u8], word: &[u8], state: &mut State) -> usize {
    let mut from = 0;
    while state.is_closed && !state.free.contains(&id) {
        let Some(at) = find(&kept[from..], word) else {
            return kept.len() - begun(&kept[from..], word);
        };
        match state.left.get_mut(&id) {
            Some(left @ 1..) => *left -= 1,
            _ => {
                if !state.stopped.contains(&id) {
                    state.stopped.push(id);
                }
                return from + at;
            }
        }
        from += at + word.len();
    }
    kept.len()
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|bytes| bytes == word)
}

/// Bytes at the end that may be the beginning of `word`.
fn begun(bytes: &[u8], word: &[u8]) -> usize {
    (1..word.len()).rev().find(|len| bytes.ends_with(&word[..*len])).unwrap_or(0)
}

fn carry_down(id: usize, mut server: TcpStream, mut client: TcpStream, shared: &Mutex<State>) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        let mut state = lock(shared);
        if state.stopped.first() == Some(&id) {
            state.replies.extend_from_slice(&buffer[..count]);
        }
        drop(state);
        // A client that has gone must not keep the server from being read.
        let _ = client.write_all(&buffer[..count]);
    }
    lock(shared).worked_off.insert(id);
    let _ = client.shutdown(Shutdown::Both);
}
