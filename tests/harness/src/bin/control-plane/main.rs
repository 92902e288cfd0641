//! Runs a Kubernetes control plane on loopback for as long as somebody wants it.
//!
//! It prints one line of JSON (see `keypair_test_harness::Ready`) when all is ready, and ends the servers and removes
//! their directory when its standard input ends or it is interrupted. Progress goes to standard error.

mod assets;
mod credentials;
mod plane;
mod server;
mod servers;
mod stop;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use keypair_test_harness::{PUT_BACK, RESTART_APISERVER, RESTARTED, SAVE};
use tokio::sync::mpsc;

use assets::Assets;
use plane::Plane;

/// Runs a Kubernetes control plane on loopback until standard input ends.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Commands>,
    #[command(flatten)]
    run: Run,
}

#[derive(Args)]
struct Run {
    /// The directory of etcd, kube-apiserver, kube-controller-manager and kubectl [default: what hack/controlplane.sh
    /// builds]
    #[arg(long, value_name = "DIR", env = "KUBEBUILDER_ASSETS")]
    assets: Option<PathBuf>,
    /// Log every request
    #[arg(long)]
    audit: bool,
    /// Install these definitions of custom resources before the controllers start (repeatable)
    #[arg(long, value_name = "FILE|DIR")]
    crds: Vec<PathBuf>,
    /// Switch features of the API server on or off, as its own flag does: `Name=true|false,…`
    #[arg(long, value_name = "GATES")]
    feature_gates: Option<String>,
    /// Run until SIGINT, SIGTERM or SIGHUP, whatever becomes of standard input
    #[arg(long)]
    until_signal: bool,
}

#[derive(Subcommand)]
enum Commands {
    /// Wait for the end of standard input; then kill a process and remove a directory, unless told that all is well
    #[command(hide = true)]
    Watch(watch::Watch),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Commands::Watch(watch)) => watch.run(),
        None => run(&cli.run),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("control-plane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(options: &Run) -> Result<()> {
    let (sender, commands) = mpsc::unbounded_channel();
    let mut stop = std::pin::pin!(stop::requested(options.until_signal, sender)?);

    let assets = tokio::select! {
        assets = Assets::find(options.assets.as_deref()) => assets?,
        why = &mut stop => bail!("{why} before there was anything to run"),
    };

    // Whatever happens from here on, the servers are ended and the directory is removed.
    let begin = Instant::now();
    let mut plane = Plane::new(assets, options.audit, options.feature_gates.clone())?;
    let outcome = tokio::select! {
        outcome = serve(&mut plane, &options.crds, begin, commands) => outcome,
        _ = &mut stop => Ok(()),
    };
    plane.end().await.and(outcome)
}

/// Starts `plane`, restarts its servers when a command says so, and returns when one of its servers has ended.
async fn serve(
    plane: &mut Plane,
    crds: &[PathBuf],
    begin: Instant,
    mut commands: mpsc::UnboundedReceiver<String>,
) -> Result<()> {
    let ready = plane.start(crds).await?;
    eprintln!(
        "control-plane: {} ready at {} after {:.1} s",
        ready.pids.keys().cloned().collect::<Vec<_>>().join(", "),
        ready.url,
        begin.elapsed().as_secs_f32()
    );
    println!("{}", serde_json::to_string(&ready).context("print")?);
    loop {
        let command = tokio::select! {
            error = plane.broken() => return Err(error),
            Some(command) = commands.recv() => command,
        };
        match command.split_once('=') {
            None if command == RESTART_APISERVER => plane.restart_apiserver(&ready.url).await?,
            Some((SAVE, name)) => plane.save(name, &ready.url).await?,
            Some((PUT_BACK, name)) => plane.put_back(name, &ready.url).await?,
            _ => continue,
        }
        println!("{RESTARTED}");
    }
}
