//! Finds a program to run a private server with.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::rdb::{Product, Version};
use crate::sink::inspect::{rdb_version, version_numbers};

/// The oldest version that starts from a multi-part append-only file.
const VERSION_MIN: (u32, u32) = (7, 0);

/// What is looked for on the PATH, in this order.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// A server's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// How it calls itself, with its version.
    name: String,
    is_valkey: bool,
    version: (u32, u32),
}

impl Program {
    /// The first that is fit, of the given one or those on the PATH; else why there is none, in words.
    pub fn find(given: Option<&Path>, path: Option<&OsStr>) -> Result<Program, String> {
        let on_path = || {
            let directories: Vec<PathBuf> =
                path.map_or_else(Vec::new, |path| std::env::split_paths(path).collect());
            let files = NAMES.iter().flat_map(|name| directories.iter().map(move |dir| dir.join(name)));
            files.filter(|file| is_executable(file)).collect::<Vec<_>>()
        };
        let candidates = given.map_or_else(on_path, |given| vec![given.to_owned()]);
        let mut unfit = Vec::new();
        for file in candidates {
            match Program::at(&file) {
                Ok(program) if program.version >= VERSION_MIN => return Ok(program),
                Ok(program) => unfit.push(format!("{program} is older than version 7.0")),
                Err(why) => unfit.push(format!("{}: {why}", file.display())),
            }
        }
        if unfit.is_empty() {
            return Err(format!("there is no {} on the PATH", NAMES.join(" or ")));
        }
        Err(unfit.join("; "))
    }

    fn at(file: &Path) -> Result<Program, String> {
        let told = Command::new(file).arg("--version").stdin(Stdio::null()).output();
        let told = told.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&told.stdout);
        let unknown = || "does not say its version".to_owned();
        let (product, version, numbers) = parse(&text).ok_or_else(unknown)?;
        // It is run in another directory.
        let path = std::path::absolute(file).map_err(|error| error.to_string())?;
        let name = format!("{product} {version}");
        Ok(Program { path, name, is_valkey: product == "valkey-server", version: numbers })
    }

    /// Whether it is Valkey's.
    pub fn is_valkey(&self) -> bool {
        self.is_valkey
    }

    /// Whether it reads an RDB part of this version.
    pub fn reads(&self, part: Version) -> bool {
        let (product, latest) = rdb_version(self.is_valkey, self.version);
        let shared = u32::from(rdb_version(true, VERSION_MIN).1);
        part.number <= u32::from(latest)
            && (part.product == product || (part.product == Product::Redis && part.number <= shared))
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.path.display())
    }
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// `Redis server v=7.0.15 sha=…`, or with `Valkey` in front.
fn parse(text: &str) -> Option<(&'static str, &str, (u32, u32))> {
    let product = match text.split(' ').next()? {
        "Redis" => "redis-server",
        "Valkey" | "Server" => "valkey-server",
        _ => return None,
    };
    let version = text.split(' ').find_map(|word| word.strip_prefix("v="))?.trim();
    Some((product, version, version_numbers(version)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_of_themselves_is_understood() {
        let redis =
            "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0";
        assert_eq!(parse(redis), Some(("redis-server", "7.0.15", (7, 0))));
        let valkey = "Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1\n";
        assert_eq!(parse(valkey), Some(("valkey-server", "8.1.1", (8, 1))));
        for other in ["", "GNU bash, version 5.2", "Redis server"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn each_version_reads_its_own_format_and_older_ones() {
        let program =
            |is_valkey, version| Program { path: PathBuf::new(), name: String::new(), is_valkey, version };
        let redis = |number| Version { product: Product::Redis, number };
        let valkey = Version { product: Product::Valkey, number: 80 };
        assert!(program(false, (7, 0)).reads(redis(10)) && !program(false, (7, 0)).reads(redis(11)));
        assert!(program(false, (8, 0)).reads(redis(12)) && !program(false, (8, 0)).reads(valkey));
        assert!(program(true, (8, 1)).reads(redis(11)) && !program(true, (8, 1)).reads(redis(12)));
        assert!(program(true, (9, 0)).reads(valkey) && program(true, (9, 0)).reads(redis(11)));
        assert!(!program(true, (9, 0)).reads(redis(12)));
    }

    #[test]
    fn what_is_missing_or_unfit_is_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().as_os_str();
        assert!(Program::find(None, None).is_err_and(|why| why.contains("no redis-server or valkey-server")));
        assert!(Program::find(None, Some(path)).is_err_and(|why| why.contains("on the PATH")));
        let no_server = Program::find(Some(Path::new("/bin/true")), None);
        assert!(no_server.is_err_and(|why| why.contains("does not say its version")));
    }
}
