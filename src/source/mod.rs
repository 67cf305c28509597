//! What is read: one append-only file, or the files of a multi-part one in the manifest's order.

pub mod manifest;
pub mod map;
pub mod window;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::rdb::Product;
use map::{Map, Stamp};

/// A place in the source, where a command or an entry begins, or a segment ends: segment number and byte offset in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Which file, counted from 0 in loading order.
    pub segment: u32,
    /// Bytes from its start.
    pub offset: u64,
}

/// The source: its segments, mapped.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    segments: Vec<Map>,
}

impl Source {
    /// Opens an append-only file, a manifest, or a directory that holds one.
    pub fn open(path: &Path) -> Result<Source> {
        let manifest = if path.is_dir() { Some(manifest_in(path)?) } else { None };
        let manifest = manifest.or_else(|| is_manifest(path).then(|| path.to_owned()));
        let segments = match manifest {
            Some(manifest) => {
                let text = Map::open(&manifest)?;
                let directory = manifest.parent().unwrap_or(Path::new("."));
                let names = manifest::parse(&manifest, &text)?;
                names.iter().map(|name| Map::open(&directory.join(name))).collect::<Result<Vec<_>>>()?
            }
            None => vec![Map::open(path)?],
        };
        let source = Source { path: path.to_owned(), segments };
        for segment in &source.segments {
            refuse_other_formats(segment)?;
        }
        Ok(source)
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that are read, the manifest apart.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.segments.iter().map(Map::path)
    }

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// The bytes of a segment; empty if there is no such segment.
    pub fn bytes(&self, segment: u32) -> &[u8] {
        self.segments.get(segment as usize).map_or(&[], |map| map)
    }

    /// The file of a segment.
    pub fn file(&self, segment: u32) -> &Path {
        self.segments.get(segment as usize).map_or(&self.path, |map| map.path())
    }

    /// Bytes of all segments together.
    pub fn len(&self) -> u64 {
        self.segments.iter().map(|map| map.len() as u64).sum()
    }

    /// Whether there is no byte in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes before a position, for progress.
    pub fn bytes_before(&self, position: Position) -> u64 {
        let segments = self.segments.iter().take(position.segment as usize);
        segments.map(|map| map.len() as u64).sum::<u64>() + position.offset
    }

    /// The end of the last segment.
    pub fn end(&self) -> Position {
        match self.segments.iter().enumerate().next_back() {
            Some((number, map)) => Position { segment: number as u32, offset: map.len() as u64 },
            None => Position::default(),
        }
    }

    /// Refuses to go on if a segment's file was cut short since it was mapped.
    pub fn check(&self, segment: u32) -> Result<()> {
        self.segments.get(segment as usize).map_or(Ok(()), Map::check)
    }

    /// Tells whether a segment's file was written to, see [`Map::stamp`].
    pub fn stamp(&self, segment: u32) -> Option<Stamp> {
        self.segments.get(segment as usize).and_then(Map::stamp)
    }

    /// Whose kinds of value its RDB parts may hold.
    pub fn product(&self) -> Product {
        let valkey = self.segments.iter().any(|map| map.starts_with(b"VALKEY"));
        if valkey { Product::Valkey } else { Product::Redis }
    }

    /// An error about a place in this source.
    pub fn error(&self, kind: Kind, message: impl Into<String>, at: Position) -> Error {
        Error::new(kind, message).file(self.file(at.segment)).offset(at.offset)
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "manifest")
}

/// A server writes a manifest under another name first, and never loads it by that (`TEMP_FILE_NAME_PREFIX`, aof.c).
fn temporary(manifest: &Path) -> PathBuf {
    let mut name = OsString::from("temp-");
    name.push(manifest.file_name().unwrap_or_default());
    manifest.with_file_name(name)
}

/// The one manifest in a directory, or in its `appendonlydir`.
fn manifest_in(directory: &Path) -> Result<PathBuf> {
    let unreadable = |error: std::io::Error| {
        Error::new(Kind::Source, "cannot read the source directory")
            .file(directory)
            .remedy("make it readable")
            .caused_by(error)
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_manifest(&path) {
            found.push(path);
        }
    }
    let half_written: Vec<PathBuf> = found.iter().map(|path| temporary(path)).collect();
    found.retain(|path| !half_written.contains(path));
    let inner = directory.join("appendonlydir");
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] if inner.is_dir() => manifest_in(&inner),
        [] => {
            Err(Error::new(Kind::Source, "the directory holds no manifest of a multi-part append-only file")
                .file(directory)
                .remedy("give the append-only file itself, or the directory with the .manifest file"))
        }
        _ => Err(Error::new(Kind::Source, "the directory holds several manifests")
            .file(directory)
            .remedy("give the manifest that is meant")),
    }
}

/// Recognises by their first bytes the files that are given by mistake.
fn refuse_other_formats(map: &Map) -> Result<()> {
    let refuse = |what: &str, remedy: &str| {
        Err(Error::new(Kind::Source, format!("the source {what}")).file(map.path()).offset(0).remedy(remedy))
    };
    let formats: [(&[u8], &str, &str); 4] = [
        (&[0x1f, 0x8b], "is gzip-compressed", "decompress it first"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "is zstd-compressed", "decompress it first"),
        (b"{", "is JSON, not an append-only file", "give the append-only file that a server wrote"),
        (b"[", "is JSON, not an append-only file", "give the append-only file that a server wrote"),
    ];
    for (magic, what, remedy) in formats {
        if map.starts_with(magic) {
            return refuse(what, remedy);
        }
    }
    Ok(())
}
