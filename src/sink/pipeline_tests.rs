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

/// Takes one connection. If there is a command that it refuses, keeps the answer to the first EXEC that is not empty back, until that
/// has come, and gives both at once.
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
                if count > 0 && !refuses.is_empty() {
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
        if !kept.starts_with('*') || kept.starts_with("*0") || command[0] == refuses || refuses.is_empty() {
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
    let Parts { source, rules, mut parts, .. } =
        parts(1, &[&format!("SET a {}", "x".repeat(FULL_BYTES)), "APPEND a 2"]);
    let part = Arc::new(parts.remove(0).remove(0));
    thread::scope(|scope| {
        scope.spawn(|| serve(&listener, "APPEND"));
        let lane = Lane { number: 0, source: &source, rules: &rules, bytes_max: FULL_BYTES, keys: 0 };
        let mut pipeline = Pipeline::open(lane, &endpoint, None, Duration::from_secs(10), &Arc::default())
            .expect("it answers");
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

/// Who is not permitted EXISTS loads all the same.
#[test]
fn keys_are_not_looked_at_ahead_any_more_once_that_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string().parse().expect("an endpoint");
    let Parts { source, rules, mut parts, .. } = parts(1, &["INCR a", "INCR b", "INCR c", "INCR d"]);
    let part = Arc::new(parts.remove(0).remove(0));
    let may_look = Arc::new(AtomicBool::new(true));
    thread::scope(|scope| {
        scope.spawn(|| {
            serve(&listener, "EXISTS");
            serve(&listener, "");
        });
        let lane = Lane { number: 0, source: &source, rules: &rules, bytes_max: FULL_BYTES, keys: u64::MAX };
        let outcome = || {
            let patience = Duration::from_secs(10);
            let mut pipeline =
                Pipeline::open(lane, &endpoint, None, patience, &may_look).expect("it answers");
            // However long the round trip was on a busy machine.
            pipeline.looks_ahead = Arc::clone(&may_look);
            let batch = Batches::new(&part, 10, FULL_BYTES).next().expect("a batch");
            let new = example().advanced(part.window.start, batch.number);
            pipeline.apply(&part, batch, (&example(), &new)).and_then(|()| pipeline.applied(true))
        };
        assert!(matches!(outcome(), Err(Fault::Lost(text)) if text.contains("EXISTS")));
        assert!(!may_look.load(Ordering::Relaxed));
        assert_eq!(outcome().expect("nothing is refused").len(), 1);
    });
}
