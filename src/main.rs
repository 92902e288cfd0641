//! The `keypair-operator` program, which is `kubectl keypair` under the name `kubectl-keypair`.

use std::{env, ffi::OsString, process::ExitCode};

use clap::Parser;
use keypair_operator::{
    app::{self, Args},
    plugin::{self, Role},
};
use zeroizing_alloc::ZeroAlloc;

/// Overwrites memory with zeros when it is freed. Private keys also pass through buffers of the JSON, HTTP and TLS libraries, which do
/// not zero them.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    match Role::of(arguments.first().map(OsString::as_os_str)) {
        Role::Operator => app::execute(Args::parse_from(arguments)),
        Role::Plugin => plugin::execute(arguments),
        Role::Completer => plugin::complete(arguments.get(1..).unwrap_or_default()),
    }
}
