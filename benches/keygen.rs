//! What an RSA key costs on one thread: by the operator, by AWS-LC's own generator, by Go's standard library and by `openssl`,
//! in turns within one run, so that a busy machine slows all of them alike.
//!
//! `cargo bench --bench keygen`; `-- 100` for another number of keys of 2048 bits than 400. Go and openssl are left out where they are not
//! installed. Without AVX-512 IFMA: `OPENSSL_ia32cap='~0:~0x200000' cargo bench --bench keygen` (Go does not use it anyway).

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark has no users")]

#[path = "support/section.rs"]
mod section;

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use aws_lc_rs::rsa::{KeyPair, KeySize};
use keypair_operator::{domain::key::KeySpec, keygen};
use rustix::time::{ClockId, clock_gettime};
use section::{Section, Table};

/// What no comparable operator uses is measured in each of so many turns only: it takes longest.
const SLOW: usize = 8;

/// The processor time of this thread, in milliseconds.
fn thread_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "a run is not as long as that")]
    let [seconds, nanoseconds] = [time.tv_sec as f64, time.tv_nsec as f64];
    seconds * 1e3 + nanoseconds / 1e6
}

fn timed(work: impl FnOnce()) -> f64 {
    let begun = thread_time();
    work();
    thread_time() - begun
}

/// The program in `benches/go-keygen`, which generates keys by Go's library and runs `openssl`.
struct Peers {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peers {
    /// `None` where Go is not installed.
    fn start() -> Option<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/go-keygen");
        let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("go-keygen");
        let built = Command::new("go").args(["build", "-o"]).arg(&program).arg(".").current_dir(source).status();
        if !built.is_ok_and(|status| status.success()) {
            println!("Go is not installed, so it is not measured, nor is openssl");
            return None;
        }
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (requests, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Some(Self { child, requests, answers })
    }

    fn time(&mut self, generator: &str, bits: u32) -> f64 {
        writeln!(self.requests, "{generator} {bits}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().parse::<f64>().unwrap() / 1e6
    }

    fn stop(mut self) {
        // It ends with its input.
        drop(self.requests);
        self.child.wait().unwrap();
    }
}

struct Measured {
    name: &'static str,
    milliseconds: Vec<f64>,
}

impl Measured {
    /// The mean, and its standard error.
    fn mean(&self) -> (f64, f64) {
        let number = f64::from(u32::try_from(self.milliseconds.len()).unwrap());
        let mean = self.milliseconds.iter().sum::<f64>() / number;
        let squares: f64 = self.milliseconds.iter().map(|time| (time - mean).powi(2)).sum();
        (mean, (squares / (number - 1.0) / number).sqrt())
    }
}

fn measure(spec: KeySpec, size: KeySize, number: usize, peers: &mut Option<Peers>, table: &mut Table) {
    let bits = spec.bits();
    let mut all = ["operator", "aws-lc", "go", "openssl"].map(|name| Measured { name, milliseconds: Vec::new() });
    // What is computed once.
    keygen::generate(spec).unwrap();
    for turn in 0..number {
        for measured in &mut all {
            if turn % SLOW != 0 && ["aws-lc", "openssl"].contains(&measured.name) {
                continue;
            }
            measured.milliseconds.extend(match (measured.name, peers.as_mut()) {
                ("operator", _) => Some(timed(|| drop(keygen::generate(spec).unwrap()))),
                ("aws-lc", _) => Some(timed(|| drop(KeyPair::generate(size).unwrap()))),
                (name, peers) => peers.map(|peers| peers.time(name, bits)),
            });
        }
    }
    let (own, own_error) = all[0].mean();
    for measured in all.iter().filter(|measured| !measured.milliseconds.is_empty()) {
        let (mean, error) = measured.mean();
        let ratio = mean / own;
        // The relative errors are independent.
        let ratio_error = ratio * (error / mean).hypot(own_error / own);
        println!(
            "{bits}  {:9} n={:<4} {mean:7.1} ± {error:5.1} ms   {ratio:5.2} ± {ratio_error:4.2} times the operator's",
            measured.name,
            measured.milliseconds.len(),
        );
        table.rows.push(vec![
            format!("RSA-{bits}"),
            measured.name.to_owned(),
            measured.milliseconds.len().to_string(),
            format!("{mean:.1} ± {error:.1}"),
            format!("{ratio:.2} ± {ratio_error:.2}"),
        ]);
    }
}

fn main() {
    let number = env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(400);
    #[cfg(target_arch = "x86_64")]
    println!(
        "AVX-512 IFMA: {}; OPENSSL_ia32cap: {}",
        if std::arch::is_x86_feature_detected!("avx512ifma") { "there" } else { "not there" },
        env::var("OPENSSL_ia32cap").as_deref().unwrap_or("not set"),
    );
    let mut peers = Peers::start();
    let mut table = Table::new("", &["key", "generator", "keys", "mean, ms", "times the operator's"]);
    let kinds = [
        (KeySpec::Rsa2048, KeySize::Rsa2048, 1),
        (KeySpec::Rsa3072, KeySize::Rsa3072, 2),
        (KeySpec::Rsa4096, KeySize::Rsa4096, 3),
    ];
    for (spec, size, divisor) in kinds {
        measure(spec, size, (number / divisor).max(2), &mut peers, &mut table);
    }
    if let Some(peers) = peers {
        peers.stop();
    }
    let section = Section {
        title: "RSA keys".to_owned(),
        method:
            "Processor time of one thread, in turns: the operator's generator, AWS-LC's own, that of Go's standard \
            library, which comparable operators use, and `openssl genpkey` with its start."
                .to_owned(),
        tables: vec![table],
        figures: BTreeMap::new(),
    };
    section.save("keygen");
}
