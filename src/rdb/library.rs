//! Libraries of functions: their first line (`functionExtractLibMetaData`, functions.c).

use crate::words::words;

/// The name in the first line of a library, `#!lua name=NAME`. What a server refuses in that line is an error that says
/// what it would take; so is a library without any code, which registers no function. The code itself is not looked at.
pub fn name(library: &[u8]) -> Result<Vec<u8>, &'static str> {
    const FIRST_LINE: &str = "a library of functions that begins with a line like #!lua name=NAME";
    // The line ends where C has the text end, too.
    let end = library.iter().position(|byte| matches!(byte, b'\n' | 0)).ok_or(FIRST_LINE)?;
    let (line, code) = library.split_at_checked(end).ok_or(FIRST_LINE)?;
    if !line.starts_with(b"#!") || code.first() != Some(&b'\n') {
        return Err(FIRST_LINE);
    }
    let words = words(line).ok_or(FIRST_LINE)?;
    let (engine, options) = words.split_first().ok_or(FIRST_LINE)?;
    let [option] = options else { return Err(FIRST_LINE) };
    let name = match option.split_at_checked(5) {
        Some((key, name)) if key.eq_ignore_ascii_case(b"name=") => name,
        _ => return Err(FIRST_LINE),
    };
    if !engine.get(2..).is_some_and(|engine| engine.eq_ignore_ascii_case(b"lua")) {
        return Err("a library of functions in Lua");
    }
    if name.is_empty() || !name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return Err("a library of functions whose name has letters, digits and underscores only");
    }
    if code.trim_ascii().is_empty() {
        return Err("a library that registers a function");
    }
    Ok(name.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_stands_in_the_first_line() {
        for line in ["#!lua name=l_1", "#!LUA   NAME=l_1  ", "#!lua name=\"l_1\"", "#!lua name=l_1\r"] {
            assert_eq!(name(format!("{line}\ncode").as_bytes()), Ok(b"l_1".to_vec()), "{line:?}");
        }
    }

    #[test]
    fn what_a_server_refuses_is_refused() {
        for library in [
            "",
            "return 1",
            "#!lua name=l",
            "#!lua name=l\n",
            "#!lua name=l\n \n",
            "#!lua\ncode",
            "#!js name=l\ncode",
            "#! lua name=l\ncode",
            "#!lua name=\ncode",
            "#!lua name=l-1\ncode",
            "#!lua name=l name=m\ncode",
            "#!lua name=l other=m\ncode",
            "#!lua name=\"l\ncode",
            "#!lua name=l\0\ncode",
        ] {
            assert!(name(library.as_bytes()).is_err(), "{library:?}");
        }
    }
}
