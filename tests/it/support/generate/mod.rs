//! Random append-only files that a redis-server loads, full of what trips loaders up.
//!
//! The same seed and options always give the same commands, and a smaller count gives a prefix of a larger one, so a
//! failure can be bisected. Nothing depends on the clock, on randomness inside the server or on hash order (no SPOP, no
//! `XTRIM ~`, no `XADD *`), unless an option asks for it.

mod command;
mod deadlines;
mod dice;
mod frame;
mod global;
mod hashes;
mod keys;
mod lists;
mod payloads;
mod reads;
mod scripts;
mod sets;
mod several;
mod sorted;
mod stories;
mod streams;
mod strings;
mod templates;

pub use command::Command;
use command::command;
use dice::Dice;
pub use dice::RELATIVE_UNIT_MS;
use frame::Framer;
pub use payloads::Payloads;
pub use scripts::sums as script_sums;
use std::collections::{BTreeSet, VecDeque};

/// What may occur in the source. The default is all that must load exactly, to the millisecond.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent switches")]
pub struct GeneratorOptions {
    /// Number of targets: keys are chosen so that each target gets some of every type.
    pub shards: usize,
    /// Commands that name several keys may name keys of different shards.
    pub tied: bool,
    /// Databases 0 up to, not including, this one.
    pub databases: usize,
    /// Keys of each type on each shard: few, so that commands meet.
    pub keys_per_shard: usize,
    /// FLUSHALL, FLUSHDB, SWAPDB and FUNCTION.
    pub broadcast: bool,
    /// MULTI and EXEC.
    pub transactions: bool,
    /// Reads and PING, which servers do not write into AOFs but load.
    pub reads: bool,
    /// LMPOP and ZMPOP, which servers rewrite and so never write.
    pub candidate_pops: bool,
    /// A few values of 100 KB to 2 MB.
    pub big_values: bool,
    /// Headers that servers accept and never write: `*03`, `$+1`, LF alone, any two bytes after an argument.
    pub lenient_framing: bool,
    /// `#TS:` lines, which servers before 7.0 refuse.
    pub timestamps: bool,
    /// Deadlines 1 to 3 s after the generator was made: they pass while a test runs.
    pub near_deadlines: bool,
    /// EXPIRE, SETEX and so on: their deadlines depend on the moment of loading and cannot be equal to the millisecond.
    /// Whole [`RELATIVE_UNIT_MS`], so that a judge can tell them from all others.
    pub relative_deadlines: bool,
    /// Deadlines before the source was made.
    pub past_deadlines: bool,
    /// Every other command that a server loads, blocking ones and failing ones too; delivery times of some entries of
    /// streams are then the clock's.
    pub rare: bool,
    /// Sequences as programs send them; they tie keys of any shard.
    pub stories: bool,
    /// Deadlines of hash fields, if the servers know the commands.
    pub fields: bool,
    /// EVAL, EVALSHA and FCALL.
    pub scripts: bool,
}

impl Default for GeneratorOptions {
    fn default() -> Self {
        Self {
            shards: 3,
            tied: true,
            databases: 4,
            keys_per_shard: 3,
            broadcast: true,
            transactions: true,
            reads: true,
            candidate_pops: true,
            big_values: true,
            lenient_framing: true,
            timestamps: true,
            near_deadlines: false,
            relative_deadlines: false,
            past_deadlines: true,
            rare: false,
            stories: false,
            fields: false,
            scripts: false,
        }
    }
}

/// Makes commands one after the other; remembers enough of what it made for most of them to succeed.
#[derive(Debug)]
pub struct Generator {
    seed: u64,
    dice: Dice,
    framer: Framer,
    /// What is still to come of a story.
    waiting: VecDeque<Command>,
}

/// One step of the generator: a family of commands and how often it is chosen, relative to the others.
type Family = (fn(&mut Dice) -> Command, usize);

const FAMILIES: [Family; 13] = [
    (strings::text, 14),
    (strings::number, 8),
    (strings::bits, 5),
    (strings::sketch, 5),
    (lists::list, 13),
    (sets::set, 9),
    (hashes::hash, 11),
    (sorted::sorted, 11),
    (sorted::geo, 3),
    (streams::stream, 18),
    (deadlines::deadline, 9),
    (several::several, 16),
    (global::splittable, 4),
];

impl Generator {
    /// A generator whose choices all follow from the seed.
    pub fn new(seed: u64, options: GeneratorOptions) -> Self {
        let framer = Framer::new(seed, &options);
        Self { seed, dice: Dice::new(seed, options), framer, waiting: VecDeque::new() }
    }

