//! The rules that turn a parsed command into a routed one.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::scripts::Scripts;
use super::{Routing, Takes, Touches, key_hash};
use crate::command::names::{Name, database, names};
use crate::command::since::{self, Newer};
use crate::command::{Class, Keys, Rewrite, Spec, deadline, fields, integer, keys, lookup, lookup_sub};
use crate::rdb::Kind;
use crate::resp::frame::{self, Arguments, Head};

/// A command as it stands in the source, borrowed from the map.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    /// The whole record.
    pub bytes: &'a [u8],
    /// Its outline.
    pub head: Head,
    /// The database it runs in.
    pub db: u32,
    /// Its number among the commands of the source, counted from 1.
    pub ordinal: u64,
}

impl<'a> Command<'a> {
    /// The command's name as written.
    #[inline]
    pub fn name(&self) -> &'a [u8] {
        let start = self.head.name_start as usize;
        self.bytes.get(start..start + self.head.name_len).unwrap_or_default()
    }

    /// The argument after the name.
    #[inline]
    pub fn first(&self) -> &'a [u8] {
        self.bytes.get(self.head.key_start..self.head.key_start + self.head.key_len).unwrap_or_default()
    }

    /// The keys of a command that has two in its own database, its first arguments: RENAME and its kin.
    #[inline]
    pub fn two_keys(&self, spec: &Spec) -> Option<[&'a [u8]; 2]> {
        let two = spec.keys == Keys::Range { first: 1, last: 2, step: 1 } && self.head.argc > 2;
        // COPY may name another database.
        if !two || spec.name == "COPY" {
            return None;
        }
        let behind = self.head.key_start + self.head.key_len + 2;
        Some([self.first(), frame::argument(self.bytes.get(behind..)?)?])
    }

    /// All arguments, the name first; those of nearly all commands take no memory of their own.
    pub fn arguments(&self) -> SmallVec<[&'a [u8]; 8]> {
        Arguments::of(self.bytes).collect()
    }
}

/// How a lane gets a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The bytes of the source as they are.
    Verbatim,
    /// The same arguments in canonical framing.
    Canonical,
    /// Changed as its [`Rewrite`] says.
    Rewritten,
    /// With its relative deadline made absolute, but not shifted: nothing touches the key later.
    Absolute,
    /// Only the keys that belong to the lane.
    Part,
    /// An EVALSHA, sent as EVAL if the source has brought the body; see [`Scripts`].
    Body,
}

/// What a command reads and writes: what it must not change places with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// One key, of this crc32, which it sets to a plain value: a SET without options.
    Set(u32),
    /// One key, of this crc32.
    Key(u32),
    /// Keys that are all among its arguments.
    Arguments,
    /// Anything.
    All,
}

/// A change of the reader's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// SELECT; `None` if the server would refuse the number and stay where it is.
    Select(Option<u32>),
    /// MULTI.
    Multi,
    /// EXEC.
    Exec,
}

/// Where a command goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routed {
    /// To one lane.
    Lane(usize, Form, Reach),
    /// To each lane its part.
    Parts,
    /// To every lane.
    Every(Form),
    /// Nowhere: it only changes the reader's state.
    State(State),
    /// Nowhere: it changes nothing.
    Nowhere,
    /// Its names are at home on several lanes: the survey has to place them before it can go anywhere.
    Tied,
    /// Nowhere: it cannot be carried out faithfully.
    Refused(Refusal),
}

/// Why a command cannot be carried out faithfully.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// The table has no such command.
    Unknown,
    /// A number of arguments that servers do not accept.
    Arity,
    /// It runs a script or function.
    Script,
    /// The same, accepted, but it declares no key that would say where.
    KeylessScript,
    /// SORT with a pattern reads keys it does not name.
    Pattern,
    /// A deadline of a hash field cannot be shifted.
    FieldDeadline,
    /// Its deadline cannot be shifted.
    Deadline,
    /// It touches the key that holds the loader's own marker.
    MarkerKey,
    /// DISCARD inside a transaction crashes a loading server.
    Discard,
    /// A module's data, which only a server with that module can load.
    Module,
    /// A server drops the keys of slots whose import never ended.
    SlotImport,
    /// Its target is too old for values of this kind, or of the other product.
    TargetLacks(Kind),
    /// A target is too old for this, or of the other product.
    TargetTooOld(&'static Newer),
    /// A value of this kind is longer than its target takes, and cannot be taken apart.
    TooLarge(Kind),
}

