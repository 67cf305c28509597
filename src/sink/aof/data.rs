//! The files of an append-only file under construction.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::growing::Growing;
use super::layout::Layout;
use crate::durable;
use crate::partition::{Action, LanePart};
use crate::rdb::{Version, crc64};
use crate::resp::encode;
use crate::sink::OwnCommand;
use crate::source::Source;

/// Bytes of a file that are read at a time.
const READ_BYTES: usize = 64 << 10;
/// What ends an RDB part, and what selects a database in it (rdb.h).
const END: u8 = 255;
const SELECT_DB: u8 = 254;
/// The first version that ends in a checksum.
const CHECKSUM_SINCE: u32 = 5;
/// No database: the first batch in a file selects its own.
pub(super) const NO_DB: u32 = u32::MAX;

/// Why the files could not be opened.
#[derive(Debug)]
pub(super) enum Unopened {
    /// Another loader is at work here.
    Locked,
    /// The last one is shorter than the marker says: its length.
    Short(u64),
    Failed(io::Error),
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Self {
        Unopened::Failed(error)
    }
}

/// An RDB part of the source.
#[derive(Debug, Clone, Copy)]
pub(super) struct RdbPart {
    /// The segment that it begins.
    pub(super) segment: u32,
    /// Its version.
    pub(super) version: Version,
    /// The checksum of what is written of it.
    pub(super) digest: crc64::Digest,
}

impl RdbPart {
    pub(super) fn new(segment: u32, version: Version) -> Self {
        RdbPart { segment, version, digest: crc64::Digest::new() }
    }
}

/// The files; see the module.
#[derive(Debug)]
pub(super) struct Data {
    directory: PathBuf,
    /// Held as long as this is open.
    _lock: File,
    pub(super) layout: Layout,
    out: Option<Growing>,
    /// The RDB part that is under way.
    rdb: Option<RdbPart>,
    /// The database that is selected.
    db: u32,
}

impl Data {
    /// Opens what is there, as far as `layout` says that it is sure; all of the last file if it is `whole`.
    pub(super) fn open(
        directory: &Path,
        layout: Layout,
        part: Option<RdbPart>,
        whole: bool,
    ) -> Result<Data, Unopened> {
        fs::create_dir_all(directory)?;
        let lock = File::open(directory)?;
        match durable::lock(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Unopened::Locked),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut data =
            Data { directory: directory.to_owned(), _lock: lock, layout, out: None, rdb: None, db: NO_DB };
        if let Some(name) = data.layout.files().last() {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(directory.join(name))?;
            let has = file.metadata()?.len();
            if has < data.layout.length {
                return Err(Unopened::Short(has));
            }
            file.set_len(if whole { has } else { data.layout.length })?;
            if let Some(part) = part {
                data.rdb = Some(RdbPart { digest: digest_of(&mut file)?, ..part });
            }
            let length = file.metadata()?.len();
            data.out = Some(Growing::new(file, length)?);
        }
        Ok(data)
    }

    /// Where commands are to be written, and the database that is selected there.
    pub(super) fn commands(&mut self) -> io::Result<(&mut Growing, u32)> {
        self.end_rdb()?;
        if self.out.is_none() || self.layout.files().last().is_some_and(|name| name.ends_with(".rdb")) {
            self.next_file(false)?;
        }
        let out = self.out.as_mut().ok_or_else(not_open)?;
        Ok((out, self.db))
    }

    /// Tells which database the commands that were written have selected.
    pub(super) fn selected(&mut self, db: u32) {
        self.db = db;
    }

    /// Writes commands of the loader's own, for a database.
    pub(super) fn own_commands(&mut self, db: u32, commands: &[OwnCommand]) -> io::Result<()> {
        let (out, selected) = self.commands()?;
        let mut text = Vec::new();
        if selected != db {
            encode::select(&mut text, db);
        }
        for command in commands {
            encode::command(&mut text, command);
            out.write_all(&text)?;
            text.clear();
        }
        self.selected(db);
        Ok(())
    }

    /// Writes entries of an RDB part as they stand in the source.
    pub(super) fn entries(
        &mut self,
        part: &LanePart,
        ops: std::ops::Range<usize>,
        db: u32,
        source: &Source,
        version: Version,
    ) -> io::Result<()> {
        let segment = part.window.start.segment;
        if self.rdb.is_none_or(|under_way| under_way.segment != segment) {
            self.end_rdb()?;
            self.next_file(true)?;
            self.rdb = Some(RdbPart::new(segment, version));
            self.put(version.to_string().as_bytes())?;
        }
        let starts_with_select = part.ops.get(ops.start).is_some_and(|op| op.action == Action::Select);
        if self.db != db && !starts_with_select {
            self.select(db)?;
        }
        let bytes = source.bytes(segment);
        for op in part.ops.get(ops).unwrap_or_default() {
            if op.action == Action::Select {
                self.select(op.start)?;
                continue;
            }
            let entry = part.entry(source, op).ok_or_else(|| io::Error::other("the source was changed"))?;
            let raw = bytes.get(entry.range.start as usize..entry.range.end as usize);
            self.put(raw.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Ends the RDB part that is under way, if there is one.
    pub(super) fn end_rdb(&mut self) -> io::Result<()> {
        if self.rdb.is_none() {
            return Ok(());
        }
        self.put(&[END])?;
        let ended = self.rdb.take().filter(|part| part.version.number >= CHECKSUM_SINCE);
        if let Some(part) = ended {
            self.put(&part.digest.value().to_le_bytes())?;
        }
        self.layout.in_rdb = false;
        // The database that it ends in is not the one in which a server begins with the commands behind it.
        self.db = NO_DB;
        Ok(())
    }

    /// Makes sure that there is a file, for a server to start from.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.end_rdb()?;
        if self.out.is_none() { self.next_file(false) } else { Ok(()) }
    }

    /// Brings everything onto the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(out) = &mut self.out {
            self.layout.length = out.sync()?;
        }
        Ok(())
    }

    fn next_file(&mut self, rdb: bool) -> io::Result<()> {
        self.sync()?;
        let layout = self.layout.with_next(rdb);
        let name = layout.files().pop().ok_or_else(not_open)?;
        let file = File::create(self.directory.join(name))?;
        durable::sync_directory(&self.directory)?;
        self.out = Some(Growing::new(file, 0)?);
        self.layout = layout;
        self.db = NO_DB;
        Ok(())
    }

    fn select(&mut self, db: u32) -> io::Result<()> {
        let mut bytes = vec![SELECT_DB, 0x80];
        bytes.extend(db.to_be_bytes());
        self.put(&bytes)?;
        self.db = db;
        Ok(())
    }

    /// Writes bytes of an RDB part.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(part) = &mut self.rdb {
            part.digest.update(bytes);
        }
        self.out.as_mut().ok_or_else(not_open)?.write_all(bytes)
    }
}

fn not_open() -> io::Error {
    io::Error::other("no file is open")
}

fn digest_of(file: &mut File) -> io::Result<crc64::Digest> {
    let mut digest = crc64::Digest::new();
    let mut buffer = vec![0; READ_BYTES];
    file.seek(SeekFrom::Start(0))?;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest),
            count => digest.update(&buffer[..count]),
        }
    }
}
