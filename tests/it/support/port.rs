//! Ports that nobody else is likely to take while a server is down between kill and restart.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the kernel's ephemeral range (32768 up), so that no outgoing connection of another test can sit on a
/// killed server's port, and low enough that the cluster bus port (+10000) is valid too.
const FIRST: u32 = 11_000;
const COUNT: u32 = 20_000;

/// A port that was free a moment ago. Another process may still win the race: callers retry.
pub fn free() -> u16 {
    static START: OnceLock<u32> = OnceLock::new();
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Test binaries run side by side, so each starts elsewhere; within one the counter keeps tests apart.
    let start = *START.get_or_init(|| std::process::id().wrapping_mul(7919));
    for _ in 0..COUNT {
        let nth = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + nth % COUNT).expect("the range ends below 65536");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} to {}", FIRST + COUNT);
}
