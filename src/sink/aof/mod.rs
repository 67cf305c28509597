//! A directory that becomes a multi-part append-only file, from which redis-server starts as it is.
//!
//! While the load is under way the directory holds a marker file: the marker, the data files, and the length up to
//! which the last of them is sure. It is replaced (written aside, synced, renamed) only after the data before
//! it is on disk, and a resumed load cuts the data to that length. The manifest comes last, so a server never
//! starts from half a load. Names and texts are documented in docs/formats.md.

mod data;
mod growing;
mod layout;

pub use layout::{MARKER_FILE, read_marker};

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::data::{Data, RdbPart, Unopened};
use self::layout::{APPEND_DIRECTORY, Layout, MANIFEST_FILE};
use super::exchange::Flush;
use super::{Applied, Attached, Fault, OwnCommand, Secured, Shifted, Sink};
use crate::batch::{Batch, append_commands};
use crate::durable;
use crate::error::{Error, Kind};
use crate::marker::{Marker, Phase};
use crate::partition::LanePart;
use crate::rdb;
use crate::route::Rules;
use crate::source::Source;
use crate::source::window::Content;

/// Bytes after which data is synced and the marker moved: what a killed load has to write again at most.
const SYNC_BYTES: u64 = 256 << 20;

/// See the module.
pub struct AofSink<'s> {
    directory: PathBuf,
    lane: usize,
    source: &'s Source,
    rules: &'s Rules,
    data: Option<Data>,
    /// The marker as it is in memory: of the last batch written, not necessarily synced.
    marker: Option<Marker>,
    applied: Vec<Applied>,
    /// Bytes written since data was synced last.
    unsynced: u64,
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
            unsynced: 0,
        }
    }

    /// Makes the directory and a marker in it; what an unfinished load has left there is dropped. The
    /// marker comes first, so that whatever follows it is known for this load's own.
    fn make(&mut self, marker: &Marker) -> Result<(), Fault> {
        let failed = |error| self.failed(error);
        fs::create_dir_all(&self.directory).map_err(failed)?;
        remove_data(&self.directory)?.map_err(failed)?;
        let text = Layout::default().with_marker(marker);
        durable::replace(&self.directory.join(MARKER_FILE), &text).map_err(failed)
    }

    fn open(&self, marker: &Marker, layout: Layout) -> Result<Data, Fault> {
        let directory = self.directory.join(APPEND_DIRECTORY);
        let segment = marker.window.segment;
        let version = if layout.in_rdb { rdb::header(self.source.bytes(segment)).ok() } else { None };
        let part = version.map(|version| RdbPart::new(segment, version));
        let expected = layout.length;
        // Once it is settled, a server may have started from it and appended to it.
        Data::open(&directory, layout, part, marker.phase == Phase::Settled).map_err(
            |unopened| match unopened {
                Unopened::Locked => Fault::Fatal(
                    Error::new(Kind::Conflict, "another loader is writing to this directory")
                        .file(&self.directory)
                        .remedy("wait until it has ended, or stop it"),
                ),
                Unopened::Short(has) => Fault::Fatal(
                    Error::new(
                        Kind::Conflict,
                        "the append-only file of a shard is shorter than its marker says",
                    )
                    .file(directory)
                    .place("expected", format!("at least {expected} bytes"))
                    .place("found", format!("{has} bytes"))
                    .remedy("start over with --restart"),
                ),
                Unopened::Failed(error) => self.failed(error),
            },
        )
    }

    /// Brings data and then the marker onto the disk.
    fn sync(&mut self) -> Result<(), Fault> {
        let result = self.try_sync();
        result.map_err(|error| self.failed(error))
    }

    fn try_sync(&mut self) -> io::Result<()> {
        if let (Some(data), Some(marker)) = (self.data.as_mut(), self.marker.as_ref()) {
            data.sync()?;
            durable::replace(&self.directory.join(MARKER_FILE), &data.layout.with_marker(marker))?;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn write(&mut self, part: &LanePart, batch: &Batch) -> io::Result<()> {
        let Some(data) = self.data.as_mut() else { return Err(not_attached()) };
        if let Content::Rdb(version) = part.window.content {
            return data.entries(part, batch.ops.clone(), batch.db, self.source, version);
        }
        let (out, db) = data.commands()?;
        let selected = append_commands(out, self.source, self.rules, self.lane, (part, batch), db)?;
        data.selected(selected);
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
        (self.data, self.marker, self.unsynced) = (None, None, 0);
        self.applied.clear();
        let found = read_marker(&self.directory)?;
        let is_empty = found.is_some() || is_vacant(&self.directory).map_err(|error| self.failed(error))?;
        let Some((marker, layout)) = found else { return Ok(Attached { marker: None, is_empty, server: 0 }) };
        self.data = Some(self.open(&marker, layout)?);
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
        let written = self.write(part, &batch);
        written.map_err(|error| self.failed(error))?;
        part.check(self.source)?;
        self.marker = Some(new.clone());
        let (commands, bytes) = (batch.commands, batch.bytes);
        self.unsynced += bytes;
        self.applied.push(Applied { marker: new.clone(), commands, bytes, ignored: Vec::new() });
        if self.unsynced >= SYNC_BYTES { self.sync() } else { Ok(()) }
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

    fn run(&mut self, marker: &Marker, db: u32, commands: &[OwnCommand]) -> Result<(), Fault> {
        if self.marker.as_ref() != Some(marker) {
            return Err(Fault::Marker(format!("the marker of {} is not what was expected", self.name())));
        }
        let Some(data) = self.data.as_mut() else { return Err(self.failed(not_attached())) };
        data.own_commands(db, commands).map_err(|error| self.failed(error))
    }

    fn secure(&mut self, _marker: &Marker) -> Result<Secured, Fault> {
        self.sync().map(|()| Secured::default())
    }

    fn settle(&mut self, _: &Marker, _: &Shifted<'_>, _: &dyn Fn(u64, u64)) -> Result<(), Fault> {
        let finished = self.data.as_mut().map_or(Ok(()), Data::finish);
        finished.map_err(|error| self.failed(error))?;
        self.sync()?;
        let manifest = self.data.as_ref().map(|data| data.layout.manifest()).unwrap_or_default();
        durable::replace(&self.directory.join(APPEND_DIRECTORY).join(MANIFEST_FILE), &manifest)
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

fn not_attached() -> io::Error {
    io::Error::other("not attached")
}

/// Removes the data files and the manifest that a load has made, and their directory if nothing else is in it.
pub fn remove_data(directory: &Path) -> Result<io::Result<()>, Error> {
    let layout = read_marker(directory)?.map(|(_, layout)| layout).unwrap_or_default();
    let inner = directory.join(APPEND_DIRECTORY);
    // The file behind the last known one may have been begun.
    let begun = [layout.with_next(false), layout.with_next(true)];
    let names = begun.iter().flat_map(Layout::files).chain([MANIFEST_FILE.to_owned()]);
    let mut removed: Vec<io::Result<()>> =
        names.map(|name| or_missing(fs::remove_file(inner.join(name)))).collect();
    match or_missing(fs::remove_dir(&inner)) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
        result => removed.push(result),
    }
    Ok(removed.into_iter().collect())
}

/// Nothing to remove is as good as removed.
pub fn or_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
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
            Some(name) if Layout::begun().contains(&name.to_owned()) => path.metadata()?.len() == 0,
            Some(name) => name == format!("{MARKER_FILE}.new"),
            None => false,
        };
        if !nothing {
            return Ok(false);
        }
    }
    Ok(true)
}
