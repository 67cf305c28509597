//! The topology file: TOML, read strictly. Whatever it says that is not understood is an error.
//!
//! ```toml
//! [routing]                          # optional
//! hash = "crc32"                     # crc32(key) % number of replica sets, in the order of this file
//!
//! [auth]                             # optional: for every set that does not say it otherwise
//! username      = "loader"
//! password_env  = "REDIS_PASSWORD"   # or password_file = "path", or password = "..."
//!
//! [[replica_set]]
//! master   = "10.0.0.1:6379"         # or "host", "[::1]:6379", "unix:/path", { host = "..", port = 6379 }
//! replicas = ["10.0.0.2:6379"]       # optional; `slaves` is accepted as well
//!
//! [[replica_set]]
//! aof = "out/shard-1"                # a directory instead of a server
//! ```
//!
//! User name and password are looked for one by one: in the set, in `[auth]`, in the environment
//! (`REDCLUSTER_LOAD_USERNAME`, `REDCLUSTER_LOAD_PASSWORD`). Paths are relative to the current directory.
//!
//! The parsed document is walked by hand instead of derived with serde, because serde's messages
//! repeat values, a password among them, and cannot say which set or line they mean.

mod fields;
mod login;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::fields::{Document, Fields, SET_FORM};
use self::login::Login;
use super::{Credentials, Endpoint, Members, PORT_DEFAULT, ReplicaSet, Target, Topology, not_a_port};
use crate::error::{Error, Kind, Result, shown};

/// The user name of every set for which the file names none.
pub const USERNAME_VARIABLE: &str = "REDCLUSTER_LOAD_USERNAME";
/// The password of every set for which the file names none.
pub const PASSWORD_VARIABLE: &str = "REDCLUSTER_LOAD_PASSWORD";
/// The most shards of one load: each has a thread and a connection or a file of its own.
pub const SHARDS_MAX: usize = 1024;

/// No topology file comes near this; it keeps a wrong path (a dump, a device) from filling the memory.
const FILE_BYTES_MAX: usize = 16 << 20;

const ROOT_FIELDS: &[&str] = &["routing", "auth", "replica_set"];
const ROUTING_FIELDS: &[&str] = &["hash"];
const AUTH_FIELDS: &[&str] = &["username", "password_env", "password_file", "password"];
const ENDPOINT_FIELDS: &[&str] = &["host", "port"];
const SET_FIELDS: &[&str] =
    &["master", "replicas", "slaves", "aof", "username", "password_env", "password_file", "password"];

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Reads and checks the topology file at `path`, and the passwords that it names.
pub fn read(path: &Path, environment: Environment<'_>) -> Result<Topology> {
    let text = read_text(path, FILE_BYTES_MAX).map_err(|error| {
        Error::new(Kind::Usage, "cannot read the topology file")
            .file(path)
            .remedy("check the path that is given with --topology")
            .caused_by(error)
    })?;
    parse(&text, path, environment)
}

/// How to log in to a server that no topology file names: as the environment says.
pub fn credentials(environment: Environment<'_>) -> Result<Option<Credentials>> {
    login::from_environment(environment)
}

/// Checks `text`, the contents of the topology file; `path` is only named in errors.
pub fn parse(text: &str, path: &Path, environment: Environment<'_>) -> Result<Topology> {
    let document = Document { text, path, environment };
    let root = DeTable::parse(text).map_err(|error| {
        // Only the message: the error's own Display shows the line, which may hold a password.
        let message = format!("the topology file is not TOML: {}", error.message());
        let error_at = error.span().unwrap_or_default();
        document
            .locate(Error::new(Kind::Usage, message), error_at)
            .remedy("mend the line; README.md shows a topology file")
    })?;
    let root = document.open("the topology file", ROOT_FIELDS, root.get_ref(), 0..0)?;
    if let Some(routing) = root.table("routing")? {
        check_hash(&document, &document.open("[routing]", ROUTING_FIELDS, routing.0, routing.1)?)?;
    }
    let defaults = match root.table("auth")? {
        Some(auth) => Login::of(&document.open("[auth]", AUTH_FIELDS, auth.0, auth.1)?)?,
        None => Login::default(),
    };
    let mut sets = Vec::new();
    for item in root.array("replica_set")? {
        let DeValue::Table(table) = item.get_ref() else {
            return Err(root.mistyped("replica_set", item, SET_FORM));
        };
        let fields = document.open("[[replica_set]]", SET_FIELDS, table, item.span())?;
        let target = target(&document, &fields, &defaults)?;
        sets.push(ReplicaSet { target, line: document.line_and_column(item.span().start).0 });
    }
    if sets.is_empty() || sets.len() > SHARDS_MAX {
        let message = format!("the topology file names {} replica sets", sets.len());
        return Err(Error::new(Kind::Usage, message)
            .file(path)
            .remedy(format!("write one [[replica_set]] for each shard, 1 to {SHARDS_MAX} of them")));
    }
    check_distinct(&document, &sets)?;
    Ok(Topology { sets })
}

