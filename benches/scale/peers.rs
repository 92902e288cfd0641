//! Other operators, measured earlier: one table, for the page and for its chart.

use std::fmt::Write as _;

/// How many pairs of each kind were created at once.
pub const RSA_PAIRS: f64 = 200.0;
pub const ED25519_PAIRS: f64 = 500.0;

/// The results of another operator.
pub struct Peer {
    /// Its name and version, or its settings, in the table.
    pub name: &'static str,
    /// The same in the chart, which has less space.
    pub label: &'static str,
    /// Seconds until all RSA-2048 pairs were ready.
    pub rsa: f64,
    /// Requests to the API server for each key.
    requests: u32,
    /// Seconds until all Ed25519 pairs were ready.
    pub ed25519: Option<f64>,
    /// Resident memory after this load, in MiB.
    pub memory: Option<f64>,
    /// Resident memory with 2,000 pairs, in MiB.
    memory_2000: Option<f64>,
}

pub const PEERS: [Peer; 4] = [
    Peer {
        name: "mittwald/kubernetes-secret-generator 3.4.1",
        label: "kubernetes-secret-generator 3.4.1",
        rsa: 23.0,
        requests: 2,
        ed25519: None,
        memory: Some(39.0),
        memory_2000: None,
    },
    Peer {
        name: "carvel secretgen-controller 0.17.0",
        label: "secretgen-controller 0.17.0",
        rsa: 29.0,
        requests: 5,
        ed25519: None,
        memory: Some(48.0),
        memory_2000: None,
    },
    Peer {
        name: "external-secrets 2.9.0",
        label: "external-secrets 2.9.0",
        rsa: 30.0,
        requests: 7,
        ed25519: Some(50.0),
        memory: Some(96.0),
        memory_2000: Some(142.0),
    },
    Peer {
        name: "external-secrets, 16 workers, no client throttling",
        label: "external-secrets, 16 workers",
        rsa: 11.5,
        requests: 7,
        ed25519: Some(5.8),
        memory: None,
        memory_2000: None,
    },
];

const INTRODUCTION: &str = "\
## Other operators

Measured earlier, with the same load on the same kind of machine (two cores shared by operator, API server, etcd and load
generator), each with its default settings unless noted:

| operator | 200 RSA-2048 | requests per key | 500 Ed25519 | memory |
|---|---|---|---|---|
";

const END: &str = "
When external-secrets restarts with 2,000 pairs, it reads every Secret again: 2,000 requests, 39 s.
";

/// The section of the page, with the results of this run: pairs a second for each kind.
pub fn page(rsa_rate: Option<&f64>, ed25519_rate: Option<&f64>) -> String {
    let cell = |text: &str| if text.is_empty() { " |".to_owned() } else { format!(" {text} |") };
    let mut page = INTRODUCTION.to_owned();
    for Peer { name, rsa, requests, ed25519, memory, memory_2000, .. } in PEERS {
        let ed25519 = ed25519.map_or(String::new(), |seconds| format!("{seconds} s"));
        let mut mib = memory.map_or(String::new(), |mib| format!("{mib} MiB"));
        if let Some(more) = memory_2000 {
            write!(mib, "; {more} MiB for 2,000 pairs").unwrap();
        }
        writeln!(page, "| {name} | {rsa} s | {requests} |{}{}", cell(&ed25519), cell(&mib)).unwrap();
    }
    let time = |pairs: f64, rate: Option<&f64>| rate.map_or(String::new(), |rate| format!("{:.1} s", pairs / rate));
    let (rsa, ed25519) = (time(RSA_PAIRS, rsa_rate), time(ED25519_PAIRS, ed25519_rate));
    writeln!(page, "| keypair-operator, in this run |{} 2 |{} see below |", cell(&rsa), cell(&ed25519)).unwrap();
    page + END
}
