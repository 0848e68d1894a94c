//! A core module that was compiled for WASI 0.1, as Go's are: it is told the contract, and given an adapter to WASI 0.2.

use std::path::Path;

use anyhow::Context;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::Parser;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::WORLD;

/// Whether `bytes` begin as a component does. Anything else is taken for a core module.
#[must_use]
pub fn is_component(bytes: &[u8]) -> bool {
    Parser::is_component(bytes)
}

/// The component of a core module that exports what the contract in the folder `wit` asks for.
///
/// # Errors
/// The module is none, lacks an export of the contract, or has one of another type: the message names it.
pub fn componentize(module: &[u8], wit: &Path) -> anyhow::Result<Vec<u8>> {
    if !Parser::is_core_wasm(module) {
        anyhow::bail!(
            "it is no WebAssembly, neither a component nor a module; correct build.artifact, or the build's command"
        );
    }
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_path(wit)
        .with_context(|| format!("read the contract in {}", wit.display()))?;
    let world = resolve
        .select_world(&[package], Some(WORLD))
        .with_context(|| format!("{} has no world `{WORLD}`", wit.display()))?;
    let mut module = module.to_vec();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let mut encoder = ComponentEncoder::default().module(&module)?.validate(true).adapter(
        WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
        WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    )?;
    encoder.encode().with_context(|| {
        format!(
            "it does not fit the world `{WORLD}` of {}; a Go connector calls export.Connector in an init function, and is built with -buildmode=c-shared",
            wit.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wit() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/tape-connector@1.0.0")
    }

    #[test]
    fn what_is_no_module_is_told_apart() {
        assert!(is_component(b"\0asm\x0d\0\x01\0") && !is_component(b"\0asm\x01\0\0\0") && !is_component(b""));
        let error = componentize(b"#!/bin/sh", &wit()).unwrap_err().to_string();
        assert!(error.contains("it is no WebAssembly"), "{error}");
    }

    #[test]
    fn a_module_of_another_world_is_refused_with_what_it_lacks() {
        let error = componentize(b"\0asm\x01\0\0\0", &wit()).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("does not fit the world `guest`") && error.contains("tape:connector/connector@1.0.0"),
            "{error}"
        );
    }
}
