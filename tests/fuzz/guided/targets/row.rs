//! See [`tape_fuzz::targets::row`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tape_fuzz::targets::row(bytes));
