//! User names and passwords: from the file, a file that it names, or the environment; never from argv.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;

use super::super::{Credentials, Secret};
use super::fields::Fields;
use super::{Environment, PASSWORD_VARIABLE, USERNAME_VARIABLE, read_text};
use crate::error::{Error, Kind, Result};

/// Far more than a password is; it keeps a wrong path, a device say, from filling the memory.
const PASSWORD_BYTES_MAX: usize = 64 << 10;
/// What one table says about logging in.
#[derive(Default)]
pub(super) struct Login {
    username: Option<String>,
    password: Option<Secret>,
}

impl Login {
    pub(super) fn of(fields: &Fields<'_>) -> Result<Login> {
        let username = fields.text("username")?.map(|(name, _)| name.to_owned());
        let forms = ["password_env", "password_file", "password"];
        let given: Vec<_> = forms.into_iter().filter(|form| fields.get(form).is_some()).collect();
        if let [first, second, ..] = given[..] {
            let span = fields.get(second).map(Spanned::span).unwrap_or_default();
            let message = format!("{} has both `{first}` and `{second}`", fields.name);
            return Err(fields.error(message, span, "say once where the password is"));
        }
        let mut password = None;
        if let Some((name, span)) = fields.text("password_env")? {
            password = Some(password_from_environment(fields, name, span)?);
        } else if let Some((path, span)) = fields.text("password_file")? {
            password = Some(password_from_file(fields, Path::new(path), span)?);
        } else if let Some((text, _)) = fields.text("password")? {
            password = Some(Secret::new(text));
        }
        Ok(Login { username, password })
    }

    /// What is missing here is taken from `defaults`.
    pub(super) fn or(self, defaults: &Login) -> Login {
        Login {
            username: self.username.or_else(|| defaults.username.clone()),
            password: self.password.or_else(|| defaults.password.clone()),
        }
    }

    /// What is missing still is taken from the environment.
    pub(super) fn credentials(self, set: &Fields<'_>) -> Result<Option<Credentials>> {
        let environment = set.document.environment;
        let password = match self.password {
            None => variable(environment, PASSWORD_VARIABLE)?.map(Secret::new),
            given => given,
        };
        let username = match self.username {
            None => variable(environment, USERNAME_VARIABLE)?,
            given => given,
        };
        match (username, password) {
            (username, Some(password)) => Ok(Some(Credentials { username, password })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(set.error(
                "a [[replica_set]] has a user name but no password",
                set.span.clone(),
                format!(
                    "give `password_env` or `password_file` in it or in [auth], or set {PASSWORD_VARIABLE}"
                ),
            )),
        }
    }
}

/// For an address that stands in no file.
pub(super) fn from_environment(environment: Environment<'_>) -> Result<Option<Credentials>> {
    let username = variable(environment, USERNAME_VARIABLE)?;
    let password = variable(environment, PASSWORD_VARIABLE)?.map(Secret::new);
    if username.is_some() && password.is_none() {
        return Err(Error::new(Kind::Usage, format!("{USERNAME_VARIABLE} is set, but no password"))
            .remedy(format!("set {PASSWORD_VARIABLE} as well")));
    }
    Ok(password.map(|password| Credentials { username, password }))
}

/// An empty variable counts as unset.
fn variable(environment: Environment<'_>, name: &str) -> Result<Option<String>> {
    match environment(name).filter(|value| !value.is_empty()) {
        None => Ok(None),
        Some(value) => value.into_string().map(Some).map_err(|_| not_utf8(name)),
    }
}

fn not_utf8(variable: &str) -> Error {
    Error::new(Kind::Usage, format!("the environment variable `{variable}` is not UTF-8"))
        .remedy("set it to text in UTF-8")
}

fn password_from_environment(fields: &Fields<'_>, name: &str, span: Range<usize>) -> Result<Secret> {
    // What is no name may be the password itself, so it is not repeated.
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !name.bytes().all(letter) || name.starts_with(|first: char| first.is_ascii_digit()) {
        let message = format!("`password_env` in {} is not the name of an environment variable", fields.name);
        return Err(fields.error(message, span, "name the variable that holds the password"));
    }
    match (fields.document.environment)(name) {
        Some(value) if !value.is_empty() => match value.into_string() {
            Ok(text) => Ok(Secret::new(text)),
            Err(_) => Err(fields.document.locate(not_utf8(name), span)),
        },
        found => {
            let state = if found.is_some() { "empty" } else { "not set" };
            let message = format!("the environment variable `{name}` that holds the password is {state}");
            Err(fields.error(message, span, "export it, or use `password_file`"))
        }
    }
}

/// The file's text without the one line end that editors and `echo` add.
fn password_from_file(fields: &Fields<'_>, path: &Path, span: Range<usize>) -> Result<Secret> {
    let text = read_text(path, PASSWORD_BYTES_MAX).map_err(|error| {
        let message = format!("cannot read the password file `{}`", path.display());
        fields
            .error(message, span.clone(), "check the path, which is relative to the current directory")
            .caused_by(error)
    })?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        let message = format!("the password file `{}` is empty", path.display());
        return Err(fields.error(message, span, "write the password into it, on one line"));
    }
    Ok(Secret::new(line))
}
