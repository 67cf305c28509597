//! A file that grows at its end.
//!
//! What is written goes from a chunk of memory straight to the disk: it is not read again, so that keeping it in the page
//! cache would only cost the copy, and push out what the machine has use for. Where a file system does not offer that, it
//! goes through the page cache all the same.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Bytes written at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Addresses, offsets and lengths of what goes straight to a disk are multiples of its block's size (open(2), O_DIRECT);
/// no usual disk has larger ones.
const BLOCK_BYTES: usize = 4 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Growing {
    file: File,
    /// The chunk under way, and what its alignment takes before it.
    memory: Box<[u8]>,
    /// Where in `memory` the chunk begins.
    begin: usize,
    /// How much of it is filled.
    filled: usize,
    /// Where in the file it goes.
    at: u64,
    /// Whether chunks pass by the page cache.
    direct: bool,
}

impl Growing {
    /// Goes on at the end of a file, of `length` bytes.
    pub(super) fn new(file: File, length: u64) -> io::Result<Self> {
        let memory = vec![0; CHUNK_BYTES + BLOCK_BYTES].into_boxed_slice();
        let begin = memory.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        let filled = (length % BLOCK_BYTES as u64) as usize;
        let mut growing = Growing { file, memory, begin, filled, at: length - filled as u64, direct: false };
        // A block can only be written as a whole.
        growing.file.read_exact_at(&mut growing.memory[begin..begin + filled], growing.at)?;
        growing.direct = growing.go_direct(true).is_ok();
        Ok(growing)
    }

    /// Brings everything onto the disk; the file's length.
    pub(super) fn sync(&mut self) -> io::Result<u64> {
        self.flush()?;
        self.file.sync_data()?;
        Ok(self.at + self.filled as u64)
    }

    fn go_direct(&self, direct: bool) -> io::Result<()> {
        let flags = fcntl_getfl(&self.file)?;
        Ok(fcntl_setfl(&self.file, if direct { flags | OFlags::DIRECT } else { flags - OFlags::DIRECT })?)
    }

    /// Writes what the chunk holds, through the page cache unless it is full.
    fn put(&mut self) -> io::Result<()> {
        let bytes = &self.memory[self.begin..self.begin + self.filled];
        if self.direct && self.filled == CHUNK_BYTES {
            if self.file.write_all_at(bytes, self.at).is_ok() {
                return Ok(());
            }
            // The file system cannot do it, or has a reason that it tells again.
            self.direct = false;
            self.go_direct(false)?;
        }
        if self.direct {
            self.go_direct(false)?;
        }
        self.file.write_all_at(bytes, self.at)?;
        if self.direct { self.go_direct(true) } else { Ok(()) }
    }
}

impl Write for Growing {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filled == CHUNK_BYTES {
            self.put()?;
            (self.at, self.filled) = (self.at + CHUNK_BYTES as u64, 0);
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.filled);
        let from = self.begin + self.filled;
        self.memory[from..from + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        Ok(taken)
    }

    #[inline]
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.write(bytes)?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Hands all to the file. Its last block will be written once more when it is full.
    fn flush(&mut self) -> io::Result<()> {
        self.put()?;
        let whole = self.filled - self.filled % BLOCK_BYTES;
        self.memory.copy_within(self.begin + whole..self.begin + self.filled, self.begin);
        (self.at, self.filled) = (self.at + whole as u64, self.filled - whole);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};
    use std::path::Path;

    fn opened(path: &Path) -> Growing {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.expect("room");
        let length = file.metadata().expect("a file").len();
        Growing::new(file, length).expect("a file")
    }

    /// On a disk, and where it may not be possible to pass by the page cache.
    #[test]
    fn pieces_of_all_sizes_come_one_after_the_other() {
        let directories = [std::env::temp_dir(), "/dev/shm".into()];
        for directory in directories.into_iter().filter(|directory| directory.is_dir()) {
            let directory = tempfile::tempdir_in(directory).expect("room");
            let path = directory.path().join("file");
            let mut growing = opened(&path);
            let mut expected = Vec::new();
            let sizes =
                [0, 1, 4095, 4096, 4097, 100, CHUNK_BYTES, 3 * CHUNK_BYTES + 17, CHUNK_BYTES - 5, 9000];
            for (nth, size) in sizes.into_iter().cycle().take(40).enumerate() {
                let piece: Vec<u8> = (0..size).map(|byte| (byte ^ nth) as u8).collect();
                growing.write_all(&piece).expect("room");
                expected.extend(piece);
                if nth % 3 == 0 {
                    assert_eq!(growing.sync().expect("room"), expected.len() as u64);
                    assert!(fs::read(&path).expect("a file") == expected, "after piece {nth}");
                }
                if nth % 5 == 0 {
                    growing.sync().expect("room");
                    growing = opened(&path);
                }
            }
            growing.sync().expect("room");
            assert!(fs::read(&path).expect("a file") == expected);
        }
    }

    #[test]
    fn what_cannot_be_written_is_told() {
        let directory = tempfile::tempdir().expect("room");
        let path = directory.path().join("file");
        fs::write(&path, b"0123").expect("room");
        let mut growing = Growing::new(File::open(&path).expect("a file"), 4).expect("a file");
        growing.write_all(&vec![0; CHUNK_BYTES - 4]).expect("memory");
        growing.write_all(b"x").expect_err("it is open for reading");
        growing.sync().expect_err("it is open for reading");
    }
}
