//! The reference: what does one redis-server reach when it loads an AOF itself?
//!
//! While a server loads it expires nothing, neither lazily nor actively, so a key past its deadline still takes part
//! in later commands. Active expiry is switched off once it has loaded; what is past its deadline then, counts as
//! absent wherever it is compared.

use super::binary::Binary;
use super::server::{Server, temp_dir};
use std::fs;
use std::path::Path;

const DEFAULT_NAME: &str = "appendonly.aof";

impl Server {
    /// Loads a private copy of `path`: an AOF file, a directory that holds `appendonlydir/` or `appendonly.aof`, or an
    /// append-only directory itself (with its manifest). Err: the end of the log, when the server refuses the source.
    pub fn loading(path: impl AsRef<Path>) -> Result<Self, String> {
        Self::loading_binary(&Binary::from_env(), path, &[])
    }

    /// The same with a given executable and further options.
    pub fn loading_binary(
        binary: &Binary,
        path: impl AsRef<Path>,
        options: &[(&str, &str)],
    ) -> Result<Self, String> {
        let dir = temp_dir();
        // A copy, because servers move a single file into a directory and cut torn tails in place.
        let name = copy_source(path.as_ref(), dir.path());
        let mut all: Vec<(&str, &str)> = vec![
            ("appendonly", "yes"),
            ("appendfilename", &name),
            ("appendfsync", "no"),
            ("aof-load-truncated", "yes"),
            ("auto-aof-rewrite-percentage", "0"),
            ("proto-max-bulk-len", "1gb"),
        ];
        all.extend_from_slice(options);
        let server = Self::launch(binary, &all, dir)?;
        server.cmd(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).expect("DEBUG is enabled");
        Ok(server)
    }
}

/// Copies the source to where a server in `to` looks for it, and returns its `appendfilename`.
fn copy_source(from: &Path, to: &Path) -> String {
    if !from.is_dir() {
        copy_file(from, &to.join(DEFAULT_NAME));
        return DEFAULT_NAME.to_owned();
    }
    if let Some(name) = manifest_name(from) {
        copy_dir(from, &to.join("appendonlydir"));
        return name;
    }
    let inner = from.join("appendonlydir");
    if inner.is_dir() {
        copy_dir(&inner, &to.join("appendonlydir"));
        return manifest_name(&inner).unwrap_or_else(|| DEFAULT_NAME.to_owned());
    }
    copy_file(&from.join(DEFAULT_NAME), &to.join(DEFAULT_NAME));
    DEFAULT_NAME.to_owned()
}

/// The `appendfilename` that a directory's manifest is named after.
fn manifest_name(dir: &Path) -> Option<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("cannot list {}: {error}", dir.display()));
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find_map(|name| name.strip_suffix(".manifest").map(str::to_owned))
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("cannot make {}: {error}", to.display()));
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("cannot list {}: {error}", from.display()))
    {
        let path = entry.expect("a directory can be listed").path();
        if path.is_file() {
            copy_file(&path, &to.join(path.file_name().expect("a listed file has a name")));
        }
    }
}

fn copy_file(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("cannot copy {}: {error}", from.display()));
}
