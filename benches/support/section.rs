//! The results of a benchmark, stored in `target/bench` until `docs/benchmarks.md` is generated from them, so that each
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
        // Cargo lets benchmarks write to `target/tmp`.
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join(format!("{name}.json"))
    }

    pub fn save(&self, name: &str) {
        let path = Self::path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, serde_json::to_string_pretty(self).unwrap()).unwrap();
    }
}

impl Table {
    pub fn new(caption: &str, head: &[&str]) -> Self {
        let head = head.iter().map(ToString::to_string).collect();
        Self { caption: caption.to_owned(), head, rows: Vec::new() }
    }
}
