//! The chart: groups of bars, as an SVG that is readable on light and dark backgrounds.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::peers::{ED25519_PAIRS, PEERS, Peer, RSA_PAIRS};

/// The figures of each section, by name.
pub type Figures = BTreeMap<&'static str, BTreeMap<String, f64>>;

const WIDTH: f64 = 860.0;
const LABELS: f64 = 262.0;
const BARS: f64 = 508.0;
const LINE: f64 = 22.0;
const NULL: &str = "#8a8f98";
const OURS: &str = "#2f81f7";
const OTHERS: &str = "#bf8700";
const TEXT: &str = "#7d8590";
const LEGEND: [(&str, &str); 3] = [
    (OURS, "keypair-operator"),
    (OTHERS, "other operators, measured earlier"),
    (NULL, "the least that any operator needs"),
];

/// Which end of the axis is the better one.
#[derive(Clone, Copy)]
enum Better {
    Longer,
    Shorter,
}

impl Better {
    /// Written above the axis.
    fn words(self) -> &'static str {
        match self {
            Self::Longer => "longer is better →",
            Self::Shorter => "← shorter is better",
        }
    }
}

struct Bar {
    label: String,
    value: f64,
    color: &'static str,
}

/// Bars with a common scale.
struct Group {
    title: &'static str,
    unit: &'static str,
    better: Better,
    bars: Vec<Bar>,
}

impl Group {
    fn new(title: &'static str, unit: &'static str, better: Better) -> Self {
        Self { title, unit, better, bars: Vec::new() }
    }

    fn bar(&mut self, label: String, value: Option<f64>, color: &'static str) {
        self.bars.extend(value.map(|value| Bar { label, value, color }));
    }

    /// The others below the bars of this operator. Without any of these, there is nothing to compare.
    fn peers(&mut self, value: impl Fn(&Peer) -> Option<f64>) {
        if !self.bars.is_empty() {
            for peer in &PEERS {
                self.bar(peer.label.to_owned(), value(peer), OTHERS);
            }
        }
    }
}

fn groups(figures: &Figures) -> Vec<Group> {
    let none = BTreeMap::new();
    let of = |section: &str| figures.get(section).unwrap_or(&none);
    let figure = |section: &str, name: &str| of(section).get(name).copied();
    let ours = "keypair-operator".to_owned();

    let mut rsa =
        Group::new("200 RSA-2048 key pairs, created at once: time until all are ready", " s", Better::Shorter);
    rsa.bar(ours.clone(), figure("settle", "RSA-2048 ours").map(|rate| RSA_PAIRS / rate), OURS);
    rsa.peers(|peer| Some(peer.rsa));
    let mut ed25519 =
        Group::new("500 Ed25519 key pairs, created at once: time until all are ready", " s", Better::Shorter);
    ed25519.bar(ours, figure("settle", "Ed25519 ours").map(|rate| ED25519_PAIRS / rate), OURS);
    ed25519.peers(|peer| peer.ed25519);

    let mut rates = Group::new("Key pairs a second, created at once", "/s", Better::Longer);
    for kind in ["import", "Ed25519", "RSA-2048"] {
        for (arm, color) in [("ours", OURS), ("null, as many words", NULL)] {
            rates.bar(kind.to_owned(), figure("settle", &format!("{kind} {arm}")), color);
        }
    }
    let mut waits = Group::new(
        "An import, p99, with and without 500 RSA-4096 requests of another namespace",
        " ms",
        Better::Shorter,
    );
    waits.bar("with them".to_owned(), figure("fairness", "import beside"), OURS);
    waits.bar("without them".to_owned(), figure("fairness", "import alone"), OURS);

    let mut starts = Group::new("Start until idle; grey: a bare list of the same objects", " s", Better::Shorter);
    let mut memory =
        Group::new("Resident memory; other operators: with at most 500 key pairs", " MiB", Better::Shorter);
    let mut sizes: Vec<u64> =
        of("restart").keys().filter_map(|name| name.strip_prefix("memory ")?.parse().ok()).collect();
    sizes.sort_unstable();
    for pairs in sizes {
        let label = format!("{pairs} key pairs");
        for (what, color) in [("start", OURS), ("list", NULL)] {
            starts.bar(label.clone(), figure("restart", &format!("{what} {pairs}")), color);
        }
        memory.bar(label, figure("restart", &format!("memory {pairs}")), OURS);
    }
    memory.peers(|peer| peer.memory);
    [rsa, ed25519, memory, rates, waits, starts].into_iter().filter(|group| !group.bars.is_empty()).collect()
}

/// Draws all available figures.
pub fn draw(figures: &Figures) -> String {
    let (mut body, mut x, mut y) = (String::new(), 0.0, 24.0);
    for (color, words) in LEGEND {
        writeln!(
            body,
            r#"<rect x="{x}" y="{}" width="16" height="16" rx="2" fill="{color}"/><text x="{}" y="{y}">{words}</text>"#,
            y - 13.0,
            x + 22.0,
        )
        .unwrap();
        x += WIDTH / 3.0;
    }
    y += LINE / 2.0;
    for Group { title, unit, better, bars } in groups(figures) {
        y += LINE;
        writeln!(
            body,
            r#"<text x="0" y="{y}" font-weight="bold">{title}</text><text x="{WIDTH}" y="{y}" text-anchor="end" font-style="italic">{}</text>"#,
            better.words(),
        )
        .unwrap();
        let most = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        for Bar { label, value, color } in &bars {
            y += LINE;
            let (length, top, end) = (value / most * BARS, y - 13.0, LABELS + value / most * BARS + 6.0);
            let digits = usize::from(*value < 10.0) + usize::from(*value < 100.0);
            writeln!(
                body,
                r#"<text x="{:.0}" y="{y}" text-anchor="end">{label}</text><rect x="{LABELS}" y="{top}" width="{length:.1}" height="16" rx="2" fill="{color}"/><text x="{end:.1}" y="{y}">{value:.digits$}{unit}</text>"#,
                LABELS - 8.0,
            )
            .unwrap();
        }
        y += LINE / 2.0;
    }
    let height = y + 10.0;
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="14" fill="{TEXT}">
<title>Benchmarks of keypair-operator, beside other operators</title>
{body}</svg>
"#
    )
}
