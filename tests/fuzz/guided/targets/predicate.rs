//! See [`tape_fuzz::targets::predicate`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tape_fuzz::targets::predicate(bytes));
