#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keypair_fuzzing::linear::check(data));
