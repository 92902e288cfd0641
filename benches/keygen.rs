//! Measures the CPU time of key generation on one thread: by the operator, by Go's standard library, by `openssl` and, for
//! RSA keys, by AWS-LC's own generator. They alternate within one run, so that a busy machine slows all of them alike.
//!
//! `cargo bench --bench keygen`; `-- 100` sets the number of 2048-bit keys (400). Skips Go and openssl where they are not
//! installed. To measure without AVX-512 IFMA, which Go does not use anyway:
//! `OPENSSL_ia32cap='~0:~0x200000' cargo bench --bench keygen`.

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

/// Generators that no comparable operator uses run only in every turn of this number, because they are the slowest.
const SLOW: usize = 8;

/// The number of keys that are timed together if one key takes only microseconds.
const BATCH: u32 = 50;

/// The CPU time of this thread in milliseconds.
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

/// The program in `benches/go-keygen`, which generates keys with Go's library and runs `openssl`.
struct Peers {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peers {
    /// `None` if Go is not installed.
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

    /// Generates this many keys, and returns the milliseconds per key.
    fn time(&mut self, generator: &str, spec: KeySpec, number: u32) -> f64 {
        writeln!(self.requests, "{generator} {} {} {number}", spec.algorithm(), spec.bits()).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().parse::<f64>().unwrap() / 1e6
    }

    fn stop(mut self) {
        // The program exits when its input ends.
        drop(self.requests);
        self.child.wait().unwrap();
    }
}

struct Measured {
    name: &'static str,
    /// The number of keys that are timed together.
    batch: u32,
    /// Milliseconds per key: the mean of each batch.
    milliseconds: Vec<f64>,
}

impl Measured {
    /// The mean and its standard error.
    fn mean(&self) -> (f64, f64) {
        let number = f64::from(u32::try_from(self.milliseconds.len()).unwrap());
        let mean = self.milliseconds.iter().sum::<f64>() / number;
        let squares: f64 = self.milliseconds.iter().map(|time| (time - mean).powi(2)).sum();
        (mean, (squares / (number - 1.0) / number).sqrt())
    }
}

fn measure(spec: KeySpec, turns: usize, peers: &mut Option<Peers>, table: &mut Table) {
    // The first key pays for what is computed only once.
    keygen::generate(spec).unwrap();
    // For the other algorithms, the operator uses AWS-LC's own generator.
    let size = match spec {
        KeySpec::Rsa2048 => Some(KeySize::Rsa2048),
        KeySpec::Rsa3072 => Some(KeySize::Rsa3072),
        KeySpec::Rsa4096 => Some(KeySize::Rsa4096),
        _ => None,
    };
    let batch = if size.is_some() { 1 } else { BATCH };
    let mut all = [("operator", batch), ("aws-lc", 1), ("go", batch), ("openssl", 1)].map(|(name, batch)| Measured {
        name,
        batch,
        milliseconds: Vec::new(),
    });
    for turn in 0..turns {
        for measured in &mut all {
            let is_slow = ["aws-lc", "openssl"].contains(&measured.name);
            if is_slow && !turn.is_multiple_of(SLOW) {
                continue;
            }
            measured.milliseconds.extend(match (measured.name, peers.as_mut()) {
                ("operator", _) => {
                    let generate = || (0..batch).for_each(|_| drop(keygen::generate(spec).unwrap()));
                    Some(timed(generate) / f64::from(batch))
                }
                ("aws-lc", _) => size.map(|size| timed(|| drop(KeyPair::generate(size).unwrap()))),
                (name, peers) => peers.map(|peers| peers.time(name, spec, measured.batch)),
            });
        }
    }
    let (own, own_error) = all[0].mean();
    let key = if spec == KeySpec::Ed25519 {
        spec.algorithm().to_string()
    } else {
        format!("{}-{}", spec.algorithm(), spec.bits())
    };
    for measured in all.iter().filter(|measured| !measured.milliseconds.is_empty()) {
        let (mean, error) = measured.mean();
        let ratio = mean / own;
        // The relative errors are independent.
        let ratio_error = ratio * (error / mean).hypot(own_error / own);
        let digits = if mean < 10.0 { 3 } else { 1 };
        let keys = measured.milliseconds.len() * measured.batch as usize;
        let row = [
            key.clone(),
            measured.name.to_owned(),
            keys.to_string(),
            format!("{mean:.digits$} ± {error:.digits$}"),
            format!("{ratio:.2} ± {ratio_error:.2}"),
        ];
        println!("{}", row.join(" | "));
        table.rows.push(row.to_vec());
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
    let mut table = Table::new("", &["key", "generator", "keys", "mean, ms", "relative to the operator"]);
    for &spec in KeySpec::ALL {
        let divisor = match spec {
            KeySpec::Rsa3072 => 2,
            KeySpec::Rsa4096 => 3,
            _ => 1,
        };
        measure(spec, (number / divisor).max(2), &mut peers, &mut table);
    }
    if let Some(peers) = peers {
        peers.stop();
    }
    let section = Section {
        title: "Keys".to_owned(),
        method: format!(
            "CPU time of one thread, in turns: the operator's generator; that of Go's standard library, which comparable \
             operators use; `openssl genpkey`, including its start; and, for RSA, AWS-LC's own generator, which generates all \
             other keys of the operator. ECDSA and Ed25519 keys are timed {BATCH} at a time. The operator's time includes that \
             it reads each key again from the document that the user gets, which checks it, creates a signature and verifies \
             that: most of the time of an ECDSA or Ed25519 key. Go's time is for the key alone."
        ),
        tables: vec![table],
        figures: BTreeMap::new(),
    };
    section.save("keygen");
}