fn check_hash(document: &Document<'_>, routing: &Fields<'_>) -> Result<()> {
    match routing.text("hash")? {
        None | Some(("crc32", _)) => Ok(()),
        Some((other, span)) => {
            let message = format!("unknown hash `{}` in [routing]", shown(other.as_bytes()));
            Err(document
                .locate(Error::new(Kind::Usage, message), span)
                .remedy(r#"the accepted value is "crc32": crc32(key) % number of replica sets"#))
        }
    }
}

fn target(document: &Document<'_>, set: &Fields<'_>, defaults: &Login) -> Result<Target> {
    match (set.get("master"), set.text("aof")?) {
        (None, None) => Err(set.error(
            "a [[replica_set]] has neither `master` nor `aof`",
            set.span.clone(),
            "give the set a `master` address, or an `aof` directory",
        )),
        (Some(_), Some((_, span))) => Err(set.error(
            "a [[replica_set]] has both `master` and `aof`",
            span,
            "a set is either a server or a directory: remove one of the two, or write two sets",
        )),
        (None, Some((directory, _))) => {
            let alien = SET_FIELDS.iter().filter(|field| **field != "aof");
            let alien = alien.filter_map(|field| Some((field, set.get(field)?)));
            match alien.min_by_key(|(_, value)| value.span().start) {
                None => Ok(Target::Aof { directory: PathBuf::from(directory) }),
                Some((field, value)) => Err(set.error(
                    format!("`{field}` stands in a [[replica_set]] with `aof`"),
                    value.span(),
                    format!("a directory has no `{field}`: remove it, or give a `master` instead of `aof`"),
                )),
            }
        }
        (Some(master), None) => {
            let login = Login::of(set)?;
            Ok(Target::Server(Members {
                master: endpoint(document, set, "master", master)?,
                replicas: replicas(document, set)?,
                credentials: login.or(defaults).credentials(set)?,
            }))
        }
    }
}

fn replicas(document: &Document<'_>, set: &Fields<'_>) -> Result<Vec<Endpoint>> {
    let field = match (set.get("replicas"), set.get("slaves")) {
        (Some(_), Some(slaves)) => {
            let message = "a [[replica_set]] has both `replicas` and `slaves`";
            return Err(set.error(message, slaves.span(), "they mean the same: keep `replicas` only"));
        }
        (None, Some(_)) => "slaves",
        _ => "replicas",
    };
    set.array(field)?.into_iter().map(|item| endpoint(document, set, field, item)).collect()
}

fn endpoint(
    document: &Document<'_>,
    set: &Fields<'_>,
    field: &str,
    value: &Spanned<DeValue<'_>>,
) -> Result<Endpoint> {
    match value.get_ref() {
        DeValue::String(text) => text.parse().map_err(|error| document.locate(error, value.span())),
        DeValue::Table(table) => {
            let address = document.open("an address", ENDPOINT_FIELDS, table, value.span())?;
            let Some((host, span)) = address.text("host")? else {
                let message = format!("`{field}` has no `host`");
                return Err(address.error(message, value.span(), "write { host = \"..\", port = 6379 }"));
            };
            Endpoint::tcp(host, port(&address)?).map_err(|error| document.locate(error, span))
        }
        _ => Err(set.mistyped(field, value, r#"an address: "host:port" or { host = "..", port = 6379 }"#)),
    }
}

fn port(address: &Fields<'_>) -> Result<u16> {
    let Some(value) = address.get("port") else { return Ok(PORT_DEFAULT) };
    let DeValue::Integer(number) = value.get_ref() else {
        return Err(address.mistyped("port", value, "a number without quotes"));
    };
    match u16::from_str_radix(number.as_str(), number.radix()) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(address.document.locate(not_a_port(&number.to_string()), value.span())),
    }
}

fn read_text(path: &Path, bytes_max: usize) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte more than allowed, to tell a file that fits from one that was cut short here.
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_string(&mut text)?;
    if text.len() > bytes_max {
        return Err(std::io::Error::other(format!("it is larger than {bytes_max} bytes")));
    }
    Ok(text)
}

/// No server and no directory may be named twice: two shards would be written to one place.
fn check_distinct(document: &Document<'_>, sets: &[ReplicaSet]) -> Result<()> {
    let mut seen: HashMap<String, (&str, usize)> = HashMap::new();
    for set in sets {
        let mut places = Vec::new();
        match &set.target {
            Target::Server(Members { master, replicas, .. }) => {
                places.push((master.to_string(), "master"));
                places.extend(replicas.iter().map(|replica| (replica.to_string(), "replica")));
            }
            Target::Aof { directory } => {
                // Two spellings of one directory; if it is not there yet, only `.` and `//` are seen through.
                let place = std::fs::canonicalize(directory).or_else(|_| std::path::absolute(directory));
                let place = place.unwrap_or_else(|_| directory.clone());
                places.push((place.components().collect::<PathBuf>().display().to_string(), "AOF directory"));
            }
        }
        for (place, role) in places {
            let Some((earlier, line)) = seen.insert(place.clone(), (role, set.line)) else { continue };
            let roles = if earlier == role { String::new() } else { format!(", as {earlier} and as {role}") };
            let lines = match set.line == line {
                true => format!("the replica set of line {line}"),
                false => format!("the replica sets of lines {line} and {}", set.line),
            };
            let message = format!("{place} is named twice{roles}, in {lines}");
            return Err(Error::new(Kind::Usage, message)
                .file(document.path)
                .place("line", set.line.to_string())
                .remedy("give every replica set servers or a directory of its own"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
