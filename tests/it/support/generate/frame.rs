//! Commands to bytes, now and then in ways that servers read and never write.

use super::GeneratorOptions;
use super::command::Command;
use crate::support::aof;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const LENIENT_ONE_IN: u32 = 150;
const TIMESTAMP_ONE_IN: u32 = 60;

/// Frames records, with a chance of its own: a smaller count of commands must give the same bytes up to there.
#[derive(Debug)]
pub(super) struct Framer {
    rng: StdRng,
    lenient: bool,
    timestamps: bool,
}

impl Framer {
    pub fn new(seed: u64, options: &GeneratorOptions) -> Self {
        let rng = StdRng::seed_from_u64(!seed);
        Self { rng, lenient: options.lenient_framing, timestamps: options.timestamps }
    }

    /// Appends one record, and what may stand before it.
    pub fn push(&mut self, out: &mut Vec<u8>, command: &Command) {
        if self.timestamps && self.rng.random_ratio(1, TIMESTAMP_ONE_IN) {
            let second: u32 = self.rng.random_range(1_600_000_000..1_700_000_000);
            out.extend_from_slice(format!("#TS:{second}\r\n").as_bytes());
        }
        if self.lenient && self.rng.random_ratio(1, LENIENT_ONE_IN) {
            return self.push_lenient(out, command);
        }
        let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        aof::push(out, &args);
    }

    /// Servers read numbers as atoi does, lines up to LF, and skip two bytes after an argument without a look.
    fn push_lenient(&mut self, out: &mut Vec<u8>, command: &Command) {
        self.push_header(out, '*', command.len());
        for arg in command {
            self.push_header(out, '$', arg.len());
            out.extend_from_slice(arg);
            out.extend_from_slice([b"\r\n", b"\r\n", b"\n\n", b"xy", b"*1"][self.rng.random_range(0..5)]);
        }
    }

    fn push_header(&mut self, out: &mut Vec<u8>, mark: char, number: usize) {
        let line = match self.rng.random_range(0..6) {
            0 => format!("{mark}0{number}\r\n"),
            1 => format!("{mark}+{number}\r\n"),
            2 => format!("{mark}{number}\n"),
            3 => format!("{mark}{number}abc\r\n"),
            4 => format!("{mark} {number} \r\n"),
            _ => format!("{mark}{number}\r\n"),
        };
        out.extend_from_slice(line.as_bytes());
    }
}
