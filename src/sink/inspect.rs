//! Looks at a live master before anything is written: is it fit to be a target, and what does it hold?

use redis::{Connection, RedisError, Value};

use super::control::{self, info_field, keys_in};
use super::{Fault, exchange};
use crate::command::since::Release;
use crate::command::{Class, lookup};
use crate::error::{Error, Kind, Result};
use crate::marker::Marker;
use crate::rdb::Product;
use crate::route::Takes;

/// A server that is restarted goes by its configuration file, and a replica that is promoted by its own settings.
const NO_EVICTION: &str = "CONFIG SET maxmemory-policy noeviction (or maxmemory 0) for the time of the load, and the same in \
                           its configuration file and on its replicas";

/// The oldest version that has all that the loader needs (PXAT of SET, COPY).
const VERSION_MIN: Release = (6, 2);

/// A target as it was found.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Names the server's life.
    pub run_id: String,
    /// The marker, if it holds one.
    pub marker: Option<Marker>,
    /// Keys in all databases but the marker.
    pub keys: u64,
    /// Function libraries.
    pub functions: u64,
    /// Number of databases, if the server tells.
    pub databases: Option<u32>,
    /// What it can be given.
    pub takes: Takes,
}

impl Inspection {
    /// See [`crate::sink::Attached::server`].
    pub fn life(&self) -> u64 {
        life_of(&self.run_id)
    }
}

/// The first half of a run id, as a number.
pub fn life_of(run_id: &str) -> u64 {
    u64::from_str_radix(run_id.get(..16).unwrap_or_default(), 16).unwrap_or(0)
}

/// Inspects the master behind `connection`.
pub fn inspect(connection: &mut Connection, marker_key: &[u8], name: &str) -> Result<Inspection> {
    let failed = |error: RedisError| refused(name, &error);
    let info: String = redis::cmd("INFO").arg("all").query(connection).map_err(failed)?;
    fit(&info, name)?;
    let marker = exchange::read(connection, marker_key, name).map_err(|fault| fatal(name, fault))?;
    exchange::require_transactions(connection, marker_key).map_err(failed)?;
    let takes = takes(connection, &info);
    let functions = match redis::cmd("FUNCTION").arg("LIST").query::<Vec<Value>>(connection) {
        _ if !takes.functions() => Vec::new(),
        // A user who may not see them cannot load any either.
        Err(error) if error.code() == Some("NOPERM") => Vec::new(),
        other => other.map_err(failed)?,
    };
    let databases = databases(connection);
    Ok(Inspection {
        run_id: info_field(&info, "run_id").unwrap_or_default().to_owned(),
        keys: keys_in(&info).saturating_sub(u64::from(marker.is_some())),
        marker,
        functions: functions.len() as u64,
        databases,
        takes,
    })
}

/// By the version, since no server tells which kinds of value it knows (RDB_VERSION, rdb.h).
fn takes(connection: &mut Connection, info: &str) -> Takes {
    let longest =
        redis::cmd("CONFIG").arg("GET").arg("proto-max-bulk-len").query::<(String, u64)>(connection);
    let argument_bytes_max =
        longest.map_or(Takes::anything(Product::Redis).argument_bytes_max, |(_, bytes)| bytes);
    let redis = version(info, "redis_version").unwrap_or_default();
    let valkey = version(info, "valkey_version");
    let (product, rdb_version) = match valkey {
        Some(version) => rdb_version(true, version),
        None => rdb_version(false, redis),
    };
    Takes { rdb_version, product, redis, valkey: valkey.unwrap_or_default(), argument_bytes_max }
}

/// The format that a server of this version writes, Valkey's or not; the latest that this program reads, if it is later.
pub fn rdb_version(is_valkey: bool, version: (u32, u32)) -> (Product, u16) {
    match (is_valkey, version) {
        (true, (9.., _)) => (Product::Valkey, 80),
        (true, _) => (Product::Redis, 11),
        (false, (0..=6, _)) => (Product::Redis, 9),
        (false, (7, 0 | 1)) => (Product::Redis, 10),
        (false, (7, 2 | 3)) => (Product::Redis, 11),
        (false, _) => (Product::Redis, 12),
    }
}

/// Major and minor number.
fn version(info: &str, field: &str) -> Option<Release> {
    info_field(info, field).and_then(version_numbers)
}

/// The same of a version as servers write it.
pub fn version_numbers(text: &str) -> Option<Release> {
    let mut numbers = text.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    Some((numbers.next()?, numbers.next().unwrap_or(0)))
}

/// Looks at a server that was not looked at before, in the middle of a load: one that was restarted, or has taken the place
/// of another. `takes` is what it is taken to take, `has_some` whether it holds some of the load.
pub fn fit_to_go_on(
    connection: &mut Connection,
    info: &str,
    (takes, db_max): (Option<Takes>, u32),
    has_some: bool,
    name: &str,
) -> Result<(), Fault> {
    let unfit = |what: &str, remedy: &str| {
        Error::new(Kind::Stopped, format!("a target was restarted or replaced, and {what}"))
            .place("target", name)
            .remedy(format!("{remedy}; then run the same command again, it resumes"))
    };
    if let Some((what, remedy)) = fault_in(info) {
        return Err(Fault::Fatal(unfit(what, remedy)));
    }
    if has_some && info_field(info, "evicted_keys").is_some_and(|count| count != "0") {
        return Err(Fault::Fatal(
            Error::new(
                Kind::Diverged,
                "a target that was restarted or replaced has evicted keys since it was started",
            )
            .place("target", name)
            .remedy(format!("{NO_EVICTION}; then start over with --restart --flush-targets")),
        ));
    }
    let now = self::takes(connection, info);
    if takes.is_some_and(|takes| now.product != takes.product || now.rdb_version < takes.rdb_version) {
        return Err(Fault::Fatal(unfit(
            "is of another product, or an older version, than before",
            "use servers of one version",
        )));
    }
    let told = databases(connection);
    if !has_databases(connection, told, db_max) {
        return Err(Fault::Fatal(unfit(
            "has too few databases now",
            "set `databases` in its configuration as before",
        )));
    }
    Ok(())
}