impl Refusal {
    /// Whether another target could take it.
    pub fn is_for_target(self) -> bool {
        matches!(self, Refusal::TargetLacks(_) | Refusal::TargetTooOld(_))
    }

    /// One clause for a message.
    pub fn reason(self) -> Cow<'static, str> {
        let text = match self {
            Refusal::Unknown => "unknown command: its keys cannot be told",
            Refusal::Arity => "wrong number of arguments",
            Refusal::Script => "runs a script, whose keys and deadlines cannot be seen",
            Refusal::KeylessScript => "runs a script without declared keys, so that no shard can be told",
            Refusal::Pattern => "reads keys through a pattern, on whatever shard they are",
            Refusal::FieldDeadline => {
                "a hash field's deadline is between the years 3079 and 4188, where none can be while loading"
            }
            Refusal::Deadline => "its deadline is too far in the future (or -1) to be shifted",
            Refusal::MarkerKey => "touches the key that holds the loader's marker (see --marker-key)",
            Refusal::Discard => "DISCARD inside a transaction",
            Refusal::Module => "data of a module, which servers without it refuse",
            Refusal::SlotImport => "hash slots whose import was under way, whose keys a server drops",
            Refusal::TargetLacks(kind) => {
                return format!("a {} is more than its target's version knows", kind.name()).into();
            }
            Refusal::TargetTooOld(newer) => {
                return format!("{} is more than its target's version knows", newer.what).into();
            }
            Refusal::TooLarge(kind) => {
                return format!("a {} longer than its target's proto-max-bulk-len", kind.name()).into();
            }
        };
        text.into()
    }
}

/// All that routing a command depends on.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Keys to lanes.
    pub routing: Routing,
    /// For each lane what it takes if it is a live server, which needs rewritings; none for a file that a server
    /// will load.
    pub live: Vec<Option<Takes>>,
    /// Name of the marker's key on live servers.
    pub marker_key: Vec<u8>,
    /// How deadlines are shifted.
    pub clock: deadline::Clock,
    /// Which commands are the last on their keys, if that is known: their deadlines need no shift.
    pub touches: Option<Arc<Touches>>,
    /// The scripts of the source, if it is accepted that they run with keys and deadlines that cannot be seen.
    pub scripts: Option<Arc<Scripts>>,
}

impl Rules {
    /// Number of lanes.
    pub fn lanes(&self) -> usize {
        self.live.len()
    }

    /// Routes one command; `in_transaction` says whether a MULTI is open.
    #[inline]
    pub fn route(&self, command: &Command<'_>, in_transaction: bool) -> Routed {
        self.route_by(lookup(command.name()), command, in_transaction)
    }

    /// The same for a command whose row in the table is known.
    #[inline(always)]
    pub fn route_by(&self, spec: Option<&Spec>, command: &Command<'_>, in_transaction: bool) -> Routed {
        match spec {
            Some(spec) if spec.takes(command.head.argc) => self.route_spec(spec, command, in_transaction),
            Some(_) => Routed::Refused(Refusal::Arity),
            None => Routed::Refused(Refusal::Unknown),
        }
    }

    #[inline(always)]
    fn route_spec(&self, spec: &Spec, command: &Command<'_>, in_transaction: bool) -> Routed {
        // Nearly all of a file: one key, the first argument, nothing to rewrite.
        // (Or DEL and its kin with one key.)
        if spec.names_first || (spec.class == Class::Splittable && command.head.argc == 2) {
            return self.keyed(spec, command, command.first());
        }
        self.route_rarer(spec, *command, in_transaction)
    }

    #[inline(always)]
    fn keyed(&self, spec: &Spec, command: &Command<'_>, key: &[u8]) -> Routed {
        let (lane, hash) = self.routing.lane_and_hash(command.db, key, command.ordinal);
        if self.is_marker(key) {
            return Routed::Refused(Refusal::MarkerKey);
        }
        let plain_set = spec.rewrite == Rewrite::Set && command.head.argc == 3;
        let reach = if plain_set { Reach::Set(hash) } else { Reach::Key(hash) };
        match self.form(spec, command, lane) {
            Ok(form) => Routed::Lane(lane, form, reach),
            Err(refusal) => Routed::Refused(refusal),
        }
    }

