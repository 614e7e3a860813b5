#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stoplog_targets::schema(bytes));
