//! Which `redis-server` the tests run, and what it understands.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A redis-server (or valkey-server) executable and its version.
#[derive(Clone, Debug)]
pub struct Binary {
    path: PathBuf,
    version: (u32, u32),
}

impl Binary {
    /// The server named by `REDIS_SERVER`, else `redis-server` on the PATH.
    pub fn from_env() -> Self {
        Self::at(std::env::var_os("REDIS_SERVER").map_or_else(|| "redis-server".into(), PathBuf::from))
    }

    /// The server at `path`, for tests between versions. Panics when it cannot be run.
    pub fn at(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_path_buf();
        let shown = path.display();
        let output = Command::new(&path).arg("--version").output().unwrap_or_else(|error| {
            panic!("these tests need a redis-server and {shown} cannot be run ({error}); install one or set REDIS_SERVER")
        });
        let text = String::from_utf8_lossy(&output.stdout);
        let version = parse_version(&text)
            .unwrap_or_else(|| panic!("{shown} --version does not look like a redis-server: {text:?}"));
        Self { path, version }
    }

    /// The executable.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Major and minor version; Valkey counts on from Redis 7.2, so the two can be compared.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }
}

/// Reads `7.0` out of "Redis server v=7.0.15 sha=..." or "Valkey server v=8.1.1 sha=...".
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let number = text.split_once("v=")?.1;
    let mut parts = number.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
