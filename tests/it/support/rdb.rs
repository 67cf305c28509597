//! RDB files: as a server saves them, and put together by hand where no server writes what a test needs.

use super::server::Server;
use redcluster_load::rdb::{crc64, payload};
use redis::Value;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

const REWRITE_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_PAUSE: Duration = Duration::from_millis(2);

/// What a server holds, as the RDB file that it saves.
pub fn saved(server: &Server) -> Vec<u8> {
    assert_eq!(server.cmd(&["SAVE"]), Ok(Value::Okay), "the server saves");
    fs::read(server.dir().join("dump.rdb")).expect("it has saved there")
}

/// Has a server begin its append-only file anew, with an RDB part unless it is told otherwise.
pub fn rewrite(server: &Server) {
    server.cmd(&["BGREWRITEAOF"]).expect("it can");
    let deadline = Instant::now() + REWRITE_TIMEOUT;
    let is = |field: &str, value: &str| server.info(field).as_deref() == Some(value);
    while !(is("aof_rewrite_in_progress", "0") && is("aof_rewrite_scheduled", "0")) {
        assert!(Instant::now() < deadline, "the rewrite does not end:\n{}", server.log_tail());
        thread::sleep(POLL_PAUSE);
    }
    assert!(is("aof_last_bgrewrite_status", "ok"), "the rewrite failed:\n{}", server.log_tail());
}

/// A file under construction.
#[derive(Clone, Debug)]
pub struct Rdb {
    bytes: Vec<u8>,
}

impl Rdb {
    /// One with nothing in it, of this version of Redis's format.
    pub fn new(version: u32) -> Self {
        Self { bytes: format!("REDIS{version:04}").into_bytes() }
    }

    /// What follows is in this database.
    #[must_use]
    pub fn select(self, db: u32) -> Self {
        self.raw(&[&[0xfe, 0x80][..], &db.to_be_bytes()].concat())
    }

    /// The deadline of the next key, as a server writes it.
    #[must_use]
    pub fn deadline(self, ms: i64) -> Self {
        self.raw(&[&[0xfc][..], &ms.to_le_bytes()].concat())
    }

    /// A string.
    #[must_use]
    pub fn string(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.raw(&[0]).text(key.as_ref()).text(value.as_ref())
    }

    /// A key with the value of a RESTORE payload.
    #[must_use]
    pub fn dumped(self, key: impl AsRef<[u8]>, dump: &[u8]) -> Self {
        let object = payload::open(dump).expect("a server dumped it");
        self.raw(&dump[..1]).text(key.as_ref()).raw(object.body)
    }

    /// A string as values are made of, stored as it is.
    #[must_use]
    pub fn text(self, text: &[u8]) -> Self {
        let length = u32::try_from(text.len()).expect("a test's value fits");
        let head = [&[0x80][..], &length.to_be_bytes()].concat();
        self.raw(if length < 64 { &head[4..] } else { &head }).raw(text)
    }

    /// Any bytes.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The whole file, with its checksum.
    pub fn file(mut self) -> Vec<u8> {
        self.bytes.push(0xff);
        let sum = crc64::checksum(&self.bytes);
        self.bytes.extend(sum.to_le_bytes());
        self.bytes
    }

    /// The whole file without one, as servers write it that are told to (`rdbchecksum no`).
    pub fn unchecked(mut self) -> Vec<u8> {
        self.bytes.push(0xff);
        self.bytes.extend([0; 8]);
        self.bytes
    }
}

/// A file with its checksum replaced by the one that its bytes have.
pub fn resealed(file: &[u8]) -> Vec<u8> {
    let content = &file[..file.len() - 8];
    [content, &crc64::checksum(content).to_le_bytes()].concat()
}

/// A file that says that it has no checksum.
pub fn unsealed(file: &[u8]) -> Vec<u8> {
    [&file[..file.len() - 8], &[0; 8]].concat()
}
