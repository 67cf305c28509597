//! A directory that becomes a multi-part append-only file, from which redis-server starts as it is.
//!
//! While the load is under way the directory holds a marker file: the marker and the length up to which
//! the data file is sure. It is replaced (written aside, synced, renamed) only after the data before it
//! is on disk, and a resumed load cuts the data file to that length. The manifest comes last, so a
//! server never starts from half a load. Names and texts are documented in docs/formats.md.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exchange::Flush;
use super::{Applied, Attached, Fault, Shifted, Sink};
use crate::batch::{Batch, write_commands};
use crate::durable;
use crate::error::{Error, Kind};
use crate::marker::{Marker, Phase};
use crate::partition::LanePart;
use crate::route::Rules;
use crate::source::Source;

/// The directory that a server looks for, below its working directory (`appenddirname`).
pub const APPEND_DIRECTORY: &str = "appendonlydir";
/// The data file.
pub const INCR_FILE: &str = "appendonly.aof.1.incr.aof";
/// The manifest.
pub const MANIFEST_FILE: &str = "appendonly.aof.manifest";
/// The manifest's text.
pub const MANIFEST: &str = "file appendonly.aof.1.incr.aof seq 1 type i\n";
/// The marker file, beside the append directory.
pub const MARKER_FILE: &str = "redcluster-load.marker";

/// Bytes gathered before they are written; larger arguments are written from where they lie.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes after which data is synced and the marker moved: what a killed load has to write again at most.
const SYNC_BYTES: u64 = 256 << 20;
/// No database: the first batch after opening the file selects its own.
const NO_DB: u32 = u32::MAX;

/// See the module.
pub struct AofSink<'s> {
    directory: PathBuf,
    lane: usize,
    source: &'s Source,
    rules: &'s Rules,
    data: Option<BufWriter<File>>,
    /// The marker as it is in memory: of the last batch written, not necessarily synced.
    marker: Option<Marker>,
    applied: Vec<Applied>,
    db: u32,
    written: u64,
    synced: u64,
}

impl<'s> AofSink<'s> {
    /// A sink for one lane; touches nothing yet.
    pub fn new(directory: &Path, lane: usize, source: &'s Source, rules: &'s Rules) -> Self {
        AofSink {
            directory: directory.to_owned(),
            lane,
            source,
            rules,
            data: None,
            marker: None,
            applied: Vec::new(),
            db: NO_DB,
            written: 0,
            synced: 0,
        }
    }

    fn data_path(&self) -> PathBuf {
        self.directory.join(APPEND_DIRECTORY).join(INCR_FILE)
    }

