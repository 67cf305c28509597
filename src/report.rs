//! What a run found and did, as text for people and as JSON for programs. Writes nothing itself.

mod abandon;
pub mod human;
mod load;
mod load_text;
mod survey;
mod table;
mod values;

pub use abandon::{AbandonReport, Tidied};
pub use load::{
    DroppedTail, IgnoredError, LeftOut, LoadReport, Occurrence, Outcome, Place, Replicas, ShardReport, Times,
};
pub use survey::SurveyReport;
pub(crate) use table::{Mood, painted};

use crate::cli::Color;

/// Whether to colour what goes to a stream that is a terminal or not. NO_COLOR has its say where the
/// command line is read.
pub fn color_on(color: Color, is_terminal: bool) -> bool {
    match color {
        Color::Auto => is_terminal,
        Color::Always => true,
        Color::Never => false,
    }
}