fn fit(info: &str, name: &str) -> Result<()> {
    let Some((what, remedy)) = fault_in(info) else { return Ok(()) };
    Err(Error::new(Kind::Target, format!("a target {what}")).unwritten().place("target", name).remedy(remedy))
}

/// Why a server with this INFO cannot be loaded into, and what helps.
fn fault_in(info: &str) -> Option<(&'static str, &'static str)> {
    let field = |field: &str| info_field(info, field).unwrap_or_default();
    if version(info, "redis_version").unwrap_or_default() < VERSION_MIN {
        return Some((
            "is older than version 6.2, which is not supported",
            "use a server of version 6.2 or later",
        ));
    }
    if field("loading") == "1" || field("async_loading") == "1" {
        return Some(("is still loading its own data", "wait until it has loaded"));
    }
    if field("cluster_enabled") == "1" {
        return Some((
            "is a Redis Cluster node, which is not supported yet",
            "use servers that are not in cluster mode",
        ));
    }
    if field("maxmemory") != "0" && field("maxmemory_policy") != "noeviction" {
        return Some(("would evict keys when its memory is full", NO_EVICTION));
    }
    None
}

/// Refuses a target that lacks databases or commands which the source needs.
pub fn require<'n>(
    connection: &mut Connection,
    inspection: &Inspection,
    db_max: u32,
    commands: impl Iterator<Item = &'n str>,
    name: &str,
) -> Result<()> {
    if !has_databases(connection, inspection.databases, db_max) {
        let has = inspection.databases.map_or_else(|| "fewer".to_owned(), |count| count.to_string());
        return Err(Error::new(Kind::Target, "a target has too few databases")
            .unwritten()
            .place("target", name)
            .place("needed", format!("{}", u64::from(db_max) + 1))
            .place("found", has)
            .remedy("set `databases` in the target's configuration and restart it"));
    }
    // Functions are refused for such a target where they stand.
    let commands = commands.filter(|name| !name.starts_with("FUNCTION") || inspection.takes.functions());
    let missing = unknown(connection, commands, name)?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Target, "a target does not know commands of the source")
        .unwritten()
        .place("target", name)
        .place("commands", missing.join(", "))
        .remedy("use a target of the version that wrote the source, with the same modules"))
}

/// How many there are, if the server tells.
fn databases(connection: &mut Connection) -> Option<u32> {
    let told = redis::cmd("CONFIG").arg("GET").arg("databases").query::<(String, u32)>(connection);
    told.ok().map(|(_, count)| count)
}

fn has_databases(connection: &mut Connection, told: Option<u32>, db_max: u32) -> bool {
    told.map_or_else(
        || {
            let selected = redis::cmd("SELECT").arg(db_max).query::<()>(connection).is_ok();
            let back = redis::cmd("SELECT").arg(0).query::<()>(connection).is_ok();
            selected && back
        },
        |databases| db_max < databases,
    )
}

/// Those of the source's commands that a server does not know, reads left out.
pub fn unknown<'n>(
    connection: &mut Connection,
    commands: impl Iterator<Item = &'n str>,
    name: &str,
) -> Result<Vec<&'n str>> {
    let sent = |command: &&str| {
        lookup(command.as_bytes())
            .is_some_and(|spec| !matches!(spec.class, Class::Read | Class::Exec | Class::Discard))
    };
    let names: Vec<&str> = commands.map(|name| name.split(' ').next().unwrap_or(name)).filter(sent).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let known: Vec<Value> = redis::cmd("COMMAND")
        .arg("INFO")
        .arg(&names)
        .query(connection)
        .map_err(|error| refused(name, &error))?;
    Ok(names.iter().zip(&known).filter(|(_, info)| is_nil(info)).map(|(name, _)| *name).collect())
}

fn is_nil(value: &Value) -> bool {
    match value {
        Value::Nil => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// A fault before anything is written is a refusal, whatever it would be later.
pub fn fatal(name: &str, fault: Fault) -> Error {
    match fault {
        Fault::Fatal(error) if matches!(error.kind(), Kind::Conflict | Kind::Local) => error,
        Fault::Fatal(error) => {
            Error::new(Kind::Target, "a target cannot be used").unwritten().caused_by(error)
        }
        Fault::Marker(text) => Error::new(Kind::Conflict, "another loader is at work on a target")
            .unwritten()
            .place("target", name)
            .place("answer", text)
            .remedy("let it finish, or stop it; then run the same command again"),
        Fault::Wait(text) => Error::new(Kind::Target, "a target does not take writes at present")
            .unwritten()
            .place("target", name)
            .place("answer", text)
            .remedy("wait until it does, or put right what its answer tells; then run the same command again"),
        Fault::Lost(text) => Error::new(Kind::Target, "a target cannot be used")
            .unwritten()
            .place("target", name)
            .place("answer", text)
            .remedy(
                "make the target reachable, as a master that takes writes, and check its address and password",
            ),
        Fault::Diverged(divergence) => Error::new(Kind::Target, "a target cannot be used")
            .place("answer", divergence.answered.text.clone()),
    }
}

fn refused(name: &str, error: &RedisError) -> Error {
    fatal(name, control::fault(name, error))
}
