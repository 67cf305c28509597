//! Finds the master of a static replica set by asking its members for their ROLE.

use redis::{Connection, RedisError, Value};

use super::{Endpoint, Members};

/// Why a set has no master that could be written to.
#[derive(Debug)]
pub enum NoMaster {
    /// No member is a master; what each of them said.
    None(Vec<(Endpoint, Answer)>),
    /// Several members say that they are.
    Several(Vec<Endpoint>),
}

/// What a member said.
#[derive(Debug)]
pub enum Answer {
    /// It is a replica (of the named master).
    Replica(String),
    /// It is neither that nor a master, such as a sentinel; what it says it is.
    Other(String),
    /// It could not be asked.
    Failed(RedisError),
}

/// Opens a connection to an endpoint; given by the caller, so that this module knows no transport.
pub type Connect<'c> = &'c dyn Fn(&Endpoint) -> Result<Connection, RedisError>;

/// Asks the members who is master: first the one that was it last, then the one that the topology
/// names, then the replicas. A member that was master before stays so as long as it says so.
pub fn find(
    members: &Members,
    last: Option<&Endpoint>,
    connect: Connect<'_>,
) -> Result<(Endpoint, Connection), NoMaster> {
    let mut answers = Vec::new();
    let mut masters: Vec<(Endpoint, Connection)> = Vec::new();
    let known = last.into_iter().chain([&members.master]);
    for endpoint in known {
        if answers.iter().any(|(asked, _)| asked == endpoint) {
            continue;
        }
        match ask(endpoint, connect) {
            Ok(connection) => return Ok((endpoint.clone(), connection)),
            Err(answer) => answers.push((endpoint.clone(), answer)),
        }
    }
    for endpoint in &members.replicas {
        if answers.iter().any(|(asked, _)| asked == endpoint) {
            continue;
        }
        match ask(endpoint, connect) {
            Ok(connection) => masters.push((endpoint.clone(), connection)),
            Err(answer) => answers.push((endpoint.clone(), answer)),
        }
    }
    match masters.len() {
        0 => Err(NoMaster::None(answers)),
        1 => masters.pop().ok_or(NoMaster::None(answers)),
        _ => Err(NoMaster::Several(masters.into_iter().map(|(endpoint, _)| endpoint).collect())),
    }
}

fn ask(endpoint: &Endpoint, connect: Connect<'_>) -> Result<Connection, Answer> {
    let mut connection = connect(endpoint).map_err(Answer::Failed)?;
    let role: Vec<Value> = redis::cmd("ROLE").query(&mut connection).map_err(Answer::Failed)?;
    let word = |at: usize| role.get(at).and_then(|value| redis::from_redis_value_ref::<String>(value).ok());
    match word(0).as_deref() {
        Some("master") => Ok(connection),
        Some("slave") => {
            let port =
                role.get(2).and_then(|value| redis::from_redis_value_ref::<i64>(value).ok()).unwrap_or(0);
            Err(Answer::Replica(format!("{}:{port}", word(1).unwrap_or_default())))
        }
        other => Err(Answer::Other(other.unwrap_or("something unknown").to_owned())),
    }
}