    #[inline(never)]
    fn route_rarer(&self, spec: &Spec, command: Command<'_>, in_transaction: bool) -> Routed {
        let command = &command;
        match spec.class {
            Class::Container => match lookup_sub(spec, command.first()) {
                Some(sub) if sub.takes(command.head.argc) => self.route_spec(sub, command, in_transaction),
                Some(_) => Routed::Refused(Refusal::Arity),
                None => Routed::Refused(Refusal::Unknown),
            },
            Class::Select => Routed::State(State::Select(database(command.first()))),
            Class::Multi => Routed::State(State::Multi),
            Class::Exec => Routed::State(State::Exec),
            Class::Discard if in_transaction => Routed::Refused(Refusal::Discard),
            Class::Discard | Class::Read => Routed::Nowhere,
            Class::Script if self.scripts.is_none() => Routed::Refused(Refusal::Script),
            Class::Script => self.several(spec, command),
            Class::Broadcast => self.broadcast(spec, command),
            Class::PfCount if command.head.argc > 2 => Routed::Nowhere,
            Class::PfCount => self.keyed(spec, command, command.first()),
            Class::Keyed | Class::Several | Class::Splittable => self.several(spec, command),
        }
    }

    fn broadcast(&self, spec: &Spec, command: &Command<'_>) -> Routed {
        let is_newer = matches!(spec.name, "SCRIPT LOAD") || spec.name.starts_with("FUNCTION ");
        let arguments = if is_newer { command.arguments() } else { SmallVec::new() };
        let mut live = self.live.iter().flatten();
        match live.find_map(|takes| since::newer_in(spec, &arguments).find(|newer| !takes.knows(newer))) {
            Some(newer) => Routed::Refused(Refusal::TargetTooOld(newer)),
            None => Routed::Every(canonical(command)),
        }
    }

    /// Whether all targets have functions.
    pub fn functions(&self) -> bool {
        self.live.iter().flatten().all(|takes| takes.functions())
    }

    fn several(&self, spec: &Spec, command: &Command<'_>) -> Routed {
        if let (Some(keys), Rewrite::None) = (command.two_keys(spec), spec.rewrite) {
            return self.pair(command, keys);
        }
        let arguments = command.arguments();
        if spec.keys == Keys::Sort {
            let stores = keys::positions(spec, &arguments).is_some_and(|keys| keys.len() > 1);
            if !stores {
                return Routed::Nowhere;
            }
            if self.routing.shards() > 1 && keys::sort_reads_unnamed_keys(&arguments) {
                return Routed::Refused(Refusal::Pattern);
            }
        }
        if spec.class == Class::Script && arguments.get(2).is_some_and(|keys| integer(keys) == Some(0)) {
            return match self.routing.shards() {
                1 => Routed::Lane(0, script_form(spec, command), Reach::All),
                _ => Routed::Refused(Refusal::KeylessScript),
            };
        }
        let Some(names) = names(spec, &arguments, command.db).filter(|names| !names.is_empty()) else {
            // The server answers with an error; it may do so on the lane of whatever stands first.
            return self.keyed(spec, command, command.first());
        };
        if matches!(spec.keys, Keys::GeoRadius { .. }) && names.len() == 1 {
            return Routed::Nowhere;
        }
        if names.iter().any(|name| self.is_marker(arguments[name.at])) {
            return Routed::Refused(Refusal::MarkerKey);
        }
        let lane_of = |name: &Name| self.routing.lane(name.db, arguments[name.at], command.ordinal);
        let lane = lane_of(&names[0]);
        if names.iter().any(|name| lane_of(name) != lane) {
            // A malformed MSET fails as a whole, so its first lane may say so.
            let well_formed = spec.name != "MSET" || arguments.len() % 2 == 1;
            return match (spec.class, well_formed) {
                (Class::Splittable, true) => Routed::Parts,
                (Class::Splittable, false) => Routed::Lane(lane, canonical(command), Reach::Arguments),
                _ => Routed::Tied,
            };
        }
        // SORT may read keys that it does not name, and these reach into other databases.
        let reaches_far = spec.keys == Keys::Sort || matches!(spec.name, "MOVE" | "COPY");
        // What a script touches cannot be seen.
        let reaches_far = reaches_far || spec.class == Class::Script;
        let reach = if reaches_far { Reach::All } else { Reach::Arguments };
        match self.form(spec, command, lane) {
            Ok(form) => Routed::Lane(lane, form, reach),
            Err(refusal) => Routed::Refused(refusal),
        }
    }

