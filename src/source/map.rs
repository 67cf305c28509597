//! The memory map of one file, and what is done about a file that changes under it.
//!
//! This is the only module with `unsafe` code. A mapped file that another process cuts short makes
//! the reader die of SIGBUS, and one that is overwritten makes it read other bytes than before. The
//! first is answered by a handler that says so and exits with the code for "source"; a rerun resumes,
//! since markers move only with their data. The second is found by checksum: the survey keeps one for
//! each window, which the load compares when it partitions the window, and again before a batch is
//! committed if the file was written to in between ([`Map::stamp`], as fine as the file system's
//! clock). [`Map::check`] sees a file that was cut before the pages are touched.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::SystemTime;

use memmap2::{Advice, Mmap};

use crate::error::{Error, Kind, Result};

/// See [`Map::stamp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    bytes: u64,
    changed: SystemTime,
}

/// A read-only map of a whole file.
#[derive(Debug)]
pub struct Map {
    path: PathBuf,
    file: File,
    map: Mmap,
}

impl Map {
    /// Maps `path` as long as it is now.
    pub fn open(path: &Path) -> Result<Map> {
        let unreadable = |error: std::io::Error| {
            let remedy = match error.kind() {
                std::io::ErrorKind::NotFound => "check the path",
                std::io::ErrorKind::PermissionDenied => "run as a user who may read it",
                _ => "make the file readable",
            };
            Error::new(Kind::Source, "cannot read the source")
                .unwritten()
                .file(path)
                .remedy(remedy)
                .caused_by(error)
        };
        // Before it is opened, as that waits if it is a pipe.
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(Error::new(Kind::Source, "the source is not a regular file")
                .file(path)
                .remedy("give an append-only file, a multi-part directory or its manifest"));
        }
        let file = File::open(path).map_err(unreadable)?;
        report_bus_errors();
        // SAFETY: the map is read-only and private to this process, but nothing can stop another
        // process from cutting or overwriting the file. Bytes that change are not undefined to us in
        // practice: no reference derived from the map is relied on to keep its value (lengths are
        // checked at every use, contents by checksum), and pages that vanish raise SIGBUS, which
        // `report_bus_errors` turns into a message and an exit.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        // Advice only: a system that does not take it is merely slower.
        let _ = map.advise(Advice::Sequential);
        Ok(Map { path: path.to_owned(), file, map })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length and time of the last change: another stamp means that the file was written to.
    pub fn stamp(&self) -> Option<Stamp> {
        let metadata = self.file.metadata().ok()?;
        Some(Stamp { bytes: metadata.len(), changed: metadata.modified().ok()? })
    }

    /// Refuses to go on if the file is now shorter than the map.
    pub fn check(&self) -> Result<()> {
        let changed = || {
            Error::new(Kind::Source, "the source was cut short while it was read")
                .file(&self.path)
                .remedy("restore the file as it was and run the same command again; it resumes")
        };
        match self.file.metadata() {
            Ok(metadata) if metadata.len() >= self.map.len() as u64 => Ok(()),
            Ok(_) => Err(changed()),
            Err(error) => Err(changed().caused_by(error)),
        }
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

/// Installs, once, a handler that names the cause of a SIGBUS and exits with the code for "source".
fn report_bus_errors() {
    static ONCE: Once = Once::new();
    const MESSAGE: &[u8] = b"\nerror: the source was cut short while it was read (SIGBUS)\n  \
        what to do: restore the file as it was and run the same command again; it resumes\n";
    ONCE.call_once(|| {
        let handler = || {
            let _ = rustix::io::write(rustix::stdio::stderr(), MESSAGE);
            signal_hook::low_level::exit(i32::from(Kind::Source.exit_code()));
        };
        // SAFETY: the handler only calls write(2) and _exit(2), both async-signal-safe, and does not
        // allocate, lock or return.
        let _ = unsafe { signal_hook::low_level::register(signal_hook::consts::SIGBUS, handler) };
    });
}
