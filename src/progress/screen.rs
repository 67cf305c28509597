//! What stands on stderr, and how a line gets past it.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};

use super::write_line;
use crate::config::Output;
use crate::error::clean;
use crate::report::{Mood, color_on, painted};

/// The bars on stderr. A static because stderr is one for the process, and whoever logs a line knows
/// nothing of the load that is under way.
static BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// How often the bars are redrawn at most.
const REDRAWS_PER_S: u8 = 10;

/// Warnings that are kept for the report; what comes after them is only printed.
const WARNINGS_KEPT_MAX: usize = 100;

/// Makes room for bars; `None` if stderr is no terminal that can hold them.
pub fn raise() -> Option<MultiProgress> {
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_S));
    if bars.is_hidden() {
        return None;
    }
    *BARS.lock().unwrap_or_else(PoisonError::into_inner) = Some(bars.clone());
    Some(bars)
}

/// Forgets the bars.
pub fn lower() {
    *BARS.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Prints a line (or several) above the bars, or plainly where there are none.
pub fn print(text: &str) {
    // Held until the line is out: without it the bars could be taken down in between, and would be
    // drawn once more by a line that still knew them.
    let bars = BARS.lock().unwrap_or_else(PoisonError::into_inner);
    let printed = bars.as_ref().is_some_and(|bars| bars.println(text).is_ok());
    if !printed {
        write_line(&mut io::stderr(), text);
    }
}

/// Takes the bars away for good and prints a line, before the process ends.
pub fn print_last(text: &str) {
    if let Some(bars) = BARS.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // If the terminal is gone there is nothing to clear.
        let _ = bars.clear();
        bars.set_draw_target(ProgressDrawTarget::hidden());
    }
    write_line(&mut io::stderr(), text);
}

/// Prints warnings past the bars and keeps them for the report. Clones share one list.
#[derive(Debug, Clone)]
pub struct Notices {
    quiet: bool,
    color: bool,
    kept: Arc<Mutex<Vec<String>>>,
}

impl Notices {
    /// Notices that are printed unless `output` is quiet; the report has them in any case.
    pub fn new(output: Output) -> Notices {
        let color = color_on(output.color, io::stderr().is_terminal());
        Notices { quiet: output.quiet, color, kept: Arc::default() }
    }

    /// Warns of something that does not end the load.
    pub fn warn(&self, text: impl AsRef<str>) {
        // A warning may quote a server's answer, which must not reach the terminal as it is.
        let text = clean(text.as_ref());
        if !self.quiet {
            print(&format!("{} {text}", painted("warning:", Mood::Doubtful, self.color)));
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < WARNINGS_KEPT_MAX {
            kept.push(text.into_owned());
        }
    }

    /// The warnings so far, at most the first 100.
    pub fn warnings(&self) -> Vec<String> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
