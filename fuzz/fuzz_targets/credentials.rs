#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| semel_fuzz::credentials::run(data));
