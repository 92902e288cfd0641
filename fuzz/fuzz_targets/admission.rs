#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keypair_fuzzing::admission::check(data));
