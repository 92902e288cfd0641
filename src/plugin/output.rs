//! What the commands print: results on standard output, everything else on standard error.

use std::io::{self, Write as _};

use serde::Serialize;

use super::error::Error;
use crate::domain::display;

/// Prints one line of the result.
pub fn line(text: &str) -> Result<(), Error> {
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// Prints the result as JSON.
pub fn json(value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    let lines: Vec<_> = text.lines().map(display::escaped_json).collect();
    line(&lines.join("\n"))
}

/// Tells the user something that is not the result.
pub fn note(text: &str) {
    // If standard error is closed, there is nowhere left to report to.
    let lines: Vec<_> = text.lines().map(display::escaped).collect();
    let _ = writeln!(io::stderr(), "{}", lines.join("\n"));
}

/// Prints rows in columns, as kubectl does.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> Result<(), Error> {
    let header: Vec<String> = header.iter().map(|&title| title.to_owned()).collect();
    let rows: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    for row in &rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column).unwrap_or_default();
            format!("{cell:<width$}")
        });
        line(display::escaped(cells.collect::<Vec<_>>().join("   ").trim_end()).as_ref())?;
    }
    Ok(())
}
