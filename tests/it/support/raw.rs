//! Any command and any reply, byte by byte: the redis crate gives up on an error reply that is not UTF-8, such as one with
//! a key in it.

use super::aof;
use super::server::Server;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A reply of version 2 of the protocol; strings of all kinds are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Status or bulk.
    Text(Vec<u8>),
    /// What follows the minus sign.
    Error(Vec<u8>),
    /// An integer.
    Int(i64),
    /// No string or no array.
    Nil,
    /// An array.
    Array(Vec<Self>),
}

impl Reply {
    /// Whether it is an error or holds one.
    pub fn failed(&self) -> bool {
        match self {
            Self::Error(_) => true,
            Self::Array(items) => items.iter().any(Self::failed),
            _ => false,
        }
    }

    /// The elements of an array; none of anything else.
    pub fn items(&self) -> &[Self] {
        if let Self::Array(items) = self { items } else { &[] }
    }

    /// A string's bytes; none of anything else.
    pub fn bytes(&self) -> &[u8] {
        if let Self::Text(bytes) = self { bytes } else { &[] }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Raw {
    stream: BufReader<TcpStream>,
}

impl Raw {
    /// To a server without a password.
    pub fn of(server: &Server) -> Self {
        let stream = TcpStream::connect(server.addr()).expect("the server listens");
        stream.set_nodelay(true).expect("a socket can be set up");
        Self { stream: BufReader::new(stream) }
    }

    /// Sends commands and reads as many replies. Few enough at a time for the buffers in between.
    pub fn ask<A: AsRef<[u8]>>(&mut self, commands: &[&[A]]) -> Vec<Reply> {
        let mut bytes = Vec::new();
        for command in commands {
            aof::push(&mut bytes, &command.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        }
        self.stream.get_mut().write_all(&bytes).expect("the server takes it");
        commands.iter().map(|_| self.read()).collect()
    }

    /// One command whose arguments hold no blanks.
    pub fn words(&mut self, line: &str) -> Reply {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.ask(&[&words]).remove(0)
    }

    /// Sends one command whose arguments hold no blanks; the reply is to be read later.
    pub fn send_words(&mut self, line: &str) {
        let mut bytes = Vec::new();
        aof::push_words(&mut bytes, line);
        self.stream.get_mut().write_all(&bytes).expect("the server takes it");
    }

    /// The next reply, to what was asked or to a command that blocks.
    pub fn read(&mut self) -> Reply {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("the server answers");
        assert!(line.len() > 2, "the server has closed the connection");
        let rest = &line[1..line.len() - 2];
        let number = || String::from_utf8_lossy(rest).parse::<i64>().expect("a number");
        match line[0] {
            b'-' => Reply::Error(rest.to_vec()),
            b'+' => Reply::Text(rest.to_vec()),
            b':' => Reply::Int(number()),
            b'*' if number() >= 0 => Reply::Array((0..number()).map(|_| self.read()).collect()),
            b'$' if number() >= 0 => {
                let mut text = vec![0; usize::try_from(number()).expect("not negative") + 2];
                self.stream.read_exact(&mut text).expect("the server answers");
                text.truncate(text.len() - 2);
                Reply::Text(text)
            }
            b'*' | b'$' => Reply::Nil,
            other => panic!("a reply begins with {:?}", char::from(other)),
        }
    }
}
