//! Compiles `proto/tape/v1/*.proto` without protoc. Everything that is generated stays in `OUT_DIR`.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// The contract, one file per service and two of shared messages.
const FILES: [&str; 8] = [
    "tape/v1/errors.proto",
    "tape/v1/calls.proto",
    "tape/v1/tape.proto",
    "tape/v1/workers.proto",
    "tape/v1/driver.proto",
    "tape/v1/admin.proto",
    "tape/v1/reactors.proto",
    "tape/v1/connectors.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    // With sources, so that the comments become the documentation of the generated types.
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(FILES)?;
    // For reflection and for the contract's own test, which need no comments.
    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("tape.v1.bin");
    fs::write(
        descriptors,
        protox::Compiler::new(["proto"])?
            .include_imports(true)
            .open_files(FILES)?
            .encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
