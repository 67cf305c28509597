//! Reads replies as they come in, piece by piece, without keeping the values that nobody looks at.

use memchr::memchr;

/// The reply to every command of a transaction before its EXEC.
const QUEUED: &[u8] = b"+QUEUED\r\n";

/// The head of a reply; the bytes of a bulk string are passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// `+…`
    Simple(Vec<u8>),
    /// `-…`
    Error(Vec<u8>),
    /// `:…`
    Integer(i64),
    /// `$…`, with or without a value.
    Bulk,
    /// `*n`; `None` for the nil that EXEC answers when a watched key was touched.
    Array(Option<u64>),
}

/// A reply that is kept whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// A bulk string; `None` for nil.
    Value(Option<Vec<u8>>),
    /// `-…`
    Error(Vec<u8>),
}

/// Bytes that have come and not been looked at.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// Bytes at the front that have been looked at.
    used: usize,
    /// Bytes to pass over: the rest of a bulk string.
    skip: u64,
}

/// The server sent something that is not a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent something that is not a reply")]
pub struct NotAReply;

impl Inbox {
    /// Adds bytes that have come.
    pub fn push(&mut self, bytes: &[u8]) {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        if self.used == self.bytes.len() && skipped > 0 {
            // Nothing is kept of large values.
            self.skip -= skipped as u64;
            return self.push(&bytes[skipped..]);
        }
        if self.used > 0 && (self.used == self.bytes.len() || self.used > 1 << 16) {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Passes over up to `most` replies that say QUEUED; how many there were.
    pub fn queued(&mut self, most: usize) -> usize {
        if !self.skip_rest() {
            return 0;
        }
        let waiting = self.bytes.get(self.used..).unwrap_or_default();
        let count =
            waiting.chunks_exact(QUEUED.len()).take(most).take_while(|reply| *reply == QUEUED).count();
        self.used += count * QUEUED.len();
        count
    }

    /// Passes over up to `most` replies that are numbers or simple strings; how many there were.
    pub fn plain(&mut self, most: usize) -> usize {
        if !self.skip_rest() {
            return 0;
        }
        let mut waiting = self.bytes.get(self.used..).unwrap_or_default();
        let mut count = 0;
        while count < most && matches!(waiting.first(), Some(b':' | b'+')) {
            let Some(end) = waiting.iter().position(|byte| *byte == b'\n') else { break };
            if waiting[..end].last() != Some(&b'\r') {
                break;
            }
            waiting = &waiting[end + 1..];
            count += 1;
        }
        self.used = self.bytes.len() - waiting.len();
        count
    }

    /// The next reply's head, if it has come whole.
    pub fn token(&mut self) -> Result<Option<Token>, NotAReply> {
        if !self.skip_rest() {
            return Ok(None);
        }
        let waiting = self.bytes.get(self.used..).unwrap_or_default();
        let Some(end) = memchr(b'\n', waiting) else { return Ok(None) };
        let line = waiting[..end].strip_suffix(b"\r").ok_or(NotAReply)?;
        let (kind, rest) = line.split_first().ok_or(NotAReply)?;
        let token = match kind {
            b'+' => Token::Simple(rest.to_vec()),
            b'-' => Token::Error(rest.to_vec()),
            b':' => Token::Integer(number(rest)?),
            b'$' => {
                if let Ok(len) = u64::try_from(number(rest)?) {
                    self.skip = len + 2;
                }
                Token::Bulk
            }
            b'*' => Token::Array(u64::try_from(number(rest)?).ok()),
            _ => return Err(NotAReply),
        };
        self.used += end + 1;
        Ok(Some(token))
    }

    /// The next reply, a bulk string or an error, if it has come whole.
    pub fn text(&mut self) -> Result<Option<Text>, NotAReply> {
        let before = self.used;
        match self.token()? {
            None => Ok(None),
            Some(Token::Error(text)) => Ok(Some(Text::Error(text))),
            Some(Token::Bulk) if self.skip == 0 => Ok(Some(Text::Value(None))),
            Some(Token::Bulk) => {
                let len = usize::try_from(self.skip).map_err(|_| NotAReply)?;
                let start = self.used;
                if self.bytes.len() - start < len {
                    (self.used, self.skip) = (before, 0);
                    return Ok(None);
                }
                self.skip_rest();
                Ok(Some(Text::Value(Some(self.bytes[start..start + len - 2].to_vec()))))
            }
            Some(_) => Err(NotAReply),
        }
    }

    /// Passes over what remains of a bulk string; false if not all of it has come.
    fn skip_rest(&mut self) -> bool {
        let have = self.bytes.len() - self.used;
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(have);
        self.used += skipped;
        self.skip -= skipped as u64;
        self.skip == 0
    }
}

fn number(text: &[u8]) -> Result<i64, NotAReply> {
    crate::command::integer(text).ok_or(NotAReply)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: &[u8] =
        b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*4\r\n:-1\r\n$5\r\n+a\r\nb\r\n$-1\r\n-ERR no\r\n*-1\r\n";

    fn tokens() -> Vec<Token> {
        vec![
            Token::Simple(b"OK".to_vec()),
            Token::Array(Some(4)),
            Token::Integer(-1),
            Token::Bulk,
            Token::Bulk,
            Token::Error(b"ERR no".to_vec()),
            Token::Array(None),
        ]
    }

    #[test]
    fn replies_are_the_same_in_pieces_of_any_size() {
        for size in 1..=REPLIES.len() {
            let (mut inbox, mut seen, mut queued) = (Inbox::default(), Vec::new(), 0);
            for piece in REPLIES.chunks(size) {
                inbox.push(piece);
                loop {
                    if seen.len() == 1 && queued < 2 {
                        let more = inbox.queued(2 - queued);
                        queued += more;
                        if queued < 2 {
                            break;
                        }
                    }
                    match inbox.token().expect("replies") {
                        Some(token) => seen.push(token),
                        None => break,
                    }
                }
            }
            assert_eq!((seen, queued), (tokens(), 2), "pieces of {size}");
        }
    }

    #[test]
    fn large_values_are_not_kept() {
        let mut inbox = Inbox::default();
        inbox.push(b"$1000000\r\n");
        assert_eq!(inbox.token(), Ok(Some(Token::Bulk)));
        for _ in 0..1000 {
            inbox.push(&[b'x'; 1000]);
        }
        inbox.push(b"\r\n:7\r\n");
        assert!(inbox.bytes.len() < 2000);
        assert_eq!(inbox.token(), Ok(Some(Token::Integer(7))));
    }
}
