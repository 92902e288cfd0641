//! The processes that a command starts.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// A process, by its ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub id: u32,
    pub name: String,
}

/// The processes whose parent this is.
pub fn children(parent: u32) -> Vec<Process> {
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let mut found: Vec<Process> = ids
        .filter_map(|id: u32| {
            let (name, state, parent_of) = stat(id)?;
            (parent_of == parent && state != 'Z').then_some(Process { id, name })
        })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// Name, state and parent.
fn stat(id: u32) -> Option<(String, char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    Some((name.to_owned(), words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

pub fn runs(id: u32) -> bool {
    stat(id).is_some_and(|(_, state, _)| state != 'Z')
}

/// Waits for something that happens soon.
#[track_caller]
pub fn soon<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} does not happen");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Command line and environment of a process.
pub fn exposed(id: u32) -> Vec<u8> {
    let read = |file: &str| fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
    [read("cmdline"), read("environ")].concat()
}

/// The files below a directory, with their contents.
pub fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| {
        if path.is_dir() {
            return files(&path);
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // A socket cannot be read.
        vec![(name, fs::read(&path).unwrap_or_default())]
    });
    let mut found: Vec<_> = found.collect();
    found.sort();
    found
}
