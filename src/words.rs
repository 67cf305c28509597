//! The words of a line, split as servers split their files of options (`sdssplitargs`, sds.c).

/// The words: parted by space, with "double quotes" and escapes or 'single quotes', which end a word. `None` if quotes
/// are unbalanced.
pub fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let start = rest.iter().position(|byte| !is_space(*byte));
        let Some(start) = start else { return Some(words) };
        rest = &rest[start..];
        let is_end = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0 | b'"' | b'\'');
        let end = rest.iter().position(is_end).unwrap_or(rest.len());
        let mut word = rest[..end].to_vec();
        rest = &rest[end..];
        if let Some(&quote @ (b'"' | b'\'')) = rest.first() {
            rest = quoted(&rest[1..], quote, &mut word)?;
            if rest.first().is_some_and(|byte| !is_space(*byte)) {
                return None;
            }
        }
        words.push(word);
        if rest.first() == Some(&0) {
            return Some(words);
        }
    }
}

/// Space as the C library has it.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Appends what stands in quotes; gives what follows them.
fn quoted<'t>(text: &'t [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'t [u8]> {
    let mut at = 0;
    loop {
        match (*text.get(at)?, text.get(at + 1)) {
            (b'\\', Some(b'x')) if quote == b'"' && text.len() > at + 3 && is_hex(&text[at + 2..at + 4]) => {
                let digits = std::str::from_utf8(&text[at + 2..at + 4]).ok()?;
                word.push(u8::from_str_radix(digits, 16).ok()?);
                at += 3;
            }
            (b'\\', Some(&escaped)) if quote == b'"' => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                at += 1;
            }
            (b'\\', Some(b'\'')) if quote == b'\'' => {
                word.push(b'\'');
                at += 1;
            }
            (byte, _) if byte == quote => return Some(&text[at + 1..]),
            (byte, _) => word.push(byte),
        }
        at += 1;
    }
}

fn is_hex(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_quotes() {
        let split = |line: &str| {
            words(line.as_bytes())
                .map(|words| words.iter().map(|word| word.escape_ascii().to_string()).collect())
        };
        let cases: [(&str, Option<Vec<String>>); 9] = [
            ("", Some(vec![])),
            ("  a\t bc ", Some(vec!["a".into(), "bc".into()])),
            ("\"a b\" 'c\\'d' \"\\x41\\n\"", Some(vec!["a b".into(), "c\\'d".into(), "A\\n".into()])),
            ("name=\"l\" x", Some(vec!["name=l".into(), "x".into()])),
            ("''", Some(vec![String::new()])),
            ("a\0b", Some(vec!["a".into()])),
            ("\"a\"b", None),
            ("a\"b", None),
            ("'a", None),
        ];
        for (line, expected) in cases {
            assert_eq!(split(line), expected, "{line:?}");
        }
    }
}
