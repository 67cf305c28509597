//! A pipeline and a server that answers as a test wants.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;
use crate::batch::Batches;
use crate::batch::tests::{Parts, parts};
use crate::marker::tests::example;

/// The first batch fills a transaction, the second one does not.
const FULL_BYTES: usize = 1000;

/// Takes one connection. Keeps the answer to the first EXEC that is not empty back, until the command that it refuses has
/// come, and gives both at once.
fn serve(listener: &TcpListener, refuses: &str) {
    let (mut stream, _) = listener.accept().expect("the pipeline connects");
    let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
    let (mut queued, mut marker, mut kept) = (None, example().to_string(), String::new());
    while let Some(command) = command(&mut reader) {
        let answer = match (command[0].as_str(), queued) {
            ("MULTI", _) => {
                queued = Some(0);
                "+OK\r\n".to_owned()
            }
            ("EXEC", Some(count)) => {
                queued = None;
                let answer = format!("*{count}\r\n{}", "+OK\r\n".repeat(count));
                if count > 0 {
                    kept = answer;
                    continue;
                }
                answer
            }
            (name, Some(_)) if name == refuses => "-NOPERM this user has no permissions\r\n".to_owned(),
            (_, Some(count)) => {
                queued = Some(count + 1);
                if command[1] == "marker" {
                    marker.clone_from(&command[2]);
                }
                "+QUEUED\r\n".to_owned()
            }
            ("GET", None) => format!("${}\r\n{marker}\r\n", marker.len()),
            _ => "+OK\r\n".to_owned(),
        };
        kept += &answer;
        // What is behind EXEC in this test is WATCH, GET, MULTI and the command that is refused.
        if !kept.starts_with('*') || kept.starts_with("*0") || command[0] == refuses {
            stream.write_all(kept.as_bytes()).expect("the pipeline is there");
            kept.clear();
        }
    }
}

/// The next command; none at the end of the connection.
fn command(reader: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    fn number(reader: &mut BufReader<TcpStream>) -> Option<usize> {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        line[1..].trim().parse().ok()
    }
    let mut words = Vec::new();
    for _ in 0..number(reader)? {
        let mut word = vec![0; number(reader)? + 2];
        reader.read_exact(&mut word).ok()?;
        words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
    }
    Some(words)
}

/// What was answered before a fault is told before it: else it would count as unheard.
#[test]
fn what_is_applied_is_told_before_the_fault_behind_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string().parse().expect("an endpoint");
    let Parts { source, rules, mut parts } =
        parts(1, &[&format!("SET a {}", "x".repeat(FULL_BYTES)), "APPEND a 2"]);
    let part = Arc::new(parts.remove(0).remove(0));
    thread::scope(|scope| {
        scope.spawn(|| serve(&listener, "APPEND"));
        let lane = Lane { number: 0, source: &source, rules: &rules, bytes_max: FULL_BYTES };
        let mut pipeline =
            Pipeline::open(lane, &endpoint, None, Duration::from_secs(10)).expect("it answers");
        let mut old = example();
        for batch in Batches::new(&part, 1, 10 * FULL_BYTES) {
            let new = old.advanced(part.window.start, batch.number);
            pipeline.apply(&part, batch, (&old, &new)).expect("nothing is answered yet");
            old = new;
        }
        let told: Vec<u64> =
            pipeline.applied(true).expect("one is applied").iter().map(|one| one.marker.batch).collect();
        assert_eq!(told, [1]);
        assert!(matches!(pipeline.applied(true), Err(Fault::Fatal(_))), "the other was refused");
    });
}
