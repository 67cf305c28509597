//! The one error type: what went wrong, where, and what to do about it; and the table of exit codes.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

/// What kind of failure this is. The kind alone decides the exit code, see [`Kind::exit_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A local failure that is none of the others: a full disk, a file that cannot be written.
    Local,
    /// The command line or the topology file is wrong.
    Usage,
    /// The source is missing, unreadable, damaged, or changed while it was read.
    Source,
    /// The source holds commands or values that cannot be carried out faithfully.
    Unsupported,
    /// A target was found unfit before anything was written.
    Target,
    /// Checkpoint, markers and command line do not belong together, or another loader is at work.
    Conflict,
    /// A target failed during the load; running the same command again resumes.
    Stopped,
    /// A target answered differently from a server that loads the source; only `--restart` continues.
    Diverged,
    /// A signal ended the load; running the same command again resumes.
    Interrupted,
}

impl Kind {
    /// The process's exit code for this kind. 0 is success; these numbers are part of the interface.
    pub const fn exit_code(self) -> u8 {
        match self {
            Kind::Local => 1,
            Kind::Usage => 2,
            Kind::Source => 3,
            Kind::Unsupported => 4,
            Kind::Target => 5,
            Kind::Conflict => 6,
            Kind::Stopped => 7,
            Kind::Diverged => 8,
            Kind::Interrupted => 9,
        }
    }
}

/// An error: one sentence of what happened, the places it concerns, and the remedy.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    kind: Kind,
    message: String,
    /// What was written, where that is worth saying.
    written: Option<&'static str>,
    /// `label: value` lines that say where: file, byte offset, command, key, shard.
    places: Vec<(&'static str, String)>,
    remedy: Option<String>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What a run has written that refuses its source or targets.
const NOTHING: &str = "nothing was written";

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `message` is one sentence without a full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), written: None, places: Vec::new(), remedy: None, source: None }
    }

    /// Adds the file that the error concerns.
    pub fn file(self, path: impl Into<PathBuf>) -> Self {
        let path: PathBuf = path.into();
        self.place("file", path.display().to_string())
    }

    /// Adds the byte offset in that file.
    pub fn offset(self, offset: u64) -> Self {
        self.place("byte", offset.to_string())
    }

    /// Adds the shard (its number in the topology, from 0) and its address.
    pub fn shard(self, shard: usize, address: impl fmt::Display) -> Self {
        self.place("shard", format!("{shard} ({address})"))
    }

    /// Adds the key of a command, unless it is empty.
    pub fn key(self, key: String) -> Self {
        if key.is_empty() { self } else { self.place("key", key) }
    }

    /// Names the shard where the target is named, for whoever knows its number.
    pub fn in_shard(mut self, shard: usize) -> Self {
        self.change(&|error| {
            for (label, value) in error.places.iter_mut().filter(|(label, _)| *label == "target") {
                (*label, *value) = ("shard", format!("{shard} ({value})"));
            }
        });
        self
    }

    /// Says that nothing was written.
    pub fn unwritten(mut self) -> Self {
        self.written = Some(NOTHING);
        self
    }

    /// Says `written` where it says that nothing was, for whoever knows more than the place that made it.
    pub fn wrote(mut self, written: &'static str) -> Self {
        self.change(&|error| {
            if error.written == Some(NOTHING) {
                error.written = Some(written);
            }
        });
        self
    }

    /// Changes it and the error of this type that caused it.
    fn change(&mut self, change: &dyn Fn(&mut Error)) {
        change(self);
        if let Some(cause) = self.source.as_mut().and_then(|source| source.downcast_mut::<Error>()) {
            cause.change(change);
        }
    }

    /// Adds any other labelled place, e.g. `command`, `key`, `found`, `expected`.
    pub fn place(mut self, label: &'static str, value: impl Into<String>) -> Self {
        self.places.push((label, value.into()));
        self
    }

    /// Says what the user can do.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Keeps the error that caused this one; its text is shown too.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind, which decides the exit code.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What happened, without what was written, places, cause and remedy.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// All of it in one line, for a warning.
    pub fn line(&self) -> String {
        self.to_string().replace("\n  ", "; ")
    }

    /// What happened and what was written, in one sentence.
    pub fn sentence(&self) -> String {
        match self.written {
            Some(written) => format!("{}; {written}", self.message),
            None => self.message.clone(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            // An error of this type has shown its own causes.
            let is_own = error.is::<Error>();
            write!(f, ": {}", if is_own { Cow::Borrowed(&*text) } else { clean(&text) })?;
            cause = if is_own { None } else { error.source() };
        }
        for (label, value) in &self.places {
            write!(f, "\n  {label}: {}", clean(value))?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  what to do: {remedy}")?;
        }
        Ok(())
    }
}

