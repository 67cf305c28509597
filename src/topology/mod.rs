//! The shards of a load: which replica sets or directories there are, in the order that the routing
//! counts them.

pub mod file;
pub mod master;

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Kind, Result, shown};

/// The port of an address that names none.
pub const PORT_DEFAULT: u16 = 6379;

/// What every error about an address tells the user to write.
const ADDRESS_FORMS: &str = r#"write "host:port", "host", "[IPv6 address]:port" or "unix:/path/to.sock""#;

/// All shards, in the order of the file, which is the order that `crc32(key) % n` counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// One or more sets; a set's place in this list is its shard's number.
    pub sets: Vec<ReplicaSet>,
}

impl Topology {
    /// Which sets are directories, in one number: the crc32 of a byte for each set, `d` for a directory and `s` for servers.
    pub fn kinds(&self) -> u32 {
        let kinds = self.sets.iter().map(|set| match set.target {
            Target::Server(_) => b's',
            Target::Aof { .. } => b'd',
        });
        crc32fast::hash(&kinds.collect::<Vec<u8>>())
    }
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Where its commands go.
    pub target: Target,
    /// The line of the topology file at which it starts; 0 if it does not come from a file.
    pub line: usize,
}

/// Where a shard's commands go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A master and its replicas.
    Server(Members),
    /// A directory that becomes a multi-part AOF.
    Aof {
        /// The directory; relative to the current directory.
        directory: PathBuf,
    },
}

/// The members of a set of servers and how to log in to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// The master as the topology names it.
    pub master: Endpoint,
    /// Its replicas: waited for while settling, and asked when the master is away.
    pub replicas: Vec<Endpoint>,
    /// How to log in, to master and replicas alike.
    pub credentials: Option<Credentials>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Server(members) => members.master.fmt(f),
            Target::Aof { directory } => directory.display().fmt(f),
        }
    }
}

/// The address of a server. Made by [`Endpoint::tcp`] or by parsing, two spellings of one address
/// are equal: host names are in lower case and IPv6 addresses in their shortest form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// A host and a port.
    Tcp {
        /// A host name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// The port, never 0.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// The endpoint of `host` (an IPv6 address with or without brackets) and `port`.
    pub fn tcp(host: &str, port: u16) -> Result<Endpoint> {
        if port == 0 {
            return Err(not_a_port("0"));
        }
        if host.is_empty() {
            return Err(refused("the host of an address is empty"));
        }
        refuse_url(host)?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Some(address) = ipv6(bare) {
            return Ok(Endpoint::Tcp { host: address, port });
        }
        let fits = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if !host.chars().all(fits) {
            return Err(refused(format!("`{}` is not a host name", shown(host.as_bytes()))));
        }
        Ok(Endpoint::Tcp { host: host.to_ascii_lowercase(), port })
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Endpoint> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(refused("the path of a unix socket is empty"));
            }
            return Ok(Endpoint::Unix(PathBuf::from(path)));
        }
        refuse_url(text)?;
        let (host, port) = split_port(text)?;
        match port {
            Some(port) => Endpoint::tcp(host, port_number(port)?),
            None => Endpoint::tcp(host, PORT_DEFAULT),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Tcp { host, port } => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How to log in to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The ACL user; none means the server's default user.
    pub username: Option<String>,
    /// Its password.
    pub password: Secret,
}

/// A text that must not be seen: it is shown as `***` and cannot be serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one place that sends it to the server.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message).remedy(ADDRESS_FORMS)
}

fn not_a_port(text: &str) -> Error {
    Error::new(Kind::Usage, format!("`{}` is not a port number", shown(text.as_bytes())))
        .remedy("a port is a number from 1 to 65535")
}

fn tls_refused() -> Error {
    Error::new(Kind::Usage, "TLS is not supported yet").remedy(
        "leave TLS out, and reach the server over a network you trust or through a tunnel such as stunnel",
    )
}

/// Refuses `scheme://` and `user@`. They may carry a password, so their text is never repeated.
fn refuse_url(text: &str) -> Result<()> {
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(match scheme {
            "rediss" | "valkeys" => tls_refused(),
            _ => refused("a URL is not accepted as an address"),
        });
    }
    if text.contains('@') {
        return Err(Error::new(Kind::Usage, "an address cannot hold a user name or a password")
            .remedy("give them as `username` and `password_env` or `password_file`"));
    }
    Ok(())
}

