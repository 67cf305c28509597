//! The threads that carry one proxied connection's bytes.
//!
//! Each direction has a reader, which stamps every chunk with the moment it is due, and a writer, which waits for that
//! moment. So a delayed chunk does not keep the next one from being read: latency without loss of throughput.

use super::proxy::{Shared, Verdict};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks on the way in one direction: at most 256 MB.
const CHUNKS_MAX: usize = 4096;
/// A client that has sent nothing for this long waits for an answer that it will not get.
const SILENCE: Duration = Duration::from_millis(100);
/// A client that never falls silent is closed after this many bytes.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The two sockets of one connection.
#[derive(Debug)]
pub(super) struct Line {
    pub client: TcpStream,
    pub upstream: TcpStream,
    /// Set once the server has closed its side, which it does after working off all that came before ours closed.
    pub server_closed: AtomicBool,
}

type Chunk = (Instant, Vec<u8>);

impl Line {
    /// Takes over both sockets.
    pub fn new(client: TcpStream, upstream: TcpStream) -> Self {
        for socket in [&client, &upstream] {
            // The proxy must not add delays of its own.
            socket.set_nodelay(true).expect("a fresh socket takes options");
        }
        Self { client, upstream, server_closed: AtomicBool::new(false) }
    }

    /// Closes both sides. Only our sending half towards the server: closing the other with replies unread would send a
    /// reset, and bytes that count as delivered must reach the server. Errors mean closed already.
    pub fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.upstream.shutdown(Shutdown::Write);
    }
}

/// Starts the four threads of a connection; they end with it.
pub(super) fn relay(shared: &Arc<Shared>, line: &Arc<Line>) {
    let (to_server, from_client) = sync_channel(CHUNKS_MAX);
    let (to_client, from_server) = sync_channel(CHUNKS_MAX);
    start(shared, line, move |shared, line| read(shared, &line.client, &to_server));
    start(shared, line, move |shared, line| write_up(shared, line, &from_client));
    start(shared, line, move |shared, line| {
        read(shared, &line.upstream, &to_client);
        line.server_closed.store(true, Ordering::Release);
    });
    start(shared, line, move |shared, line| write_down(shared, line, &from_server));
}

fn start(shared: &Arc<Shared>, line: &Arc<Line>, work: impl FnOnce(&Shared, &Arc<Line>) + Send + 'static) {
    let (shared, line) = (Arc::clone(shared), Arc::clone(line));
    thread::spawn(move || work(&shared, &line));
}

/// Reads to the end, also when nobody takes the chunks any more: a server must never block on replies unread.
fn read(shared: &Shared, mut from: &TcpStream, to: &SyncSender<Chunk>) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => drop(to.send((shared.due(), buffer[..count].to_vec()))),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn write_up(shared: &Shared, line: &Arc<Line>, chunks: &Receiver<Chunk>) {
    let mut upstream = &line.upstream;
    while let Ok((due, bytes)) = chunks.recv() {
        sleep_until(due);
        let sent = match shared.judge_up(bytes.len()) {
            Verdict::Pass => upstream.write_all(&bytes),
            Verdict::CutAfter(count) => {
                // A server that is gone is cut off already.
                let _ = upstream.write_all(&bytes[..count]);
                return line.cut();
            }
            Verdict::HoldAfter(count) => {
                let _ = upstream.write_all(&bytes[..count]);
                let held = collect(bytes[count..].to_vec(), chunks);
                let _ = line.client.shutdown(Shutdown::Both);
                return shared.keep(held, Arc::clone(line));
            }
        };
        if sent.is_err() {
            break;
        }
    }
    // The client's end of file is passed on after its last byte; after an error there is nothing to keep up.
    let _ = line.upstream.shutdown(Shutdown::Write);
}

/// What the client sends until it falls silent or leaves.
fn collect(mut held: Vec<u8>, chunks: &Receiver<Chunk>) -> Vec<u8> {
    while held.len() < HELD_BYTES_MAX {
        let Ok((_, bytes)) = chunks.recv_timeout(SILENCE) else { break };
        held.extend_from_slice(&bytes);
    }
    held
}

fn write_down(shared: &Shared, line: &Arc<Line>, chunks: &Receiver<Chunk>) {
    let mut client = &line.client;
    while let Ok((due, bytes)) = chunks.recv() {
        sleep_until(due);
        let sent = match shared.judge_down(bytes.len()) {
            Verdict::CutAfter(count) => {
                let _ = client.write_all(&bytes[..count]);
                return line.cut();
            }
            Verdict::Pass | Verdict::HoldAfter(_) => client.write_all(&bytes),
        };
        if sent.is_err() {
            return;
        }
    }
    // The server has closed: so do we, towards the client in both directions, which also ends the other reader.
    let _ = line.client.shutdown(Shutdown::Both);
}

fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}
