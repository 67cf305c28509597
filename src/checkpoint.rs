//! The checkpoint file: a readable record of a load. The markers in the targets are the truth; the file
//! adds what they cannot tell once they are gone. Its format is documented in docs/formats.md.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::marker::Marker;

/// The first field of every checkpoint.
const FORMAT: &str = "redcluster-load checkpoint";
/// The version that this program writes, and the only one that it reads.
const VERSION: u32 = 1;

/// How far a load is, as far as the file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Lanes are being applied or settled; the markers tell.
    Loading,
    /// All lanes are settled; markers are being removed.
    Finishing,
    /// Done, and nothing remains to be done.
    Complete,
    /// A target has diverged; only a restart helps.
    Diverged,
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// The target's name.
    pub target: String,
    /// The marker's text as last acknowledged.
    pub marker: String,
}

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    format: String,
    version: u32,
    /// How far the load is.
    pub status: Status,
    /// The source as it was named.
    pub source: String,
    /// The lanes, in the order of the topology.
    pub lanes: Vec<Lane>,
    /// Unix time in milliseconds of this record.
    pub written_unix_ms: u64,
}

impl Checkpoint {
    /// A record of lanes.
    pub fn new(status: Status, source: &Path, lanes: Vec<Lane>) -> Self {
        let written = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Checkpoint {
            format: FORMAT.to_owned(),
            version: VERSION,
            status,
            source: source.display().to_string(),
            lanes,
            written_unix_ms: written.as_millis() as u64,
        }
    }

    /// The markers, as far as they can be read.
    pub fn markers(&self) -> impl Iterator<Item = Marker> + '_ {
        self.lanes.iter().filter_map(|lane| lane.marker.parse().ok())
    }

    /// Writes the file, atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(io::Error::other);
        text.and_then(|text| durable::replace(path, &format!("{text}\n")))
            .map_err(|error| unwritable(path, error))
    }
}

/// What was found where the checkpoint should be.
#[derive(Debug)]
pub enum Found {
    /// No file.
    Nothing,
    /// A checkpoint that cannot be read any more; the reason.
    Unreadable(String),
    /// One of another version of the format, which is named: what it means cannot be guessed.
    OtherVersion(String),
    /// A checkpoint.
    Checkpoint(Checkpoint),
}

/// Reads the file. One that never was a checkpoint is an error, as it must not be written over.
pub fn read(path: &Path) -> Result<Found> {
    let unreadable = |error: io::Error| {
        Error::new(Kind::Conflict, "cannot read the checkpoint")
            .file(path)
            .remedy("make it a file that can be read, or name another with --checkpoint")
            .caused_by(error)
    };
    if fs::metadata(path).is_ok_and(|data| !data.is_file()) {
        return Err(unreadable(io::Error::other("it is not a regular file")));
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(unreadable(error)),
    };
    // Whatever becomes of a checkpoint, this is how it begins.
    let start = format!("{{\n  \"format\": \"{FORMAT}\"");
    if !(bytes.starts_with(start.as_bytes()) || start.as_bytes().starts_with(&bytes)) {
        return Err(Error::new(
            Kind::Conflict,
            "there is a file where the checkpoint is to be, and it is none",
        )
        .file(path)
        .remedy("name another path with --checkpoint; or remove the file, if nobody needs it"));
    }
    let value: serde_json::Value = match serde_json::from_slice(&bytes) {
        Ok(value) => value,
        Err(error) => return Ok(Found::Unreadable(error.to_string())),
    };
    if value["format"] == FORMAT && value["version"] != VERSION {
        return Ok(Found::OtherVersion(value["version"].to_string()));
    }
    match serde_json::from_value::<Checkpoint>(value) {
        Ok(checkpoint) => Ok(Found::Checkpoint(checkpoint)),
        Err(error) => Ok(Found::Unreadable(error.to_string())),
    }
}

/// Held while a loader works with a checkpoint, so that a second one on this machine is refused.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock beside `checkpoint`.
    pub fn take(checkpoint: &Path) -> Result<Lock> {
        let mut path = checkpoint.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let file = file.map_err(|error| unwritable(&path, error))?;
            match durable::lock(&file) {
                Ok(()) if is_at(&file, &path) => return Ok(Lock { path, _file: file }),
                // Who held it has removed the file meanwhile, and somebody else may hold another one.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(Kind::Conflict, "another loader is working with this checkpoint")
                        .file(checkpoint)
                        .remedy("wait until it has ended, or stop it; then run the same command again"));
                }
                Err(TryLockError::Error(error)) => return Err(unwritable(&path, error)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Only a convenience: what counts is the lock, not that the file exists.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether an open file is the one that is found at a path.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |data: &Metadata| (data.dev(), data.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(one), Ok(other)) if identity(&one) == identity(&other))
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    Error::new(Kind::Local, "cannot write the checkpoint")
        .file(path)
        .remedy("make room, and its directory writable, then run the same command again; or name another place with \
             --checkpoint")
        .caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::tests::example;

    fn example_checkpoint() -> Checkpoint {
        let lane = Lane { target: "127.0.0.1:6379".into(), marker: example().to_string() };
        Checkpoint { written_unix_ms: 1, ..Checkpoint::new(Status::Loading, Path::new("a.aof"), vec![lane]) }
    }

    /// Durable bytes: a change here is a change of the format, which needs a new version.
    #[test]
    fn golden_file() {
        let expected = format!(
            "{{\n  \"format\": \"redcluster-load checkpoint\",\n  \"version\": 1,\n  \"status\": \"loading\",\n  \
             \"source\": \"a.aof\",\n  \"lanes\": [\n    {{\n      \"target\": \"127.0.0.1:6379\",\n      \
             \"marker\": \"{}\"\n    }}\n  ],\n  \"written_unix_ms\": 1\n}}",
            example()
        );
        assert_eq!(serde_json::to_string_pretty(&example_checkpoint()).expect("JSON"), expected);
    }

    #[test]
    fn what_is_found_is_told_apart() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("c");
        assert!(matches!(read(&path), Ok(Found::Nothing)));
        example_checkpoint().write(&path).expect("room");
        assert!(matches!(read(&path), Ok(Found::Checkpoint(found)) if found == example_checkpoint()));
        let text = fs::read_to_string(&path).expect("the file");
        for cut in 0..text.len() - 2 {
            fs::write(&path, &text[..cut]).expect("room");
            assert!(matches!(read(&path), Ok(Found::Unreadable(_))), "cut at {cut}");
        }
        fs::write(&path, text.replace("\"version\": 1", "\"version\": 2")).expect("room");
        assert!(matches!(read(&path), Ok(Found::OtherVersion(version)) if version == "2"));
        assert_eq!(read(directory.path()).map_err(|error| error.kind()).err(), Some(Kind::Conflict));
        for foreign in ["x", "*1\r\n$4\r\nPING\r\n", "{}", "REDIS0011", "{\n  \"format\": \"other\"}"] {
            fs::write(&path, foreign).expect("room");
            assert_eq!(read(&path).map_err(|error| error.kind()).err(), Some(Kind::Conflict), "{foreign}");
        }
    }

    #[test]
    fn a_second_lock_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("c");
        let first = Lock::take(&path).expect("the lock");
        assert_eq!(Lock::take(&path).map_err(|error| error.kind()).err(), Some(Kind::Conflict));
        drop(first);
        assert!(Lock::take(&path).is_ok());
    }
}