/// Splits `text` into host and port; the port is absent only if no colon announces it.
fn split_port(text: &str) -> Result<(&str, Option<&str>)> {
    if text.starts_with('[') {
        let Some((address, rest)) = text.split_once(']') else {
            return Err(refused(format!("`{}` lacks the closing bracket", shown(text.as_bytes()))));
        };
        let address = address.trim_start_matches('[');
        if ipv6(address).is_none() {
            return Err(refused(format!("`{}` is not an IPv6 address", shown(address.as_bytes()))));
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, Some(port))),
            None if rest.is_empty() => Ok((address, None)),
            None => Err(refused(format!("`{}` is not an address", shown(text.as_bytes())))),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        // `::1` and `2001:db8::1:6379` can be read in two ways, so they are not guessed at.
        Some((_, rest)) if rest.contains(':') => Err(Error::new(
            Kind::Usage,
            format!("`{}` is not an address: an IPv6 address stands in brackets", shown(text.as_bytes())),
        )
        .remedy(r#"write "[::1]:6379", for example"#)),
        Some((host, port)) => Ok((host, Some(port))),
    }
}

/// Digits only: `u16::from_str` alone would take `+1` as well.
fn port_number(text: &str) -> Result<u16> {
    if text.is_empty() {
        return Err(refused("an address ends in a colon without a port"));
    }
    match text.parse::<u16>() {
        Ok(port) if port != 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(not_a_port(text)),
    }
}

/// The shortest form of an IPv6 address, its zone (`fe80::1%eth0`) kept.
fn ipv6(text: &str) -> Option<String> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let address: Ipv6Addr = address.parse().ok()?;
    match zone {
        None => Some(address.to_string()),
        Some(zone)
            if !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_graphic() && byte != b']') =>
        {
            Some(format!("{address}%{zone}"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_normalised_and_shown_so_that_they_read_back() {
        for (text, shown) in [
            ("10.0.0.1:6380", "10.0.0.1:6380"),
            ("Redis-1.example", "redis-1.example:6379"),
            ("[::1]:7000", "[::1]:7000"),
            ("[0:0::0:1]", "[::1]:6379"),
            ("[fe80::1%eth0]:1", "[fe80::1%eth0]:1"),
            ("my_host:65535", "my_host:65535"),
            ("unix:/run/redis.sock", "unix:/run/redis.sock"),
        ] {
            let endpoint: Endpoint = text.parse().expect("an address");
            assert_eq!(endpoint.to_string(), shown, "{text}");
            assert_eq!(endpoint.to_string().parse::<Endpoint>().expect("an address"), endpoint);
        }
        assert_eq!(Endpoint::tcp("[::1]", 6379).expect("an address"), "[::1]".parse().expect("an address"));
        assert_eq!(Endpoint::tcp("::1", 6379).expect("an address"), "[::1]".parse().expect("an address"));
    }

    #[test]
    fn bad_addresses_are_refused_in_one_sentence() {
        for (text, message) in [
            ("", "the host of an address is empty"),
            (":6379", "the host of an address is empty"),
            ("host:", "an address ends in a colon without a port"),
            ("host:0", "`0` is not a port number"),
            ("host:65536", "`65536` is not a port number"),
            ("host:+1", "`+1` is not a port number"),
            ("host:6379 ", "`6379 ` is not a port number"),
            ("a b", "`a b` is not a host name"),
            ("/run/redis.sock", "`/run/redis.sock` is not a host name"),
            ("a\nb", "`a\\nb` is not a host name"),
            ("unix:", "the path of a unix socket is empty"),
            ("::1", "`::1` is not an address: an IPv6 address stands in brackets"),
            ("[::1", "`[::1` lacks the closing bracket"),
            ("[::1]6379", "`[::1]6379` is not an address"),
            ("[host]:1", "`host` is not an IPv6 address"),
            ("[]:1", "`` is not an IPv6 address"),
            ("rediss://host", "TLS is not supported yet"),
            ("redis://:hunter2@host", "a URL is not accepted as an address"),
            ("user:hunter2@host", "an address cannot hold a user name or a password"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert_eq!(error.message(), message, "{text}");
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains("what to do: "), "{text}");
            assert!(!error.to_string().contains("hunter2"), "{text}");
        }
        assert_eq!(Endpoint::tcp("h", 0).unwrap_err().message(), "`0` is not a port number");
        assert!(!Endpoint::tcp("u:hunter2@h", 1).unwrap_err().to_string().contains("hunter2"));
        assert_eq!(Endpoint::tcp("h:1", 1).unwrap_err().message(), "`h:1` is not a host name");
    }

    #[test]
    fn a_secret_is_never_shown() {
        let credentials = Credentials { username: Some("loader".into()), password: Secret::new("hunter2") };
        let shown = format!("{credentials:?} {credentials:#?} {}", credentials.password);
        assert!(!shown.contains("hunter2"));
        assert!(shown.contains("***"));
        assert_eq!(credentials.password.expose(), "hunter2");
    }
}
