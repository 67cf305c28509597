//! Files that are either the old or the new, whatever happens in between; and locks on files.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long a lock is tried for. Who held it may just have been killed, and a program that it was about to start has
/// its files until it has begun to run.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// The pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// So many bytes are worth a call of the system.
const BEGUN_BYTES: u64 = 8 << 20;

/// A file whose bytes begin their way onto the disk while more are being written, so that little of it is left for
/// [`Appended::sync`].
#[derive(Debug)]
pub struct Appended {
    file: File,
    /// Where the next byte goes.
    length: u64,
    /// What lies before is on its way.
    begun: u64,
}

impl Appended {
    /// Goes on behind the file's present position.
    pub fn new(mut file: File) -> io::Result<Self> {
        let length = file.stream_position()?;
        Ok(Appended { file, length, begun: length })
    }

    /// Brings everything onto the disk; the file's length.
    pub fn sync(&mut self) -> io::Result<u64> {
        self.file.sync_data()?;
        self.begun = self.length;
        Ok(self.length)
    }
}

impl Write for Appended {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.length += written as u64;
        let more = self.length - self.begun;
        if more >= BEGUN_BYTES {
            // Linux starts to write pages that are not to be kept, and keeps them as long as they are not on the disk
            // (`generic_fadvise` in mm/fadvise.c). Only advice: that it fails does no harm.
            let _ = rustix::fs::fadvise(
                &self.file,
                self.begun,
                NonZeroU64::new(more),
                rustix::fs::Advice::DontNeed,
            );
            self.begun = self.length;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Locks a file for as long as it is open.
pub fn lock(file: &File) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => thread::sleep(LOCK_PAUSE),
            result => return result,
        }
    }
}

/// Replaces a file's content: written aside, synced, renamed, and the directory synced.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    let mut file = File::create(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    sync_directory(parent(path))
}

/// Brings a directory's entries onto the disk.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_leaves_nothing_aside() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("f");
        replace(&path, "one").expect("room");
        replace(&path, "two").expect("room");
        assert_eq!(fs::read_to_string(&path).expect("the file"), "two");
        assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 1);
    }
}
