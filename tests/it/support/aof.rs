//! Writing append-only files, single and multi-part, byte by byte as a server would.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Appends one command as a RESP array of bulk strings.
pub fn push(out: &mut Vec<u8>, args: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends one command whose arguments hold no blanks, written as one would in redis-cli.
pub fn push_words(out: &mut Vec<u8>, line: &str) {
    let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
    push(out, &words);
}

/// A whole AOF, one command per line of `lines`; blank lines are left out.
pub fn of_lines(lines: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        push_words(&mut out, line);
    }
    out
}

/// Writes `bytes` as `<dir>/<name>` and returns its path.
pub fn write_file(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    path
}

/// The parts of a Redis 7 append-only directory.
#[derive(Clone, Debug)]
pub struct MultiPart<'a> {
    /// `appendfilename`: what every file's name begins with.
    pub name: &'a str,
    /// The base file, and whether it is an RDB (else it holds commands).
    pub base: Option<(&'a [u8], bool)>,
    /// The incremental files, oldest first; the first has sequence number 1.
    pub incrs: &'a [&'a [u8]],
}

impl<'a> MultiPart<'a> {
    /// Incremental files only, under the default name.
    pub fn of(incrs: &'a [&'a [u8]]) -> Self {
        Self { name: "appendonly.aof", base: None, incrs }
    }

    /// Writes `<parent>/appendonlydir/` with files and manifest and returns that directory.
    pub fn write(&self, parent: &Path) -> PathBuf {
        let dir = parent.join("appendonlydir");
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("cannot make {}: {error}", dir.display()));
        let mut manifest = String::new();
        if let Some((bytes, is_rdb)) = self.base {
            let file = format!("{}.1.base.{}", self.name, if is_rdb { "rdb" } else { "aof" });
            write_file(&dir, &file, bytes);
            let _ = writeln!(manifest, "file {file} seq 1 type b");
        }
        for (at, bytes) in self.incrs.iter().enumerate() {
            let file = format!("{}.{}.incr.aof", self.name, at + 1);
            write_file(&dir, &file, bytes);
            let _ = writeln!(manifest, "file {file} seq {} type i", at + 1);
        }
        // Last, as servers do: a directory without its manifest counts as empty.
        write_file(&dir, &format!("{}.manifest", self.name), manifest.as_bytes());
        dir
    }
}
