//! Runs the fuzz targets without a fuzzer, on every seed and on every input that once broke one of them.

#![allow(missing_docs, clippy::expect_used, reason = "a panic fails the test")]

use std::{collections::BTreeSet, fs, panic};

use keypair_fuzzing::{TARGETS, Target, armor, seeds};

/// Runs the target on its seeds and regressions, and fails with the inputs that break it.
fn run(name: &str) {
    let target: &Target = TARGETS.iter().find(|target| target.name == name).expect("the target exists");
    let inputs = (target.seeds)().into_iter().chain(seeds::regressions(name));
    let mut checked = 0;
    let mut broken = Vec::new();
    for input in inputs {
        checked += 1;
        if let Err(why) = panic::catch_unwind(|| (target.check)(&input)) {
            let why = why.downcast_ref::<String>().map_or_else(|| *why.downcast_ref().unwrap_or(&""), String::as_str);
            broken.push(format!("{why}: {}", armor::base64(&input)));
        }
    }
    println!("{name}: {checked} inputs");
    assert!(checked > 20, "{name} has only {checked} seeds");
    let some = broken.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(broken.is_empty(), "{name} is broken by {} inputs, such as these in base64:\n{some}", broken.len());
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test] fn $name() { run(stringify!($name)); })*

        /// Every target has a test here and a file for cargo-fuzz, and no regressions are in a directory that no test reads.
        #[test]
        fn every_fuzz_target_exists() {
            let names = [$(stringify!($name)),*];
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), names);
            let manifest = fs::read_to_string(seeds::root().join("fuzz/Cargo.toml")).expect("fuzz/Cargo.toml exists");
            let script = fs::read_to_string(seeds::root().join("hack/fuzz.sh")).expect("hack/fuzz.sh exists");
            for name in names {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no {name}");
                assert!(script.contains(name), "hack/fuzz.sh has no {name}");
                let main = fs::read_to_string(seeds::root().join(format!("fuzz/fuzz_targets/{name}.rs"))).expect(name);
                assert!(main.contains(&format!("{name}::check(")));
            }
            let folders = fs::read_dir(seeds::root().join("tests/fuzzing/regressions")).expect("the regressions exist");
            for folder in folders {
                let folder = folder.expect("a folder can be read").file_name().into_string().expect("names are text");
                assert!(names.contains(&folder.as_str()), "{folder} is not a target");
            }
        }
    };
}

targets!(public_key, private_key, rfc4716, leak, admission, label_selector, linear);

/// The fuzzed code uses the same versions of all dependencies as the released code.
#[test]
fn both_lock_files_have_the_same_versions() {
    let versions = |file: &str| -> BTreeSet<(String, String)> {
        let text = fs::read_to_string(seeds::root().join(file)).expect("the lock file exists");
        let packages = text.split("[[package]]").skip(1);
        let field = |package: &str, name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(&format!("{name} = \"")))?;
            Some(line.trim_end_matches('"').to_owned())
        };
        packages.filter_map(|package| Some((field(package, "name")?, field(package, "version")?))).collect()
    };
    let shipped = versions("Cargo.lock");
    let names: BTreeSet<&String> = shipped.iter().map(|(name, _)| name).collect();
    let fuzzed = versions("fuzz/Cargo.lock");
    assert!(fuzzed.len() > 100);
    let other: Vec<_> =
        fuzzed.iter().filter(|package| names.contains(&package.0) && !shipped.contains(package)).collect();
    assert!(other.is_empty(), "fuzz/Cargo.lock has other versions: {other:?}; copy Cargo.lock over it, and build");
}
