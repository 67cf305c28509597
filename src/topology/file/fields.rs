//! Reading the fields of a TOML table: none unknown, each of its type, every error with its place.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::tls_refused;
use super::Environment;
use crate::error::{Error, Kind, Result, shown};

/// How many letters a misspelt field may be away from the one that is suggested.
const TYPO_EDITS_MAX: usize = 2;
/// How a replica set is written.
pub(super) const SET_FORM: &str = "a table that starts with [[replica_set]]";

/// What every step needs to read values and to say where they stand.
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a Path,
    pub(super) environment: Environment<'a>,
}

impl<'a> Document<'a> {
    /// `table` as fields, once it is certain that it holds none but `known` ones.
    pub(super) fn open(
        &'a self,
        name: &'static str,
        known: &'static [&'static str],
        table: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Result<Fields<'a>> {
        let stranger = table
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
            .min_by_key(|key| key.span().start);
        let Some(key) = stranger else { return Ok(Fields { document: self, name, table, span }) };
        let text = key.get_ref().as_ref();
        let error = if text.starts_with("tls") {
            tls_refused()
        } else {
            let list = known.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ");
            let nearest = known.iter().map(|field| (edits(text, field), field)).min();
            let remedy = match nearest {
                // At least half of the field must be there: `foo` is no misspelt `aof`.
                Some((distance, field)) if distance <= TYPO_EDITS_MAX.min(field.len() / 2) => {
                    format!("did you mean `{field}`? {name} takes {list}")
                }
                _ => format!("{name} takes {list}"),
            };
            Error::new(Kind::Usage, format!("unknown field `{}` in {name}", shown(text.as_bytes())))
                .remedy(remedy)
        };
        Err(self.locate(error, key.span()))
    }

    /// Adds file, line and column to `error`.
    pub(super) fn locate(&self, error: Error, span: Range<usize>) -> Error {
        let (line, column) = self.line_and_column(span.start);
        error.file(self.path).place("line", format!("{line}, column {column}"))
    }

    /// Both counted from 1, as editors do.
    pub(super) fn line_and_column(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count());
        (before.matches('\n').count() + 1, column + 1)
    }
}

/// A table of the document whose field names are known to be right.
pub(super) struct Fields<'a> {
    pub(super) document: &'a Document<'a>,
    pub(super) name: &'static str,
    table: &'a DeTable<'a>,
    pub(super) span: Range<usize>,
}

impl<'a> Fields<'a> {
    pub(super) fn get(&self, field: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(field)
    }

    /// A usage error about `value`.
    pub(super) fn error(
        &self,
        message: impl Into<String>,
        span: Range<usize>,
        remedy: impl Into<String>,
    ) -> Error {
        self.document.locate(Error::new(Kind::Usage, message), span).remedy(remedy)
    }

    /// The error for a value of another type. It does not repeat the value: that may be a password.
    pub(super) fn mistyped(&self, field: &str, value: &Spanned<DeValue<'_>>, form: &str) -> Error {
        let message = format!("`{field}` in {} is {}", self.name, kind_of(value.get_ref()));
        self.error(message, value.span(), format!("`{field}` must be {form}"))
    }

    pub(super) fn table(&self, field: &str) -> Result<Option<(&'a DeTable<'a>, Range<usize>)>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(table) => Ok(Some((table, value.span()))),
            _ => Err(self.mistyped(field, value, "a table")),
        }
    }

    pub(super) fn array(&self, field: &str) -> Result<Vec<&'a Spanned<DeValue<'a>>>> {
        let Some(value) = self.get(field) else { return Ok(Vec::new()) };
        match value.get_ref() {
            DeValue::Array(items) => Ok(items.iter().collect()),
            _ if field == "replica_set" => Err(self.mistyped(field, value, SET_FORM)),
            _ => Err(self.mistyped(field, value, "an array of addresses")),
        }
    }

    /// A text that is not empty, and where it stands.
    pub(super) fn text(&self, field: &str) -> Result<Option<(&'a str, Range<usize>)>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.get_ref() {
            DeValue::String(text) if text.is_empty() => Err(self.error(
                format!("`{field}` in {} is empty", self.name),
                value.span(),
                format!("give `{field}` a value, or remove the line"),
            )),
            DeValue::String(text) => Ok(Some((text.as_ref(), value.span()))),
            _ => Err(self.mistyped(field, value, "a string in quotes")),
        }
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The number of letters to insert, delete or replace to turn `a` into `b`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut beside = i + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = *cell;
            *cell = replaced.min(diagonal + 1).min(beside + 1);
            beside = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
