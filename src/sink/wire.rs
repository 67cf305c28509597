//! One connection to a server, written to without ever being stuck: while the server does not take
//! more bytes, the replies that it sends are read.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Stop;
use super::reply::Inbox;
use crate::topology::Endpoint;

/// Bytes asked for in one read.
const READ_BYTES: usize = 64 << 10;
/// A pause is cut into pieces so that a request to stop is noticed.
const PAUSE_PIECE_MS: u64 = 100;

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(buffer),
            Stream::Unix(stream) => stream.write(buffer),
        }
    }
}

/// A connection; writing to it never blocks on its replies.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    timeout: Duration,
    /// Replies that have come and not been looked at.
    pub inbox: Inbox,
    buffer: Vec<u8>,
}

impl Wire {
    /// Connects; a server that neither takes nor sends a byte for `timeout` counts as lost.
    pub fn connect(endpoint: &Endpoint, timeout: Duration) -> io::Result<Wire> {
        let stream = match endpoint {
            Endpoint::Tcp { host, port } => {
                let stream = connect_tcp(host, *port, timeout)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Stream::Tcp(stream)
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Stream::Unix(stream)
            }
        };
        Ok(Wire { stream, timeout, inbox: Inbox::default(), buffer: vec![0; READ_BYTES] })
    }

    /// Reads what has come, without waiting; false if nothing had.
    pub fn receive(&mut self) -> io::Result<bool> {
        let mut any = false;
        loop {
            match self.stream.read(&mut self.buffer) {
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
                }
                Ok(count) => {
                    self.inbox.push(&self.buffer[..count]);
                    any = true;
                    if count < self.buffer.len() {
                        return Ok(any);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(any),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until something has come and reads it.
    pub fn wait(&mut self) -> io::Result<()> {
        self.ready(PollFlags::IN)?;
        self.receive().map(drop)
    }

    /// Waits until the connection can be read or written, as `flags` asks.
    fn ready(&self, flags: PollFlags) -> io::Result<PollFlags> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    format!("the server was silent for {} ms", self.timeout.as_millis()),
                ));
            }
            let timespec = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let fd = self.stream.fd();
            let mut fds = [PollFd::new(&fd, flags)];
            match poll(&mut fds, Some(&timespec)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(fds[0].revents()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Ok(0) => return Err(io::Error::new(ErrorKind::WriteZero, "the server takes no more bytes")),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.ready(PollFlags::IN | PollFlags::OUT)?.contains(PollFlags::IN) {
                        self.receive()?;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn connect_tcp(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the host name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sleeps, but not through a request to stop; true if one came.
pub fn pause(duration: Duration, stop: &Stop) -> bool {
    let deadline = Instant::now() + duration;
    while !stop.requested() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(left.min(Duration::from_millis(PAUSE_PIECE_MS)));
    }
    true
}
