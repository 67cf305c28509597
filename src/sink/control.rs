//! Talks to a server outside of the stream of batches: who it is, what it holds. Through the redis crate.

use std::time::Duration;

use redis::{Client, Connection, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError};

use super::Fault;
use super::verdict::{self, Refusal};
use crate::error::{Error, Kind};
use crate::topology::{Credentials, Endpoint};

/// Opens a connection and logs in.
pub fn connect(
    endpoint: &Endpoint,
    credentials: Option<&Credentials>,
    timeout: Duration,
) -> Result<Connection, RedisError> {
    let address = match endpoint {
        Endpoint::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
        Endpoint::Unix(path) => ConnectionAddr::Unix(path.clone()),
    };
    let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
    let info = address.into_connection_info()?.set_redis_settings(settings);
    let mut connection = Client::open(info)?.get_connection_with_timeout(timeout)?;
    connection.set_read_timeout(Some(timeout))?;
    connection.set_write_timeout(Some(timeout))?;
    if let Some(credentials) = credentials {
        log_in(&mut connection, credentials)?;
    }
    Ok(connection)
}

/// Not left to the redis crate, which does not tell what the server answers.
fn log_in(connection: &mut Connection, credentials: &Credentials) -> Result<(), RedisError> {
    let password = credentials.password.expose();
    redis::cmd("AUTH").arg(&credentials.username).arg(password).query(connection).map_err(|error| {
        let Some(text) = reply_text(&error) else { return error };
        // A server may repeat the password (`unknown command 'AUTH', with args …`).
        let known = verdict::known_part(text.as_bytes());
        let (code, detail) =
            known.split_once(' ').map_or((known.as_str(), None), |(code, detail)| (code, Some(detail)));
        redis::make_extension_error(code.to_owned(), detail.map(str::to_owned))
    })
}

/// The text of a server's error reply as it was sent, of several that of the first; `None` if the error is not a reply.
pub fn reply_text(error: &RedisError) -> Option<String> {
    let replies = error.clone().into_server_errors();
    let (code, detail) = match replies.as_ref().and_then(|replies| replies.first()) {
        Some((_, reply)) => (reply.code(), reply.details()),
        None => (error.code()?, error.detail()),
    };
    Some(match detail {
        Some(detail) => format!("{code} {detail}"),
        None => code.to_owned(),
    })
}

/// What an error of a control command means for the load.
pub fn fault(target: &str, error: &RedisError) -> Fault {
    match reply_text(error) {
        Some(text) => refused(target, text.as_bytes()),
        None if error.is_timeout() => {
            Fault::Lost(format!("{target} was silent for longer than --timeout-ms"))
        }
        None => Fault::Lost(format!("{target}: {error}")),
    }
}

/// What an error reply other than one inside EXEC means for the load.
pub fn refused(target: &str, text: &[u8]) -> Fault {
    let shown = format!("{target} answered: {}", String::from_utf8_lossy(text));
    match verdict::refusal(text) {
        Refusal::Wait(_) => Fault::Wait(shown),
        Refusal::Rediscover | Refusal::Aborted => Fault::Lost(shown),
        Refusal::Stop { remedy } => Fault::Fatal(
            Error::new(Kind::Stopped, "a target refuses what the load needs")
                .place("target", target)
                .place("answer", String::from_utf8_lossy(text))
                .remedy(format!("{remedy}; then run the same command again, it resumes")),
        ),
    }
}

/// A field of an INFO reply.
pub fn info_field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Keys in all databases, by an `INFO keyspace` reply.
pub fn keys_in(info: &str) -> u64 {
    let counts = info.lines().filter(|line| line.starts_with("db")).filter_map(|line| {
        let (_, rest) = line.split_once("keys=")?;
        rest.split(',').next()?.trim().parse::<u64>().ok()
    });
    counts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read_by_field() {
        let info = "# Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\ndb12:keys=40,expires=1\r\nrun_id:ab\r\n";
        assert_eq!(keys_in(info), 43);
        assert_eq!(info_field(info, "run_id"), Some("ab"));
        assert_eq!(info_field(info, "run"), None);
    }
}
