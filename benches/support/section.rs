//! What a benchmark found, kept in `target/bench` until `docs/benchmarks.md` is put together from it: so each benchmark can be
//! run alone.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::{Deserialize, Serialize};

/// What one benchmark found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Section {
    pub title: String,
    /// How it was measured, in Markdown.
    pub method: String,
    pub tables: Vec<Table>,
    /// What the picture shows, by name.
    pub figures: BTreeMap<String, f64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Table {
    /// What stands above it, in Markdown; may be empty.
    pub caption: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Section {
    pub fn path(name: &str) -> PathBuf {
        // `target/tmp` is where Cargo lets benchmarks write.
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