/// Text of others (a server's answer, a path) without what a terminal would obey.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

/// A command and its key, if it has one, in a line of a message.
pub fn command_and_key(command: &str, key: &str) -> String {
    if key.is_empty() { command.to_owned() } else { format!("{command} {key}") }
}

/// Shows bytes of a command or key in a message: printable ASCII as it is, the rest as `\xNN`, at
/// most `SHOWN_BYTES_MAX` bytes and then the length.
pub fn shown(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 64;
    let mut text = String::with_capacity(bytes.len().min(SHOWN_BYTES_MAX) + 2);
    for byte in bytes.iter().take(SHOWN_BYTES_MAX) {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(char::from(*byte)),
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    if bytes.len() > SHOWN_BYTES_MAX {
        text.push_str(&format!("… ({} bytes)", bytes.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_message_cause_places_and_remedy_in_this_order() {
        let error = Error::new(Kind::Source, "cannot read the source")
            .file("dump.aof")
            .offset(17)
            .remedy("check the path")
            .caused_by(std::io::Error::other("no luck"));
        assert_eq!(
            error.to_string(),
            "cannot read the source: no luck\n  file: dump.aof\n  byte: 17\n  what to do: check the path"
        );
    }

    #[test]
    fn what_others_say_cannot_move_the_cursor() {
        assert_eq!(clean("é\x1b[2J\r\n"), "é\\u{1b}[2J\\r\\n");
        assert!(matches!(clean("plain é"), Cow::Borrowed(_)));
        let error = Error::new(Kind::Target, "it says no").place("answer", "ERR \x1b[2J\nx");
        let error = error.caused_by(std::io::Error::other("\x07")).remedy("look");
        assert_eq!(error.to_string(), "it says no: \\u{7}\n  answer: ERR \\u{1b}[2J\\nx\n  what to do: look");
        assert_eq!(error.line(), "it says no: \\u{7}; answer: ERR \\u{1b}[2J\\nx; what to do: look");
    }

    #[test]
    fn causes_are_named_once() {
        let inner = Error::new(Kind::Local, "cannot write")
            .file("out")
            .remedy("make room")
            .caused_by(std::io::Error::other("no luck"));
        let error = Error::new(Kind::Target, "a target cannot be used").caused_by(inner);
        assert_eq!(
            error.to_string(),
            "a target cannot be used: cannot write: no luck\n  file: out\n  what to do: make room"
        );
    }

    #[test]
    fn what_is_known_later_is_put_in_everywhere() {
        let inner = Error::new(Kind::Stopped, "it refuses").place("target", "a:1").place("answer", "NOAUTH");
        let error = Error::new(Kind::Target, "unfit").unwritten().caused_by(inner).remedy("wait");
        assert_eq!(
            error.in_shard(2).wrote("nothing more was written").to_string(),
            "unfit; nothing more was written: it refuses\n  shard: 2 (a:1)\n  answer: NOAUTH\n  what to do: wait"
        );
    }

    #[test]
    fn shown_escapes_and_shortens() {
        assert_eq!(shown(b"a\\b\r\n\x00\xff"), "a\\\\b\\r\\n\\x00\\xff");
        assert!(shown(&[b'x'; 100]).ends_with("x… (100 bytes)"));
    }
}
