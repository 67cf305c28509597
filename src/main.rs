//! Parses the command line, runs, and turns the outcome into an exit code.

use std::io::Write;
use std::process::ExitCode;

use redcluster_load::config::Job;
use redcluster_load::error::{Error, Kind};
use redcluster_load::signals::Signals;
use redcluster_load::sink::Stop;
use redcluster_load::{cli, job, progress};

fn main() -> ExitCode {
    let arguments = match cli::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed stdout or stderr leaves nobody to tell.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    if let Some(shell) = arguments.completions {
        return told(cli::write_completions(shell, &mut std::io::stdout()));
    }
    if arguments.man {
        return told(cli::write_man(&mut std::io::stdout()));
    }
    let stop = Stop::default();
    let signals = match Signals::watch(&stop, arguments.quiet) {
        Ok(signals) => signals,
        Err(error) => {
            return failed(&Error::new(Kind::Local, "cannot watch for signals").caused_by(error));
        }
    };
    let plan = match Job::from_args(&arguments) {
        Ok(plan) => plan,
        Err(error) => return failed(&error),
    };
    progress::logs(plan.output);
    let ended = job::run(&plan, &stop);
    signals.rest();
    if let Some(output) = ended.output {
        let _ = writeln!(std::io::stdout(), "{}", output.trim_end());
    }
    match ended.error {
        Some(error) => failed(&error),
        None => ExitCode::SUCCESS,
    }
}

fn told(result: std::io::Result<()>) -> ExitCode {
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn failed(error: &Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(error.kind().exit_code())
}