    /// Makes the directory and a marker in it; what an unfinished load has left there is dropped. The
    /// marker comes first, so that whatever follows it is known for this load's own.
    fn make(&mut self, marker: &Marker) -> Result<(), Fault> {
        let failed = |error| self.failed(error);
        fs::create_dir_all(&self.directory).map_err(failed)?;
        match fs::remove_file(self.directory.join(APPEND_DIRECTORY).join(MANIFEST_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        durable::replace(&self.directory.join(MARKER_FILE), &marker_text(marker, 0)).map_err(failed)
    }

    fn open_data(&self) -> Result<File, Fault> {
        let failed = |error| self.failed(error);
        fs::create_dir_all(self.directory.join(APPEND_DIRECTORY)).map_err(failed)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.data_path());
        let file = file.map_err(failed)?;
        durable::sync_directory(&self.directory.join(APPEND_DIRECTORY)).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Fault::Fatal(
                Error::new(Kind::Conflict, "another loader is writing to this directory")
                    .file(&self.directory)
                    .remedy("wait until it has ended, or stop it"),
            )),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Brings data and then the marker onto the disk.
    fn sync(&mut self) -> Result<(), Fault> {
        let result = self.try_sync();
        result.map_err(|error| self.failed(error))
    }

    fn try_sync(&mut self) -> io::Result<()> {
        if let (Some(data), Some(marker)) = (self.data.as_mut(), self.marker.as_ref()) {
            data.flush()?;
            data.get_ref().sync_data()?;
            self.written = data.get_mut().stream_position()?;
            durable::replace(&self.directory.join(MARKER_FILE), &marker_text(marker, self.written))?;
            self.synced = self.written;
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Fault {
        Fault::Fatal(
            Error::new(Kind::Local, "cannot write the append-only file of a shard")
                .shard(self.lane, self.directory.display())
                .remedy("make room or mend permissions, then run the same command again; it resumes")
                .caused_by(error),
        )
    }
}

impl Sink for AofSink<'_> {
    fn attach(&mut self) -> Result<Attached, Fault> {
        (self.data, self.marker, self.db) = (None, None, NO_DB);
        self.applied.clear();
        let found = read_marker(&self.directory)?;
        let is_empty = found.is_some() || is_vacant(&self.directory).map_err(|error| self.failed(error))?;
        let Some((marker, length)) = found else { return Ok(Attached { marker: None, is_empty, server: 0 }) };
        let mut data = self.open_data()?;
        let has = data.metadata().map_err(|error| self.failed(error))?.len();
        if has < length {
            return Err(Fault::Fatal(
                Error::new(Kind::Conflict, "the append-only file of a shard is shorter than its marker says")
                    .file(self.data_path())
                    .place("expected", format!("at least {length} bytes"))
                    .place("found", format!("{has} bytes"))
                    .remedy("start over with --restart"),
            ));
        }
        // Once it is settled, a server may have started from it and appended to it.
        let kept = if marker.phase == Phase::Settled { has } else { length };
        data.set_len(kept).and_then(|()| data.seek(SeekFrom::End(0))).map_err(|error| self.failed(error))?;
        (self.written, self.synced) = (length, length);
        self.data = Some(BufWriter::with_capacity(WRITE_BYTES, data));
        self.marker = Some(marker.clone());
        Ok(Attached { marker: Some(marker), is_empty, server: 0 })
    }

    fn create(&mut self, _found: Option<&Marker>, new: &Marker, _flush: Flush) -> Result<(), Fault> {
        self.make(new)
    }

    fn exchange(&mut self, old: &Marker, new: &Marker) -> Result<(), Fault> {
        if self.marker.as_ref() != Some(old) {
            return Err(Fault::Marker(format!("the marker of {} is not what was expected", self.name())));
        }
        self.marker = Some(new.clone());
        self.sync()
    }

    fn apply(&mut self, part: &Arc<LanePart>, batch: Batch, old: &Marker, new: &Marker) -> Result<(), Fault> {
        if self.marker.as_ref() != Some(old) {
            return Err(Fault::Marker(format!(
                "the marker of {} is not what this batch expects",
                self.name()
            )));
        }
        let Some(data) = self.data.as_mut() else { return Err(Fault::Lost("not attached".into())) };
        let written = write_commands(data, self.source, self.rules, self.lane, (part, &batch), self.db);
        self.db = written.map_err(|error| self.failed(error))?.db;
        part.check(self.source)?;
        self.marker = Some(new.clone());
        self.written += batch.bytes;
        let (commands, bytes) = (batch.commands, batch.bytes);
        self.applied.push(Applied { marker: new.clone(), commands, bytes, ignored: Vec::new() });
        if self.written - self.synced >= SYNC_BYTES { self.sync() } else { Ok(()) }
    }

    fn applied(&mut self, _wait: bool) -> Result<Vec<Applied>, Fault> {
        Ok(std::mem::take(&mut self.applied))
    }

    fn in_flight_bytes(&self) -> usize {
        0
    }

    fn rest(&mut self) -> Result<(), Fault> {
        self.sync()
    }

    fn settle(&mut self, _: &Marker, _: &Shifted<'_>, _: &dyn Fn(u64, u64)) -> Result<(), Fault> {
        self.sync()?;
        durable::replace(&self.directory.join(APPEND_DIRECTORY).join(MANIFEST_FILE), MANIFEST)
            .map_err(|error| self.failed(error))
    }

    fn finish(&mut self, _marker: &Marker) -> Result<(), Fault> {
        let removed = fs::remove_file(self.directory.join(MARKER_FILE));
        removed.and_then(|()| durable::sync_directory(&self.directory)).map_err(|error| self.failed(error))
    }

    fn name(&self) -> String {
        self.directory.display().to_string()
    }
}

/// The marker file of a directory: the marker, and the length of the data file that it stands for.
pub fn read_marker(directory: &Path) -> Result<Option<(Marker, u64)>, Error> {
    let path = directory.join(MARKER_FILE);
    let unreadable = || {
        Error::new(Kind::Conflict, "the marker file of a shard cannot be used")
            .file(&path)
            .remedy("use the version of redcluster-load that began the load, or remove the directory")
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable().caused_by(error)),
    };
    let (marker, length) = text.trim_end().split_once("\ndata-bytes=").ok_or_else(unreadable)?;
    let marker = marker.parse::<Marker>().map_err(|error| unreadable().caused_by(error))?;
    Ok(Some((marker, length.parse().map_err(|_| unreadable())?)))
}

fn marker_text(marker: &Marker, length: u64) -> String {
    format!("{marker}\ndata-bytes={length}\n")
}

/// Whether a directory is missing or holds nothing of worth: at most a marker file that was never put in
/// place, and a data file without a byte.
pub fn is_vacant(directory: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let nothing = match path.file_name().and_then(|name| name.to_str()) {
            Some(APPEND_DIRECTORY) => path.is_dir() && is_vacant(&path)?,
            Some(INCR_FILE) => path.metadata()?.len() == 0,
            Some(name) => name == format!("{MARKER_FILE}.new"),
            None => false,
        };
        if !nothing {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::tests::example;

    /// Durable bytes: a change here is a change of the format.
    #[test]
    fn golden_marker_file() {
        assert_eq!(marker_text(&example(), 77), format!("{}\ndata-bytes=77\n", example()));
        assert_eq!(MANIFEST, "file appendonly.aof.1.incr.aof seq 1 type i\n");
    }

    #[test]
    fn marker_files_are_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(matches!(read_marker(directory.path()), Ok(None)));
        fs::write(directory.path().join(MARKER_FILE), marker_text(&example(), 77)).expect("room");
        assert!(matches!(read_marker(directory.path()), Ok(Some((marker, 77))) if marker == example()));
        fs::write(directory.path().join(MARKER_FILE), "half a mar").expect("room");
        assert!(read_marker(directory.path()).is_err());
    }
}
