//! The report of `--abandon`: what was done to each target.

use serde::Serialize;
use serde_json::{Value, json};

/// The first word of the JSON; a change of its fields changes the number.
const FORMAT: &str = "redcluster-load-abandon/1";

/// What was done to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tidied {
    /// Nothing: it holds no marker.
    Untouched,
    /// A server's deadlines were put right, and its marker removed; its keys are still there.
    PutRight,
    /// The files of a directory from which no server could have started were removed.
    FilesRemoved,
    /// All that a load had put on a scratch server was removed.
    Emptied,
}

impl Tidied {
    fn text(self) -> &'static str {
        match self {
            Tidied::Untouched => "no marker, nothing to put right",
            Tidied::PutRight => "deadlines put right, marker removed",
            Tidied::FilesRemoved => "unfinished files removed",
            Tidied::Emptied => "emptied",
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct AbandonReport {
    /// Targets, in their order, and what was done to each.
    pub targets: Vec<(String, Tidied)>,
    /// Whether a load was under way.
    pub was_under_way: bool,
}

impl AbandonReport {
    /// Whether any target was changed.
    pub fn has_tidied(&self) -> bool {
        self.targets.iter().any(|(_, tidied)| *tidied != Tidied::Untouched)
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let end = if self.was_under_way {
            "the load is abandoned; what it had written stays in the servers"
        } else {
            "no load is under way; nothing was changed"
        };
        let lines = self.targets.iter().map(|(name, tidied)| format!("{name}: {}\n", tidied.text()));
        lines.collect::<String>() + end
    }

    /// The report for programs.
    pub fn json(&self) -> Value {
        let targets = self.targets.iter().map(|(name, tidied)| json!({ "target": name, "done": tidied }));
        json!({
            "format": FORMAT,
            "outcome": if self.was_under_way { "abandoned" } else { "nothing_to_abandon" },
            "targets": targets.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let targets = vec![("a:1".to_owned(), Tidied::PutRight), ("out".to_owned(), Tidied::FilesRemoved)];
        let report = AbandonReport { targets, was_under_way: true };
        insta::assert_snapshot!(report.text(), @"
        a:1: deadlines put right, marker removed
        out: unfinished files removed
        the load is abandoned; what it had written stays in the servers
        ");
        insta::assert_snapshot!(report.json(), @r#"{"format":"redcluster-load-abandon/1","outcome":"abandoned","targets":[{"done":"put_right","target":"a:1"},{"done":"files_removed","target":"out"}]}"#);
        let nothing =
            AbandonReport { targets: vec![("a:1".to_owned(), Tidied::Untouched)], was_under_way: false };
        assert!(!nothing.has_tidied());
        insta::assert_snapshot!(nothing.text(), @"
        a:1: no marker, nothing to put right
        no load is under way; nothing was changed
        ");
    }
}
