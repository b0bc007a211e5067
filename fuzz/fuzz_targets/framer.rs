#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chatd_fuzz::framer::check(data));
