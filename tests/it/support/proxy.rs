//! A TCP proxy before a server, that delays, cuts, holds back and refuses as a network does.
//!
//! Every limit counts the bytes from the call on, over all connections together, and works once.

use super::port;
use super::relay::{Line, relay};
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const POLL_PAUSE: Duration = Duration::from_millis(1);
/// How long a server may take to work off what is released.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(60);
const PORT_TRIES: usize = 100;

/// A running proxy; everything is closed when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// What the accepting thread and all lines look at.
#[derive(Debug)]
pub(super) struct Shared {
    upstream: Mutex<String>,
    /// `None` while connections are refused.
    listener: Mutex<Option<TcpListener>>,
    stop: AtomicBool,
    delay_us: AtomicU64,
    connections: AtomicU64,
    traffic: Mutex<Traffic>,
    lines: Mutex<Vec<Weak<Line>>>,
    held: Mutex<Vec<Held>>,
}

/// Bytes passed on so far, and where something is to happen.
#[derive(Debug, Default)]
struct Traffic {
    up: u64,
    down: u64,
    cut_up_at: Option<u64>,
    cut_down_at: Option<u64>,
    hold_up_at: Option<u64>,
}

/// The kept back bytes of a connection whose client is gone.
#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    line: Arc<Line>,
}

/// What to do with a chunk: the number is how many of its bytes still pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    CutAfter(usize),
    HoldAfter(usize),
}

impl Proxy {
    /// Listens on a port of its own and connects each client to `upstream` (`host:port`).
    pub fn start(upstream: impl Into<String>) -> Self {
        let (port, listener) = listen();
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream.into()),
            listener: Mutex::new(Some(listener)),
            stop: AtomicBool::new(false),
            delay_us: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            traffic: Mutex::default(),
            lines: Mutex::default(),
            held: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        Self { port, shared, accepting: Some(thread::spawn(move || theirs.accept_until_stopped())) }
    }

    /// `127.0.0.1:port`, what clients connect to.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on every byte arrives this much later, in each direction. Throughput stays: it is a long wire, not a slow one.
    pub fn delay(&self, delay: Duration) {
        let us = u64::try_from(delay.as_micros()).expect("a delay fits");
        self.shared.delay_us.store(us, Ordering::Relaxed);
    }

    /// After `bytes` more bytes from clients the connection that carried the last of them is closed on both sides.
    /// The server gets, and works off, all bytes up to there.
    pub fn cut_after(&self, bytes: u64) {
        let mut traffic = self.shared.traffic();
        traffic.cut_up_at = Some(traffic.up + bytes);
    }

    /// The same for bytes from the server: what was asked is done, and the answer is lost.
    pub fn cut_replies_after(&self, bytes: u64) {
        let mut traffic = self.shared.traffic();
        traffic.cut_down_at = Some(traffic.down + bytes);
    }

    /// Closes all connections now, on both sides.
    pub fn cut(&self) {
        self.shared.lines().drain(..).filter_map(|line| line.upgrade()).for_each(|line| line.cut());
    }

    /// After `bytes` more bytes from clients, what the connection that carried the last of them sends is kept back. Once
    /// its client falls silent, the client's side is closed; the server's side stays open for [`Proxy::release`].
    pub fn hold_after(&self, bytes: u64) {
        let mut traffic = self.shared.traffic();
        traffic.hold_up_at = Some(traffic.up + bytes);
    }

    /// How many bytes are kept back of connections whose client has been closed. 0: not yet.
    pub fn held_bytes(&self) -> usize {
        self.shared.held().iter().map(|held| held.bytes.len()).sum()
    }

    /// Delivers what was kept back, as late packets, and returns how many bytes that were, once the server has read
    /// and worked off all of them (it closes its side after that).
    pub fn release(&self) -> usize {
        let held: Vec<Held> = self.shared.held().drain(..).collect();
        for Held { bytes, line } in &held {
            let mut upstream = &line.upstream;
            upstream.write_all(bytes).expect("the server's side of a held connection is still open");
            // Already closed is as good.
            let _ = upstream.shutdown(Shutdown::Write);
            let deadline = Instant::now() + RELEASE_TIMEOUT;
            while !line.server_closed.load(Ordering::Acquire) {
                assert!(Instant::now() < deadline, "the server did not work off the released bytes");
                thread::sleep(POLL_PAUSE);
            }
        }
        held.iter().map(|held| held.bytes.len()).sum()
    }

    /// Whether new connections are refused, as by a host where nobody listens. Open ones stay.
    pub fn refuse(&self, refuse: bool) {
        let mut listener = self.shared.listener();
        if refuse {
            *listener = None;
        } else if listener.is_none() {
            *listener =
                Some(bind(self.port).unwrap_or_else(|| panic!("port {} was taken meanwhile", self.port)));
        }
    }

    /// New connections go to another server from now on.
    pub fn retarget(&self, upstream: impl Into<String>) {
        *self.shared.upstream.lock().expect("no panic inside") = upstream.into();
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Bytes passed on from clients to the server so far.
    pub fn bytes_up(&self) -> u64 {
        self.shared.traffic().up
    }

    /// Bytes passed on from the server to clients so far.
    pub fn bytes_down(&self) -> u64 {
        self.shared.traffic().down
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            // A panic there has been printed; a second one here would abort.
            let _ = accepting.join();
        }
        self.cut();
        self.shared.held().iter().for_each(|held| held.line.cut());
    }
}

