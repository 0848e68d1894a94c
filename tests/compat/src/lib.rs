//! See `tests/`: a component per version of the contract, on one host that links them all.
