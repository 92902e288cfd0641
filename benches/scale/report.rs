//! Writes `docs/benchmarks.md` and its chart from the results in `benches/results`, and from those that Criterion has
//! written since to `target/criterion`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use serde_json::Value;

use crate::{
    peers, picture,
    section::{Section, Table},
};

/// The sections in their order. Sections without results are omitted.
const SECTIONS: [&str; 9] =
    ["settle", "fairness", "restart", "rotation", "publication", "keygen", "admission", "crd", MICRO];
const MICRO: &str = "micro";
/// Processor features that affect cryptography.
const FEATURES: [&str; 8] = ["aes", "adx", "bmi2", "avx2", "avx512f", "avx512ifma", "sha_ni", "sha2"];

const INTRODUCTION: &str = "\
# Benchmarks

`make bench` writes this page. Each section is one run on a machine of this kind. Absolute figures depend on that machine; compare the
ratios to the programs that ran beside the operator. `cargo bench --bench scale -- report` generates the page again from
`benches/results`, after a single benchmark.

![Time, memory and start, beside other operators](benchmarks.svg)
";

pub fn run() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    if let Some(section) = micro() {
        section.save(MICRO);
    }
    let sections: Vec<(&str, Section)> = SECTIONS
        .iter()
        .filter_map(|name| {
            let text = fs::read_to_string(Section::path(name)).ok()?;
            Some((*name, serde_json::from_str(&text).unwrap()))
        })
        .collect();
    let mut page = format!("{INTRODUCTION}\n{}", machine());
    for (_, section) in &sections {
        write!(page, "\n## {}\n\n{}\n", section.title, wrap(&section.method)).unwrap();
        section.tables.iter().for_each(|table| write_table(&mut page, table));
        if section.title == "From create to Ready" {
            let rate = |kind: &str| section.figures.get(&format!("{kind} ours"));
            write!(page, "\n{}", peers::page(rate("RSA-2048"), rate("Ed25519"))).unwrap();
        }
    }
    fs::write(docs.join("benchmarks.md"), page).unwrap();
    let figures = sections.into_iter().map(|(name, section)| (name, section.figures)).collect();
    fs::write(docs.join("benchmarks.svg"), picture::draw(&figures)).unwrap();
    println!("docs/benchmarks.md and docs/benchmarks.svg are written");
}

/// Wraps lines at the same width as the rest of the documentation.
fn wrap(text: &str) -> String {
    let (mut wrapped, mut length) = (String::new(), 0);
    for word in text.split_whitespace() {
        if length > 0 && length + 1 + word.len() > 120 {
            wrapped.push('\n');
            length = 0;
        } else if length > 0 {
            wrapped.push(' ');
            length += 1;
        }
        wrapped += word;
        length += word.len();
    }
    wrapped
}

fn write_table(page: &mut String, table: &Table) {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | ")).replace("|  |", "| |");
    page.push('\n');
    if !table.caption.is_empty() {
        write!(page, "{}\n\n", table.caption).unwrap();
    }
    *page += &row(&table.head);
    writeln!(page, "|{}", "---|".repeat(table.head.len())).unwrap();
    table.rows.iter().for_each(|cells| *page += &row(cells));
}

/// A neutral description of the machine.
fn machine() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpu.lines().find(|line| line.starts_with("flags") || line.starts_with("Features")).unwrap_or_default();
    let flags: Vec<&str> = flags.split_whitespace().filter(|flag| FEATURES.contains(flag)).collect();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default();
    let version = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(text.lines().next()?.split('(').next()?.trim().to_owned())
    };
    let versions = [
        Some(format!("keypair-operator {}", env!("CARGO_PKG_VERSION"))),
        version("rustc", &["--version"]),
        version("openssl", &["version"]),
        version("go", &["version"]),
    ];
    let versions: Vec<String> = versions.into_iter().flatten().chain(kubernetes()).collect();
    format!(
        "| machine | |\n|---|---|\n| cores | {cores} ({}, shared by all programs) |\n| processor features | {} |\n\
         | memory | {:.0} GiB |\n| versions | {} |\n",
        std::env::consts::ARCH,
        flags.join(", "),
        kib / 1024.0 / 1024.0,
        versions.join(", "),
    )
}

/// The version of the control plane, if known.
fn kubernetes() -> Option<String> {
    let programs = std::env::var_os("KUBEBUILDER_ASSETS")?;
    let output = Command::new(PathBuf::from(programs).join("kube-apiserver")).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// All estimates of Criterion, by group and name. `None`: there are none.
fn micro() -> Option<Section> {
    // Cargo gives benchmarks `target/tmp`, which Criterion's directory is beside.
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion");
    let mut found = BTreeMap::new();
    let mut pending = vec![root];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).ok().into_iter().flatten().flatten() {
            let path = entry.path();
            if !path.is_dir() {
                continue;
            }
            if path.ends_with("new") {
                found.extend(estimate(&path));
            } else {
                pending.push(path);
            }
        }
    }
    let mut table = Table::new("", &["", "time"]);
    table.rows = found.into_iter().map(|(name, time)| vec![name, time]).collect();
    (!table.rows.is_empty()).then(|| Section {
        title: "Micro-benchmarks".to_owned(),
        method: "Parts of the work for one KeyPair (medians from Criterion):".to_owned(),
        tables: vec![table],
        figures: BTreeMap::new(),
    })
}

fn estimate(folder: &Path) -> Option<(String, String)> {
    let read =
        |file: &str| -> Option<Value> { serde_json::from_str(&fs::read_to_string(folder.join(file)).ok()?).ok() };
    let name = read("benchmark.json")?["full_id"].as_str()?.to_owned();
    let nanoseconds = read("estimates.json")?["median"]["point_estimate"].as_f64()?;
    let time = match nanoseconds {
        small if small < 1e3 => format!("{small:.0} ns"),
        middle if middle < 1e6 => format!("{:.2} µs", middle / 1e3),
        large => format!("{:.2} ms", large / 1e6),
    };
    Some((name, time))
}