    /// The same for the two keys of a command that needs no rewriting.
    fn pair(&self, command: &Command<'_>, keys: [&[u8]; 2]) -> Routed {
        if keys.iter().any(|key| self.is_marker(key)) {
            return Routed::Refused(Refusal::MarkerKey);
        }
        let [lane, other] = keys.map(|key| self.routing.lane(command.db, key, command.ordinal));
        if lane == other { Routed::Lane(lane, canonical(command), Reach::Arguments) } else { Routed::Tied }
    }

    #[inline]
    fn form(&self, spec: &Spec, command: &Command<'_>, lane: usize) -> Result<Form, Refusal> {
        // SET without options is by far the most frequent command that could need rewriting.
        let plain = spec.rewrite == Rewrite::None || (spec.rewrite == Rewrite::Set && command.head.argc == 3);
        if plain {
            return Ok(script_form(spec, command));
        }
        match self.live[lane] {
            Some(takes) => self.rewritten(spec, *command, takes),
            None => Ok(canonical(command)),
        }
    }

    #[inline(never)]
    fn rewritten(&self, spec: &Spec, command: Command<'_>, takes: Takes) -> Result<Form, Refusal> {
        let command = &command;
        let arguments = command.arguments();
        if let Some(newer) = since::newer_in(spec, &arguments).find(|newer| !takes.knows(newer)) {
            return Err(Refusal::TargetTooOld(newer));
        }
        match spec.rewrite {
            Rewrite::StreamTrim => return Ok(Form::Rewritten),
            Rewrite::Restore => {
                if let Some(kind) = fields::restored(&arguments).filter(|kind| !takes.kind(*kind)) {
                    return Err(Refusal::TargetLacks(kind));
                }
                if payload_version(&arguments).is_some_and(|version| !takes.payload(version)) {
                    return Err(Refusal::TargetTooOld(since::PAYLOAD));
                }
            }
            _ => {}
        }
        match deadline::shift(spec.rewrite, &arguments, self.clock) {
            deadline::Shifted::AsItStands => Ok(canonical(command)),
            deadline::Shifted::Changed(..) if self.is_last(spec, command, &arguments) => {
                Ok(if deadline::is_relative(spec.rewrite, &arguments) {
                    Form::Absolute
                } else {
                    canonical(command)
                })
            }
            deadline::Shifted::Changed(..) => Ok(Form::Rewritten),
            deadline::Shifted::Refused(_) => Err(Refusal::Deadline),
            deadline::Shifted::FieldRefused(_) => Err(Refusal::FieldDeadline),
        }
    }

    /// Whether a deadline may be set as it is: nothing touches the key later, so it does not matter
    /// when the key goes; and it is not compared with the key's present, shifted one.
    fn is_last(&self, spec: &Spec, command: &Command<'_>, arguments: &[&[u8]]) -> bool {
        let Some(touches) = self.touches.as_ref().filter(|_| spec.class == Class::Keyed) else {
            return false;
        };
        let compares =
            |option: &&[u8]| option.eq_ignore_ascii_case(b"GT") || option.eq_ignore_ascii_case(b"LT");
        let compared = matches!(spec.rewrite, Rewrite::Expire { .. } | Rewrite::FieldExpire { .. })
            && arguments.iter().skip(3).any(compares);
        !compared && touches.is_last(command.db, key_hash(command.first()), command.ordinal)
    }

    #[inline]
    pub(super) fn is_marker(&self, key: &[u8]) -> bool {
        key.len() == self.marker_key.len() && key == self.marker_key
    }
}

#[inline]
fn canonical(command: &Command<'_>) -> Form {
    if command.head.canonical { Form::Verbatim } else { Form::Canonical }
}

/// The form of a command that needs no rewriting, unless it is an EVALSHA.
#[inline]
fn script_form(spec: &Spec, command: &Command<'_>) -> Form {
    if spec.class == Class::Script && spec.name == "EVALSHA" { Form::Body } else { canonical(command) }
}

/// The RDB version of a RESTORE's payload; `None` if it is too short to have one, which every server refuses.
fn payload_version(arguments: &[&[u8]]) -> Option<u16> {
    let (head, _) = arguments.get(3)?.split_last_chunk::<{ size_of::<u64>() }>()?;
    head.last_chunk().map(|version| u16::from_le_bytes(*version))
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