impl Shared {
    fn accept_until_stopped(self: &Arc<Self>) {
        while !self.stop.load(Ordering::Relaxed) {
            // Polled, so that `refuse` and `drop` take effect without a connection coming in.
            let accepted = self.listener().as_ref().map(TcpListener::accept);
            match accepted {
                Some(Ok((client, _))) => self.connect(client),
                _ => thread::sleep(POLL_PAUSE),
            }
        }
        *self.listener() = None;
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let addr = self.upstream.lock().expect("no panic inside").clone();
        // No server: the client sees its connection closed, as behind a load balancer.
        let Ok(upstream) = TcpStream::connect(addr) else { return };
        let line = Arc::new(Line::new(client, upstream));
        let mut lines = self.lines();
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(&line));
        relay(self, &line);
    }

    /// When a byte that arrives now is to be passed on.
    pub(super) fn due(&self) -> Instant {
        Instant::now() + Duration::from_micros(self.delay_us.load(Ordering::Relaxed))
    }

    /// Counts a chunk on its way to the server and says how far it gets.
    pub(super) fn judge_up(&self, len: usize) -> Verdict {
        let mut traffic = self.traffic();
        let end = traffic.up + len as u64;
        let (cut, hold) = (traffic.cut_up_at, traffic.hold_up_at);
        let verdict = if let Some(at) = cut.filter(|at| *at <= end) {
            traffic.cut_up_at = None;
            Verdict::CutAfter(passing(at, traffic.up))
        } else if let Some(at) = hold.filter(|at| *at <= end) {
            traffic.hold_up_at = None;
            Verdict::HoldAfter(passing(at, traffic.up))
        } else {
            Verdict::Pass
        };
        traffic.up += verdict.passes(len);
        verdict
    }

    /// The same on the way to the client.
    pub(super) fn judge_down(&self, len: usize) -> Verdict {
        let mut traffic = self.traffic();
        let end = traffic.down + len as u64;
        let verdict = traffic.cut_down_at.filter(|at| *at <= end).map_or(Verdict::Pass, |at| {
            traffic.cut_down_at = None;
            Verdict::CutAfter(passing(at, traffic.down))
        });
        traffic.down += verdict.passes(len);
        verdict
    }

    /// Keeps what a silenced client sent.
    pub(super) fn keep(&self, bytes: Vec<u8>, line: Arc<Line>) {
        self.held().push(Held { bytes, line });
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().expect("no panic inside")
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Weak<Line>>> {
        self.lines.lock().expect("no panic inside")
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().expect("no panic inside")
    }

    fn listener(&self) -> MutexGuard<'_, Option<TcpListener>> {
        self.listener.lock().expect("no panic inside")
    }
}

impl Verdict {
    fn passes(self, len: usize) -> u64 {
        match self {
            Self::Pass => len as u64,
            Self::CutAfter(count) | Self::HoldAfter(count) => count as u64,
        }
    }
}

/// How many bytes of a chunk that begins at `start` lie before `limit`.
fn passing(limit: u64, start: u64) -> usize {
    usize::try_from(limit.saturating_sub(start)).expect("a chunk fits")
}

/// Outside the ephemeral range, so that the port can be had again after `refuse(false)`.
fn listen() -> (u16, TcpListener) {
    let tries = std::iter::repeat_with(port::free).take(PORT_TRIES);
    tries.into_iter().find_map(|port| Some((port, bind(port)?))).expect("one of many ports can be bound")
}

fn bind(port: u16) -> Option<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    listener.set_nonblocking(true).expect("a socket can be set non-blocking");
    Some(listener)
}
