//! Reads the manifest of a multi-part append-only file: one line a file, `file NAME seq N type b|i|h`.
//!
//! The rules are those of `aofLoadManifestFromFile` in Redis 7.0's aof.c.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::resp::frame;
use crate::words::words;

/// `MANIFEST_MAX_LINE` of aof.c. A longer line is read in pieces, each taken for a line of its own.
const LINE_BYTES_MAX: usize = 1024;

/// The names of the files to load, in order: the base first, wherever it is listed, then the increments. None if all there
/// is are comments.
pub fn parse(path: &Path, text: &[u8]) -> Result<Vec<OsString>> {
    if text.is_empty() {
        return Err(Error::new(Kind::Source, "the manifest is empty")
            .file(path)
            .remedy("repair the manifest; redis-server refuses it too"));
    }
    let mut base: Option<OsString> = None;
    let mut increments: Vec<OsString> = Vec::new();
    let mut last_sequence = 0;
    let lines = text.split_inclusive(|byte| *byte == b'\n').flat_map(|line| line.chunks(LINE_BYTES_MAX));
    for (number, line) in lines.enumerate() {
        let refuse = |what: &str| {
            Error::new(Kind::Source, format!("the manifest is not valid: {what}"))
                .file(path)
                .place("line", (number + 1).to_string())
                .remedy("repair the manifest; redis-server refuses it too")
        };
        if line.first() == Some(&b'#') {
            continue;
        }
        let entry = entry(line).map_err(refuse)?;
        match entry.kind {
            b'b' if base.is_some() => return Err(refuse("it names two base files")),
            b'b' => base = Some(entry.file),
            b'i' if entry.sequence <= last_sequence => {
                return Err(refuse("the sequence of its incremental files does not increase"));
            }
            b'i' => {
                last_sequence = entry.sequence;
                increments.push(entry.file);
            }
            // History files are only waiting to be deleted.
            _ => {}
        }
    }
    Ok(base.into_iter().chain(increments).collect())
}

struct Entry {
    file: OsString,
    sequence: i64,
    kind: u8,
}

fn entry(line: &[u8]) -> Result<Entry, &'static str> {
    if line.last() != Some(&b'\n') {
        return Err("a line is too long or does not end in a line feed");
    }
    let words = words(line.trim_ascii()).ok_or("its quotes are unbalanced")?;
    if words.len() < 6 || words.len() % 2 != 0 {
        return Err("a line is not made of pairs of a key and a value, with file, seq and type among them");
    }
    let (mut file, mut sequence, mut kind) = (None, None, None);
    for pair in words.chunks_exact(2) {
        let [key, value] = pair else { continue };
        if key.eq_ignore_ascii_case(b"file") {
            if value.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
                return Err("a file name is a path");
            }
            file = Some(OsString::from_vec(value.clone()));
        } else if key.eq_ignore_ascii_case(b"seq") {
            sequence = Some(frame::strtol(value));
        } else if key.eq_ignore_ascii_case(b"type") {
            kind = value.first().copied();
        }
    }
    match (file, sequence, kind) {
        (Some(file), Some(sequence), Some(kind @ (b'b' | b'i' | b'h')))
            if sequence != 0 && !file.is_empty() =>
        {
            Ok(Entry { file, sequence, kind })
        }
        (_, _, Some(kind)) if !matches!(kind, b'b' | b'i' | b'h') => Err("a type is none of b, i and h"),
        _ => Err("a line lacks file, seq (other than 0) or type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let names = parse(Path::new("m"), text.as_bytes()).map_err(|error| error.message().to_owned())?;
        Ok(names.iter().map(|name| name.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn base_comes_first_history_not_at_all() {
        let text = "file a.3.incr.aof seq 3 type i\n# note\nfile \"b \\x41.rdb\" seq 1 TYPE base\r\n\
                    file 'c' type history seq 2\nfile a.5.incr.aof seq 5 type incr startoffset 7\n";
        assert_eq!(names(text), Ok(vec!["b A.rdb".into(), "a.3.incr.aof".into(), "a.5.incr.aof".into()]));
    }

    #[test]
    fn what_a_server_takes_is_taken() {
        let long = format!("#{}file a seq 1 type i\n", "x".repeat(LINE_BYTES_MAX - 1));
        for (text, files) in [
            ("# only\n", vec![]),
            ("file b seq -1 type b\nfile a seq 1abc type i\n", vec!["b", "a"]),
            ("file a seq 99999999999999999999999 type i\n", vec!["a"]),
            ("file \"\\xff\" seq 1 type i\n", vec!["\u{fffd}"]),
            // What stands behind the first 1,024 bytes of a comment is a line of its own.
            (&long, vec!["a"]),
        ] {
            assert_eq!(names(text), Ok(files.into_iter().map(str::to_owned).collect()), "{text:?}");
        }
    }

    #[test]
    fn what_a_server_refuses_is_refused() {
        let long = format!("#{}\nfile a seq 1 type i\n", "x".repeat(LINE_BYTES_MAX));
        for text in [
            &long,
            "",
            "\n",
            "file a seq -1 type i\n",
            "file a seq x type i\n",
            "file a seq 1 type i",
            "file a seq 1\n",
            "file a/b seq 1 type i\n",
            "file a seq 0 type i\n",
            "file a seq 1 type x\n",
            "file a seq 2 type i\nfile b seq 2 type i\n",
            "file a seq 1 type b\nfile b seq 2 type b\n",
            "file \"a seq 1 type i\n",
        ] {
            assert!(names(text).is_err(), "{text:?}");
        }
    }
}
