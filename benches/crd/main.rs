//! Measures what the validation rules of the CRD cost the API server: the CPU time per request, alternately with and without
//! the rules.
//!
//! `cargo bench --bench crd` compares the CRD with a copy without `x-kubernetes-validations` and, if set, with the CRD in
//! the file `KEYPAIR_BENCH_CRD`. `-- rules` removes one rule at a time. `-- hold NAME` installs the CRD `NAME` (`none`,
//! `all`) and sends requests of one kind (`KEYPAIR_BENCH_KIND`, a number) for `KEYPAIR_BENCH_SECONDS`, so that the API
//! server can be profiled.
//!
//! `KEYPAIR_BENCH_REQUESTS` sets the number of requests of a kind per round (400), `KEYPAIR_BENCH_ROUNDS` the number of
//! rounds (5).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs, reason = "a benchmark")]

mod cluster;
mod hold;
mod request;
#[path = "../support/section.rs"]
mod section;
mod variant;

use std::{collections::BTreeMap, env, fs};

use self::{
    cluster::{CONCURRENT, Cluster, Cost},
    request::Kind,
    section::{Section, Table},
    variant::Variant,
};

#[tokio::main]
async fn main() {
    // Cargo passes `--bench` to a benchmark.
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let all = Variant::all();
    let none = all.without_rules();
    let cluster = Cluster::start().await;
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(cluster, none, all).await,
        ["rules"] => parts(cluster, [vec![none, all.clone()], all.with_one_less()].concat()).await,
        ["hold", "none"] => hold::run(cluster, &none).await,
        ["hold", _] => hold::run(cluster, &all).await,
        ref other => panic!("unknown arguments: {other:?}"),
    }
}

fn number(variable: &str, default: usize) -> usize {
    env::var(variable).map_or(default, |value| value.parse().unwrap())
}

fn rounds() -> usize {
    number("KEYPAIR_BENCH_ROUNDS", 5)
}

/// Requests of each kind per round.
fn requests() -> usize {
    number("KEYPAIR_BENCH_REQUESTS", 400)
}

/// Describes the method, for the report.
fn method() -> String {
    format!(
        "The CPU time of the API server for each request, and the memory that it allocates, without the CRD's validation rules \
         (`x-kubernetes-validations`) and with them. One CRD is updated in place; both versions run in turns, {} rounds of {} \
         requests of each kind, {CONCURRENT} at a time. The figures are medians of the rounds; the ratio is the median of the ratios \
         of each round, with the smallest and the largest. They include all that the API server does for a request: TLS, \
         authorization, schema, etcd client, watches. The API server evaluates every rule for each create and each patch, also for a \
         patch of the status or of labels. The rest of what the rules cost is the API server's own: to read a field, it copies the \
         schemas of all fields of the object. A profile of a create with one rule for each check showed 26 % of the API server's time \
         in the rules, 16 % in these copies and 0.6 % in regular expressions.",
        rounds(),
        requests()
    )
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The costs of one kind of request under one variant, by round.
type Rounds = Vec<Cost>;

/// Measures the costs: `[variant][kind]`.
async fn measure(cluster: &mut Cluster, variants: &[Variant], kinds: &[Kind]) -> Vec<Vec<Rounds>> {
    let (rounds, count) = (rounds(), requests());
    let mut found = vec![vec![Vec::new(); kinds.len()]; variants.len()];
    for round in 0..rounds {
        // Each round starts with a different variant.
        for at in (0..variants.len()).map(|at| (at + round) % variants.len()) {
            cluster.install(&variants[at]).await;
            let costs = cluster.measure(kinds, count).await;
            let shown: Vec<String> =
                costs.iter().map(|cost| format!("{:.3} ms {:.0} KiB", cost.ms, cost.kib)).collect();
            println!("round {round}, {}: {}", variants[at].name, shown.join(", "));
            found[at].iter_mut().zip(costs).for_each(|(all, cost)| all.push(cost));
        }
    }
    found
}

fn ms(rounds: &Rounds) -> f64 {
    median(&rounds.iter().map(|cost| cost.ms).collect::<Vec<_>>())
}

fn kib(rounds: &Rounds) -> f64 {
    median(&rounds.iter().map(|cost| cost.kib).collect::<Vec<_>>())
}

/// The ratio of two CPU times over all rounds: median, minimum and maximum.
fn ratio(of: &Rounds, to: &Rounds) -> String {
    let mut ratios: Vec<f64> = of.iter().zip(to).map(|(of, to)| of.ms / to.ms).collect();
    ratios.sort_by(f64::total_cmp);
    format!("{:.2} ({:.2} to {:.2})", median(&ratios), ratios[0], ratios[ratios.len() - 1])
}

async fn compare(mut cluster: Cluster, none: Variant, all: Variant) {
    let other = env::var("KEYPAIR_BENCH_CRD").ok();
    let other = other.map(|path| Variant::read("other", &fs::read_to_string(path).unwrap()));
    let variants: Vec<Variant> = [none, all].into_iter().chain(other).collect();
    let found = measure(&mut cluster, &variants, &Kind::ALL).await;

    let mut head =
        vec!["request", "without rules, ms", "with rules, ms", "ratio", "allocated without, KiB", "with, KiB"];
    if variants.len() > 2 {
        head.extend(["other CRD, ms", "ratio to without rules", "ratio to with rules", "allocated by other, KiB"]);
    }
    let mut table = Table::new("", &head);
    for (at, kind) in Kind::ALL.iter().enumerate() {
        let of = |variant: usize| &found[variant][at];
        let mut row = vec![
            kind.name().to_owned(),
            format!("{:.2}", ms(of(0))),
            format!("{:.2}", ms(of(1))),
            ratio(of(1), of(0)),
            format!("{:.0}", kib(of(0))),
            format!("{:.0}", kib(of(1))),
        ];
        if variants.len() > 2 {
            let other = of(2);
            let (to_none, to_all) = (ratio(other, of(0)), ratio(other, of(1)));
            row.extend([format!("{:.2}", ms(other)), to_none, to_all, format!("{:.0}", kib(other))]);
        }
        table.rows.push(row);
    }
    show(&table);
    // The report contains only the comparison without another CRD.
    if variants.len() == 2 {
        let title = "Rules of the CRD".to_owned();
        Section { title, method: method(), tables: vec![table], figures: BTreeMap::new() }.save("crd");
    }
}

/// Prints how much less each variant costs than the complete CRD. On a busy machine, the CPU time of one rule is below the
/// noise; the memory is accurate to a few KiB.
async fn parts(mut cluster: Cluster, variants: Vec<Variant>) {
    let kinds = [Kind::Create, Kind::Status];
    let found = measure(&mut cluster, &variants, &kinds).await;
    let mut table = Table::new("", &["", "create, ms", "part", "KiB", "part", "status, ms", "part", "KiB", "part"]);
    for (variant, costs) in variants.iter().zip(&found) {
        let mut row = vec![variant.name.clone()];
        for (here, base) in costs.iter().zip(&found[1]) {
            row.extend([format!("{:.2}", ms(here)), format!("{:+.2}", ms(here) - ms(base))]);
            row.extend([format!("{:.0}", kib(here)), format!("{:+.0}", kib(here) - kib(base))]);
        }
        table.rows.push(row);
    }
    show(&table);
}

fn show(table: &Table) {
    println!("\n| {} |\n|{}", table.head.join(" | "), "---|".repeat(table.head.len()));
    table.rows.iter().for_each(|row| println!("| {} |", row.join(" | ")));
}
