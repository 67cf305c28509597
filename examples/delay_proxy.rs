//! A TCP proxy that delivers every byte later, in each direction: a long wire, not a thin one. See
//! benches/compare.sh.
//!
//! `delay_proxy LISTEN UPSTREAM DELAY_MS` with two addresses `host:port`; the round trip grows by twice the
//! delay. Runs until it is killed.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Read in one go.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks on the wire in one direction; past that the sender has to wait, as with full kernel buffers.
const CHUNKS_MAX: usize = 1024;

type Chunk = (Instant, Vec<u8>);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream, delay_ms] = words.as_slice() else {
        eprintln!("usage: delay_proxy LISTEN UPSTREAM DELAY_MS");
        return ExitCode::from(2);
    };
    let Ok(delay) = delay_ms.parse().map(Duration::from_millis) else {
        eprintln!("delay_proxy: {delay_ms} is not a number of milliseconds");
        return ExitCode::from(2);
    };
    match serve(listen, upstream, delay) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("delay_proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(listen: &str, upstream: &str, delay: Duration) -> io::Result<()> {
    for client in TcpListener::bind(listen)?.incoming() {
        let client = client?;
        // The client sees its connection closed, as it would without a server.
        let Ok(server) = TcpStream::connect(upstream) else { continue };
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        relay(client.try_clone()?, server.try_clone()?, delay);
        relay(server, client, delay);
    }
    Ok(())
}

/// Two threads for one direction: one notes when each chunk is due, the other delivers it then.
fn relay(from: TcpStream, to: TcpStream, delay: Duration) {
    let (sender, receiver) = sync_channel(CHUNKS_MAX);
    thread::spawn(move || collect(from, &sender, delay));
    thread::spawn(move || deliver(to, &receiver));
}

fn collect(mut from: TcpStream, sender: &SyncSender<Chunk>, delay: Duration) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if sender.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
            break;
        }
    }
}

fn deliver(mut to: TcpStream, receiver: &Receiver<Chunk>) {
    for (due, bytes) in receiver {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    // Already closed is as good.
    let _ = to.shutdown(Shutdown::Both);
}
