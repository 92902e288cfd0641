//! Tests the command line as users run it.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "a panic fails the test")]

mod fingerprint;
mod help;
mod lint;
mod run;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

const BINARY: &str = env!("CARGO_BIN_EXE_keypair-operator");

struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The program, without environment variables inherited from the test.
fn program(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args);
    for (name, _) in std::env::vars() {
        if name.starts_with("KEYPAIR_OPERATOR_") || name.starts_with("KUBERNETES_") {
            command.env_remove(name);
        }
    }
    command
}

fn run_command(mut command: Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        // A program that needs no input may already have exited.
        scope.spawn(move || stdin.write_all(input.as_bytes()).ok());
        child.wait_with_output().unwrap()
    });
    Output {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn execute_with(args: &[&str], input: &str) -> Output {
    run_command(program(args), input)
}

fn execute(args: &[&str]) -> Output {
    execute_with(args, "")
}

/// A path in the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The content of a test vector.
fn vector(path: &str) -> String {
    fs::read_to_string(repository("tests/vectors").join(path)).unwrap()
}

/// Creates a file. Use each name only once.
fn file(name: &str, content: &str) -> String {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// Checks that the output repeats no part of the key in `body`.
fn assert_not_repeated(body: &str, output: &Output) {
    for line in body.lines().filter(|line| line.len() >= 24 && !line.starts_with("---")) {
        for start in (0..=line.len() - 16).step_by(8) {
            let part = &line[start..start + 16];
            assert!(!output.stdout.contains(part) && !output.stderr.contains(part), "{part} is repeated");
        }
    }
}
