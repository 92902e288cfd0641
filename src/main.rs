//! The `keypair-operator` program.

use std::process::ExitCode;

use clap::Parser;
use keypair_operator::app::{self, Args};
use zeroizing_alloc::ZeroAlloc;

/// Overwrites memory with zeros when it is freed. Private keys also pass through buffers of the JSON, HTTP and TLS libraries, which do
/// not zero them.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    app::execute(Args::parse())
}
