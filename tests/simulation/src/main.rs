//! Runs random histories from seeds, and shortens the first one that breaks a guarantee.

use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Parser;
use keypair_simulation::{
    history::{self, History},
    run::run,
};

/// Run the operator through random histories, each from a seed, and check its guarantees.
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Parser)]
struct Args {
    /// Number of histories to run.
    #[arg(long, default_value_t = 100)]
    histories: u64,
    /// Seed of the first history; each further history adds one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of histories to run concurrently.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Run only these steps of the history, by number, to reproduce a shortened history.
    #[arg(long, value_delimiter = ',')]
    steps: Vec<usize>,
    /// Print every request of the first history.
    #[arg(long)]
    trace: bool,
    /// Skip histories that restore the store from a snapshot.
    #[arg(long)]
    no_snapshots: bool,
    /// Run all histories, even after a failure, and shorten none.
    #[arg(long)]
    all: bool,
    /// Stop at the first failure without shortening it.
    #[arg(long, conflicts_with = "all")]
    first: bool,
    /// Skip the histories of these seeds.
    #[arg(long, value_delimiter = ',')]
    except: Vec<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.trace || !args.steps.is_empty() {
        return run_one(&args);
    }
    let started = Instant::now();
    let (next, failed, done) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
    let output = Mutex::new(());
    thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| {
                while args.all || !failed.load(Ordering::Acquire) {
                    let number = next.fetch_add(1, Ordering::AcqRel);
                    if number >= args.histories {
                        return;
                    }
                    let seed = args.seed.wrapping_add(number);
                    if args.except.contains(&seed) {
                        continue;
                    }
                    let history = history::draw(seed);
                    if args.no_snapshots && history.is_restored() {
                        continue;
                    }
                    let violations = run(&history, false).violations;
                    done.fetch_add(1, Ordering::AcqRel);
                    if violations.is_empty() {
                        continue;
                    }
                    let was_first = !failed.swap(true, Ordering::AcqRel);
                    if args.all || args.first && was_first {
                        println!(
                            "seed {}: {}",
                            history.seed,
                            violations
                                .iter()
                                .map(|violation| violation.get(..300).unwrap_or(violation))
                                .collect::<Vec<_>>()
                                .join("\n    ")
                        );
                    } else if was_first && !args.first {
                        let _output = output.lock().unwrap_or_else(PoisonError::into_inner);
                        report(&history, &violations);
                    }
                }
            });
        }
    });
    let (done, seconds) = (done.into_inner(), started.elapsed().as_secs_f64());
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    let rate = done as f64 / seconds * 60.0;
    println!("{done} histories in {seconds:.1} s ({rate:.0} per minute), from seed {}", args.seed);
    if failed.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs one history, reduced to `--steps`.
fn run_one(args: &Args) -> ExitCode {
    let mut history = history::draw(args.seed);
    if !args.steps.is_empty() {
        let steps = history.steps.into_iter().enumerate().filter(|(number, _)| args.steps.contains(number));
        history.steps = steps.map(|(_, step)| step).collect();
    }
    let outcome = run(&history, args.trace);
    print!("{history}");
    outcome.trace.iter().for_each(|line| println!("{line}"));
    outcome.violations.iter().for_each(|violation| println!("{violation}"));
    println!("{} violations after {:?} of simulated time", outcome.violations.len(), outcome.lasted);
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Shortens a failed history, and prints it as a script.
fn report(history: &History, violations: &[String]) {
    println!("seed {} breaks a guarantee:\n    {}", history.seed, violations.join("\n    "));
    // A shorter history with a different violation would be a different fault.
    let kind = violations.first().map(|violation| kind(violation)).unwrap_or_default();
    let fails =
        |shorter: &History| run(shorter, false).violations.iter().any(|violation| self::kind(violation) == kind);
    let shortened = history::shorten(history, fails);
    let numbers: Vec<String> = shortened
        .steps
        .iter()
        .filter_map(|step| history.steps.iter().position(|other| other == step))
        .map(|number| number.to_string())
        .collect();
    println!("shortened:\n{shortened}    {}", run(&shortened, false).violations.join("\n    "));
    println!(
        "reproduce with: cargo run -p keypair-simulation --profile simulation -- --seed {} --steps {} --trace",
        history.seed,
        numbers.join(",")
    );
}

/// The kind of a violation: its message without names and numbers.
fn kind(violation: &str) -> String {
    let words = violation.split_whitespace().filter(|word| word.chars().all(|c| c.is_alphabetic() || c == ','));
    words.take(8).collect::<Vec<_>>().join(" ")
}
