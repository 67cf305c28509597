//! Reads the manifest of a multi-part append-only file: one line a file, `file NAME seq N type b|i|h`.
//!
//! The rules are those of `aofLoadManifestFromFile` in Redis 7.0's aof.c.

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::resp::words::words;

/// `MANIFEST_MAX_LINE` of aof.c.
const LINE_BYTES_MAX: usize = 1024;

/// The names of the files to load, in order: the base first, wherever it is listed, then the increments.
pub fn parse(path: &Path, text: &[u8]) -> Result<Vec<String>> {
    let mut base: Option<String> = None;
    let mut increments: Vec<String> = Vec::new();
    let mut last_sequence = 0;
    let mut entries = 0;
    for (number, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
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
        entries += 1;
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
    if entries == 0 {
        return Err(Error::new(Kind::Source, "the manifest names no files")
            .file(path)
            .remedy("repair the manifest; redis-server refuses it too"));
    }
    Ok(base.into_iter().chain(increments).collect())
}

struct Entry {
    file: String,
    sequence: i64,
    kind: u8,
}

fn entry(line: &[u8]) -> Result<Entry, &'static str> {
    if line.len() > LINE_BYTES_MAX || line.last() != Some(&b'\n') {
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
            let name = String::from_utf8(value.clone()).map_err(|_| "a file name is not UTF-8")?;
            if name.contains(['/', '\\']) {
                return Err("a file name is a path");
            }
            file = Some(name);
        } else if key.eq_ignore_ascii_case(b"seq") {
            sequence = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
        } else if key.eq_ignore_ascii_case(b"type") {
            kind = value.first().copied();
        }
    }
    match (file, sequence, kind) {
        (Some(file), Some(sequence), Some(kind @ (b'b' | b'i' | b'h')))
            if sequence > 0 && !file.is_empty() =>
        {
            Ok(Entry { file, sequence, kind })
        }
        (_, _, Some(kind)) if !matches!(kind, b'b' | b'i' | b'h') => Err("a type is none of b, i and h"),
        _ => Err("a line lacks file, seq (1 or more) or type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        parse(Path::new("m"), text.as_bytes()).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn base_comes_first_history_not_at_all() {
        let text = "file a.3.incr.aof seq 3 type i\n# note\nfile \"b \\x41.rdb\" seq 1 TYPE base\r\n\
                    file 'c' type history seq 2\nfile a.5.incr.aof seq 5 type incr startoffset 7\n";
        assert_eq!(names(text), Ok(vec!["b A.rdb".into(), "a.3.incr.aof".into(), "a.5.incr.aof".into()]));
    }

    #[test]
    fn what_a_server_refuses_is_refused() {
        for text in [
            "",
            "\n",
            "# only\n",
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
