//! The source is not what it was when the load began.

use super::{assert_refused_and_resumes_once, assert_resumes, complete, contents, stopped};
use crate::support::aof;
use crate::support::loader::Output;
use std::fs;

/// What is appended to a source.
fn more() -> Vec<u8> {
    aof::of_lines("SELECT 9\nINCR n:0\nRPUSH l:1 more\nSET new 1\nFLUSHALL\n")
}

fn changed(seed: u64, words: &[&str], change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let load = stopped(seed);
    let source = load.0.source().to_path_buf();
    let bytes = fs::read(&source).expect("the source");
    let other = change(bytes.clone());
    let run = || {
        fs::write(&source, other).expect("it can be written");
        load.0.load(&load.1).run()
    };
    assert_refused_and_resumes_once(&load, run, (6, words), || {
        fs::write(&source, bytes).expect("it can be written");
    });
}

/// Replaces the last INCR, which no lane has reached, or the first, which all have.
fn replace(bytes: &[u8], from: Option<usize>) -> Vec<u8> {
    let incr = b"*2\r\n$4\r\nINCR";
    let found = |at: &usize| bytes[*at..].starts_with(incr);
    let mut places = 0..bytes.len() - incr.len();
    let at = match from {
        None => places.find(found),
        Some(_) => places.rfind(found),
    };
    let mut other = bytes.to_vec();
    let at = at.expect("an INCR") + incr.len() - 4;
    other[at..at + 4].copy_from_slice(b"DECR");
    other
}

#[test]
fn changed_behind_the_position() {
    changed(221, &["different", "--restart"], |bytes| replace(&bytes, Some(0)));
}

#[test]
fn changed_before_the_position() {
    changed(222, &["different", "--restart"], |bytes| replace(&bytes, None));
}

#[test]
fn shorter_than_it_was() {
    changed(223, &["shorter", "--restart"], |bytes| bytes[..bytes.len() / 2].to_vec());
}

#[test]
fn empty_now() {
    changed(224, &["--restart"], |_| Vec::new());
}

/// Commands are framed otherwise, and say the same.
#[test]
fn rewritten_with_the_same_commands() {
    changed(225, &["--restart"], |bytes| [b"#TS:1700000000\r\n".to_vec(), bytes].concat());
}

/// Loaded up to where it ended when the load began.
#[test]
fn grown() {
    let (drill, targets) = stopped(226);
    let mut bytes = fs::read(drill.source()).expect("the source");
    bytes.extend(more());
    fs::write(drill.source(), &bytes).expect("it can be written");
    assert_resumes(&drill, &targets);
}

/// By half a command only, as a server that is still writing it.
#[test]
fn grown_by_half_a_command() {
    let (drill, targets) = stopped(227);
    let mut bytes = fs::read(drill.source()).expect("the source");
    bytes.extend_from_slice(&more()[..30]);
    fs::write(drill.source(), &bytes).expect("it can be written");
    assert_resumes(&drill, &targets);
}

/// A load that is done is never continued, and says what it leaves out.
#[test]
fn grown_after_the_end() {
    let (drill, targets) = complete(228);
    let before = contents(&targets.masters);
    let mut bytes = fs::read(drill.source()).expect("the source");
    bytes.extend(more());
    fs::write(drill.source(), &bytes).expect("it can be written");
    let output: Output = drill.load(&targets).run_ok();
    let said = format!("{} bytes behind the end", more().len());
    assert!(output.stderr.contains(&said) || output.stdout.contains(&said), "{output}");
    assert!(contents(&targets.masters) == before);
}