    /// Also makes RESTORE commands, of values dumped by a server that is not newer than any that has to load them.
    #[must_use]
    pub fn with_payloads(mut self, payloads: Payloads) -> Self {
        self.dice.payloads = payloads;
        self
    }

    /// Leaves out commands that the servers do not know; without it, those of 7.0 are made.
    #[must_use]
    pub fn with_known(mut self, known: BTreeSet<String>) -> Self {
        self.dice.known = Some(known);
        self
    }

    /// When it was made, in ms since 1970: what deadlines and delivery times near the clock are counted from.
    pub fn made_ms(&self) -> i64 {
        self.dice.made_ms
    }

    /// One command as a record of an AOF.
    pub fn framed(&mut self, command: &Command) -> Vec<u8> {
        let mut out = Vec::new();
        self.framer.push(&mut out, command);
        out
    }

    /// The seed, for the message of a failed test.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// All keys that it uses.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.dice.keys.all()
    }

    /// An AOF of `count` commands or a few more (a transaction is not cut). Begins in database 0 as every file of a
    /// multi-part directory does: call it once per file for those.
    pub fn aof(&mut self, count: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for command in self.commands(count) {
            self.framer.push(&mut out, &command);
        }
        out
    }

    /// The same as commands, to be framed or sent otherwise.
    pub fn commands(&mut self, count: usize) -> Vec<Command> {
        // Not every file begins with SELECT; one that does not, begins in database 0.
        self.dice.database = 0;
        let mut made = Vec::new();
        while made.len() < count {
            self.step(&mut made);
        }
        made
    }

    fn step(&mut self, made: &mut Vec<Command>) {
        if !self.dice.options.transactions || !self.dice.one_in(25) {
            return self.one(made);
        }
        made.push(self.cased(command!["MULTI"]));
        self.dice.in_transaction = true;
        for _ in 0..self.dice.below(12) {
            if self.dice.options.rare && self.dice.one_in(40) {
                // A torn transaction that others were appended to: queued, and an error at EXEC.
                made.push(self.cased(command!["MULTI"]));
            }
            self.one(made);
        }
        self.dice.in_transaction = false;
        made.push(self.cased(command!["EXEC"]));
    }

    fn one(&mut self, made: &mut Vec<Command>) {
        if self.dice.options.stories && self.tell(made) {
            return;
        }
        if self.dice.one_in(15) {
            self.dice.database = self.dice.any_database();
            let select = command!["SELECT", self.dice.database];
            return made.push(self.cased(select));
        }
        let command = self.write_or_read();
        made.push(self.cased(command));
    }

    /// Begins a story or goes on with the one that is under way.
    fn tell(&mut self, made: &mut Vec<Command>) -> bool {
        if self.waiting.is_empty() && self.dice.one_in(12) {
            self.waiting.extend(stories::story(&mut self.dice));
        }
        // What others do comes in between, unless it would happen in another database.
        if self.waiting.is_empty() || self.dice.one_in(3) {
            return false;
        }
        let next = self.waiting.pop_front().expect("it is not empty");
        if next[0] == b"SELECT" {
            let number = String::from_utf8_lossy(&next[1]);
            self.dice.database = number.parse().expect("a story selects a database that is there");
        }
        let next = self.cased(next);
        made.push(next);
        true
    }

    fn write_or_read(&mut self) -> Command {
        let dice = &mut self.dice;
        if dice.options.scripts && dice.one_in(30) {
            return scripts::call(dice);
        }
        if dice.options.rare
            && dice.one_in(4)
            && let Some(made) = templates::one(dice)
        {
            return made;
        }
        if dice.options.rare
            && dice.options.broadcast
            && dice.one_in(100)
            && let Some(made) = templates::libraries(dice)
        {
            return made;
        }
        if dice.options.broadcast && dice.one_in(120) {
            return global::broadcast(dice);
        }
        if dice.options.reads && dice.one_in(25) {
            return reads::read(dice);
        }
        if dice.one_in(30)
            && let Some(restore) = payloads::restore(dice)
        {
            return restore;
        }
        let total: usize = FAMILIES.iter().map(|(_, weight)| weight).sum();
        let mut at = dice.below(total);
        for (family, weight) in FAMILIES {
            if at < weight {
                return family(dice);
            }
            at -= weight;
        }
        unreachable!("the weights add up to the total")
    }

    /// Servers keep the case that clients typed.
    fn cased(&mut self, mut command: Command) -> Command {
        match self.dice.below(12) {
            0 => command[0].make_ascii_lowercase(),
            1 => command[0].iter_mut().step_by(2).for_each(u8::make_ascii_lowercase),
            _ => {}
        }
        command
    }
}
