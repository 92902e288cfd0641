//! The results of a benchmark. `docs/benchmarks.md` is generated from those of all, which `benches/results` keeps, so that each
//! benchmark can run alone.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::{Deserialize, Serialize};

/// The results of one benchmark.
#[derive(Debug, Serialize, Deserialize)]
pub struct Section {
    pub title: String,
    /// The method, in Markdown.
    pub method: String,
    pub tables: Vec<Table>,
    /// The values for the chart, by name.
    pub figures: BTreeMap<String, f64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Table {
    /// The text above the table, in Markdown; may be empty.
    pub caption: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Section {
    pub fn path(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/results").join(format!("{name}.json"))
    }

    pub fn save(&self, name: &str) {
        let path = Self::path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, serde_json::to_string_pretty(self).unwrap() + "\n").unwrap();
    }
}

impl Table {
    pub fn new(caption: &str, head: &[&str]) -> Self {
        let head = head.iter().map(ToString::to_string).collect();
        Self { caption: caption.to_owned(), head, rows: Vec::new() }
    }
}
