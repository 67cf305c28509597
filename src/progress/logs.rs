//! `tracing` on stderr, past the bars.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::screen;
use crate::config::Output;
use crate::report::color_on;

/// Prints this crate's log lines: `-v` information, `-vv` debug, `-vvv` all. Without `-v` none, not even
/// warnings, which have [`super::Notices`]. Only the first call counts.
pub fn logs(output: Output) {
    let level = level(output.verbosity);
    if output.quiet || level == LevelFilter::OFF {
        return;
    }
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Lines)
        .with_ansi(color_on(output.color, io::stderr().is_terminal()))
        .with_target(level > LevelFilter::INFO)
        .with_thread_names(level > LevelFilter::INFO);
    let own = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
    // It fails only if there is a subscriber already, which then has the lines.
    let _ = tracing_subscriber::registry().with(own).with(lines).try_init();
}

fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// Takes one event in one write, as the formatter gives it.
struct Lines;

impl Write for Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        screen::print(String::from_utf8_lossy(event).trim_end_matches('\n'));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_v_is_a_level() {
        let levels = [LevelFilter::OFF, LevelFilter::INFO, LevelFilter::DEBUG, LevelFilter::TRACE];
        assert_eq!([0, 1, 2, 9].map(level), levels);
    }
}
