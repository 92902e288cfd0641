//! The chart: groups of bars, as an SVG that is readable on light and dark backgrounds.

use std::{collections::BTreeMap, fmt::Write as _};

/// The figures of each section, by name.
pub type Figures = BTreeMap<&'static str, BTreeMap<String, f64>>;

const WIDTH: f64 = 860.0;
const LABELS: f64 = 190.0;
const BARS: f64 = 520.0;
const LINE: f64 = 22.0;
const NULL: &str = "#8a8f98";
const OURS: &str = "#2f81f7";
const TEXT: &str = "#7d8590";

struct Bar {
    label: String,
    value: f64,
    color: &'static str,
}

/// Bars with a common scale.
struct Group {
    title: &'static str,
    unit: &'static str,
    bars: Vec<Bar>,
}

impl Group {
    fn new(title: &'static str, unit: &'static str) -> Self {
        Self { title, unit, bars: Vec::new() }
    }

    fn bar(&mut self, label: String, value: Option<&f64>, color: &'static str) {
        self.bars.extend(value.map(|value| Bar { label, value: *value, color }));
    }
}

fn groups(figures: &Figures) -> Vec<Group> {
    let none = BTreeMap::new();
    let of = |section: &str| figures.get(section).unwrap_or(&none);
    let mut rates = Group::new("Key pairs a second, created at once (grey: an operator that does nothing)", "/s");
    for kind in ["import", "Ed25519", "RSA-2048"] {
        for (arm, color) in [("null, as many words", NULL), ("ours", OURS)] {
            let name = format!("{kind} {arm}");
            rates.bar(kind.to_owned(), of("settle").get(&name), color);
        }
    }
    let mut waits = Group::new("An import beside 500 RSA-4096 requests of another namespace, p99", " ms");
    waits.bar("without them".to_owned(), of("fairness").get("import alone"), NULL);
    waits.bar("beside them".to_owned(), of("fairness").get("import beside"), OURS);
    let mut starts = Group::new("Start until idle (grey: a bare list of the same objects)", " s");
    let mut memory = Group::new("Resident memory after a start", " MiB");
    let mut sizes: Vec<u64> =
        of("restart").keys().filter_map(|name| name.strip_prefix("memory ")?.parse().ok()).collect();
    sizes.sort_unstable();
    for pairs in sizes {
        for (what, color) in [("list", NULL), ("start", OURS)] {
            starts.bar(format!("{pairs} pairs"), of("restart").get(&format!("{what} {pairs}")), color);
        }
        memory.bar(format!("{pairs} pairs"), of("restart").get(&format!("memory {pairs}")), OURS);
    }
    [rates, waits, starts, memory].into_iter().filter(|group| !group.bars.is_empty()).collect()
}

/// Draws all available figures.
pub fn draw(figures: &Figures) -> String {
    let (mut body, mut y) = (String::new(), 10.0);
    for group in groups(figures) {
        y += LINE;
        writeln!(body, r#"<text x="0" y="{y}" font-weight="bold">{}</text>"#, group.title).unwrap();
        let most = group.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        for Bar { label, value, color } in &group.bars {
            y += LINE;
            let (length, top, end) = (value / most * BARS, y - 13.0, LABELS + value / most * BARS + 6.0);
            let digits = usize::from(*value < 10.0) + usize::from(*value < 100.0);
            writeln!(
                body,
                r#"<text x="{:.0}" y="{y}" text-anchor="end">{label}</text><rect x="{LABELS}" y="{top}" width="{length:.1}" height="16" rx="2" fill="{color}"/><text x="{end:.1}" y="{y}">{value:.digits$}{}</text>"#,
                LABELS - 8.0,
                group.unit,
            )
            .unwrap();
        }
        y += LINE / 2.0;
    }
    let height = y + 10.0;
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="14" fill="{TEXT}">
{body}</svg>
"#
    )
}
