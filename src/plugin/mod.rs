//! `kubectl keypair`: the same program under the name `kubectl-keypair`, for people at a terminal.
//!
//! Each command is a file. It talks to the API server with the rights of the user, never to the operator: what it writes is a `KeyPair`,
//! or an annotation, and what it reads anybody with the role edit may read.

mod adopt;
pub mod args;
mod cluster;
mod completion;
mod create;
mod error;
mod output;
mod private;
mod public;
mod rotate;
mod ssh;
mod wait;
mod who;

use std::{
    ffi::{OsStr, OsString},
    io,
    path::Path,
    process::ExitCode,
};

use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};

pub use self::args::Args;
use self::{args::Command, cluster::Cluster, error::Error};

/// The name of the program, by which kubectl finds it.
const PLUGIN: &str = "kubectl-keypair";
/// The name under which kubectl asks for completions.
const COMPLETER: &str = "kubectl_complete-keypair";

/// What the program does under the name by which it was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The operator and its tools.
    Operator,
    /// `kubectl keypair`.
    Plugin,
    /// Completions for `kubectl keypair`.
    Completer,
}

impl Role {
    /// The role that the first argument of the process names.
    #[must_use]
    pub fn of(program: Option<&OsStr>) -> Self {
        let name = program.map(Path::new).and_then(Path::file_name).map(OsStr::to_string_lossy).unwrap_or_default();
        match name.strip_suffix(".exe").unwrap_or(&name) {
            PLUGIN => Self::Plugin,
            COMPLETER => Self::Completer,
            _ => Self::Operator,
        }
    }
}

/// Executes `kubectl keypair` with these arguments, of which the first is the name of the program.
///
/// The exit code is 0 on success, 1 if the command fails, 2 if the command line is invalid, 3 if a wait timed out, and for `ssh` that of
/// ssh.
#[must_use]
pub fn execute(args: Vec<OsString>) -> ExitCode {
    if args.get(1).is_some_and(|argument| argument == completion::ASK) {
        return complete(args.get(2..).unwrap_or_default());
    }
    let args = Args::parse_from(args);
    let is_ssh = matches!(args.command, Command::Ssh(_));
    match runtime().and_then(|runtime| runtime.block_on(run(args))) {
        Ok(code) => ExitCode::from(code),
        // The reader closed the pipe, as `| head` does: not an error.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("error: {error}"));
            ExitCode::from(if is_ssh { ssh::FAILED } else { error.exit_code() })
        }
    }
}

/// Prints the completions of the last of these words.
#[must_use]
pub fn complete(words: &[OsString]) -> ExitCode {
    // Without completions, the shell does nothing: messages would spoil the line.
    if let Ok(runtime) = runtime() {
        runtime.block_on(completion::complete(words));
    }
    ExitCode::SUCCESS
}

fn runtime() -> Result<Runtime, Error> {
    Builder::new_current_thread().enable_all().build().map_err(|error| Error::state(format!("cannot start: {error}")))
}

async fn run(args: Args) -> Result<u8, Error> {
    if let Command::Completion(args) = &args.command {
        return output::line(completion::script(args.shell).trim_end()).map(|()| 0);
    }
    let cluster = Cluster::connect(&args.global).await?;
    match &args.command {
        Command::Create(args) => create::create(&cluster, args).await?,
        Command::Public(args) => public::public(&cluster, args).await?,
        Command::Private(args) => private::private(&cluster, args).await?,
        Command::Ssh(args) => return ssh::ssh(&cluster, args).await,
        Command::Rotate(args) => rotate::rotate(&cluster, args).await?,
        Command::Who(args) => who::who(&cluster, args).await?,
        Command::Adopt(args) => adopt::adopt(&cluster, args).await?,
        Command::Completion(_) => {}
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_decides() {
        for (name, role) in [
            ("kubectl-keypair", Role::Plugin),
            ("/usr/local/bin/kubectl-keypair", Role::Plugin),
            ("kubectl-keypair.exe", Role::Plugin),
            ("bin/kubectl_complete-keypair", Role::Completer),
            ("keypair-operator", Role::Operator),
            ("/kubectl-keypair/keypair-operator", Role::Operator),
            ("kubectl-keypair2", Role::Operator),
            ("", Role::Operator),
        ] {
            assert_eq!(Role::of(Some(OsStr::new(name))), role, "{name}");
        }
        assert_eq!(Role::of(None), Role::Operator);
    }
}
