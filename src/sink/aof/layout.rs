//! Which files an append-only file has, and the texts that say so: the server's manifest and the marker file.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use crate::error::{Error, Kind};
use crate::marker::Marker;

/// The directory that a server looks for, below its working directory (`appenddirname`).
pub const APPEND_DIRECTORY: &str = "appendonlydir";
/// The manifest.
pub const MANIFEST_FILE: &str = "appendonly.aof.manifest";
/// The marker file, beside the append directory.
pub const MARKER_FILE: &str = "redcluster-load.marker";
/// The RDB part that a source begins with.
const BASE_FILE: &str = "appendonly.aof.1.base.rdb";

/// The files in the order in which a server loads them; only the last is written to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Whether the first one is the base.
    pub has_base: bool,
    /// Number of incr files behind it.
    pub incrs: usize,
    /// Whether the last one holds an RDB part that is not ended yet.
    pub in_rdb: bool,
    /// Bytes of the last one that are sure.
    pub length: u64,
}

impl Layout {
    /// Names of the files.
    pub fn files(&self) -> Vec<String> {
        let incrs = (1..=self.incrs).map(|number| format!("appendonly.aof.{number}.incr.aof"));
        self.has_base.then(|| BASE_FILE.to_owned()).into_iter().chain(incrs).collect()
    }

    /// This one with another file behind, which begins with an RDB part or not.
    pub fn with_next(&self, rdb: bool) -> Layout {
        let is_base = rdb && !self.has_base && self.incrs == 0;
        Layout {
            has_base: self.has_base || is_base,
            incrs: self.incrs + usize::from(!is_base),
            in_rdb: rdb,
            length: 0,
        }
    }

    /// Names that the first file can have.
    pub fn begun() -> Vec<String> {
        [true, false].into_iter().flat_map(|rdb| Layout::default().with_next(rdb).files()).collect()
    }

    /// The manifest's text (`aofLoadManifestFromFile`, aof.c).
    pub fn manifest(&self) -> String {
        let mut text = String::new();
        if self.has_base {
            let _ = writeln!(text, "file {BASE_FILE} seq 1 type b");
        }
        for number in 1..=self.incrs {
            let _ = writeln!(text, "file appendonly.aof.{number}.incr.aof seq {number} type i");
        }
        text
    }

    /// The marker file's text.
    pub fn with_marker(&self, marker: &Marker) -> String {
        let mut text = format!("{marker}\n");
        for file in self.files() {
            let _ = writeln!(text, "data-file={file}");
        }
        let _ = writeln!(text, "data-bytes={}", self.length);
        if self.in_rdb {
            text.push_str("data-rdb=open\n");
        }
        text
    }
}

/// The marker file of a directory.
pub fn read_marker(directory: &Path) -> Result<Option<(Marker, Layout)>, Error> {
    let path = directory.join(MARKER_FILE);
    let unreadable = || {
        Error::new(Kind::Conflict, "the marker file of a shard cannot be used")
            .file(&path)
            .remedy("use the version of redcluster-load that began the load, or remove the directory")
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        // What is no directory is for others to refuse.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable().caused_by(error)),
    };
    let mut lines = text.lines();
    let marker = lines.next().unwrap_or_default().parse::<Marker>();
    let marker = marker.map_err(|error| unreadable().caused_by(error))?;
    let layout = parse(lines).ok_or_else(unreadable)?;
    Ok(Some((marker, layout)))
}

fn parse<'t>(lines: impl Iterator<Item = &'t str>) -> Option<Layout> {
    let mut layout = Layout::default();
    let (mut files, mut length) = (Vec::new(), None);
    for line in lines {
        match line.split_once('=')? {
            ("data-file", name) => files.push(name),
            ("data-bytes", bytes) => length = Some(bytes.parse().ok()?),
            ("data-rdb", "open") => layout.in_rdb = true,
            _ => return None,
        }
    }
    layout.has_base = files.first() == Some(&BASE_FILE);
    layout.incrs = files.len() - usize::from(layout.has_base);
    layout.length = length?;
    let is_sound = layout.files() == files && (layout.length == 0 || !files.is_empty());
    is_sound.then_some(layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::tests::example;

    /// Durable bytes: a change here is a change of the format.
    #[test]
    fn golden_texts() {
        let plain = Layout { length: 77, ..Layout::default().with_next(false) };
        assert_eq!(
            plain.with_marker(&example()),
            format!("{}\ndata-file=appendonly.aof.1.incr.aof\ndata-bytes=77\n", example())
        );
        assert_eq!(plain.manifest(), "file appendonly.aof.1.incr.aof seq 1 type i\n");
        let base = Layout { length: 9, ..Layout::default().with_next(true) };
        assert_eq!(
            base.with_marker(&example()),
            format!("{}\ndata-file=appendonly.aof.1.base.rdb\ndata-bytes=9\ndata-rdb=open\n", example())
        );
        assert_eq!(
            base.with_next(false).with_next(true).manifest(),
            "file appendonly.aof.1.base.rdb seq 1 type b\n\
             file appendonly.aof.1.incr.aof seq 1 type i\n\
             file appendonly.aof.2.incr.aof seq 2 type i\n"
        );
    }

    #[test]
    fn marker_files_are_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(MARKER_FILE);
        assert!(matches!(read_marker(directory.path()), Ok(None)));
        let layouts = [
            Layout::default(),
            Layout { length: 77, ..Layout::default().with_next(true) },
            Layout { length: 5, ..Layout::default().with_next(true).with_next(false).with_next(true) },
        ];
        for layout in layouts {
            fs::write(&path, layout.with_marker(&example())).expect("room");
            let read = read_marker(directory.path()).expect("a marker file");
            assert_eq!(read, Some((example(), layout)));
        }
        let unsound = ["data-file=x\ndata-bytes=1\n", "data-bytes=77\n", "data-bytes=x\n"];
        for text in
            unsound.map(|rest| format!("{}\n{rest}", example())).iter().chain([&"half a mar".to_owned()])
        {
            fs::write(&path, text).expect("room");
            assert!(read_marker(directory.path()).is_err(), "{text}");
        }
    }
}
