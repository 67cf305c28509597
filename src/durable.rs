//! Files that are either the old or the new, whatever happens in between; and locks on files.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long a lock is tried for. Who held it may just have been killed, and a program that it was about to start has
/// its files until it has begun to run.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// The pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

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
