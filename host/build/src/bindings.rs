//! The contract's bindings for Go: made from the WIT with every build, so that they cannot grow old.

use std::fs;
use std::path::Path;

use anyhow::Context;
use include_dir::{Dir, include_dir};
use wit_bindgen_core::Files;
use wit_bindgen_go::{Format, Opts};
use wit_parser::Resolve;

use crate::WORLD;

/// Where `connectors/guest-go` expects them.
const PACKAGE: &str = "tape.dev/guest/internal/wit";
/// Where it implements the exports.
const EXPORTS: &str = "tape.dev/guest/internal";

/// What the bindings call, and under which path the generator expects it.
static RUNTIME: Dir<'_> = include_dir!("$OUT_DIR/go-runtime");
const RUNTIME_PATH: &str = "go.bytecodealliance.org/pkg/wit/";

/// Writes the bindings of the contract in `wit` below `folder`. A file that is right already is left alone, so that Go's cache holds.
pub(crate) fn write(wit: &Path, folder: &Path) -> anyhow::Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_path(wit)
        .with_context(|| format!("read the contract in {}", wit.display()))?;
    let world = resolve
        .select_world(&[package], Some(WORLD))
        .with_context(|| format!("{} has no world `{WORLD}`", wit.display()))?;
    let options = Opts {
        format: Format::False,
        pkg_name: Some(PACKAGE.to_owned()),
        export_pkg_name: Some(EXPORTS.to_owned()),
        ..Opts::default()
    };
    let mut files = Files::default();
    options
        .build()
        .generate(&mut resolve, world, &mut files)
        .context("make Go's bindings of the contract")?;
    let runtime = RUNTIME.dirs().flat_map(Dir::files);
    let runtime = runtime.map(|file| (file.path(), file.contents()));
    for (name, content) in files
        .iter()
        .map(|(name, content)| (Path::new(name), content))
        .chain(runtime)
    {
        let file = folder.join(name);
        let content = adapted(&file, content);
        if fs::read(&file).is_ok_and(|there| there == content) {
            continue;
        }
        put(&file, &content).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

/// Imports of the runtime are of the packages beside the bindings; and a native test of the module must not stumble over either.
fn adapted(file: &Path, content: &[u8]) -> Vec<u8> {
    if file.extension().is_none_or(|end| end != "go") {
        return content.to_vec();
    }
    let text = String::from_utf8_lossy(content).replace(RUNTIME_PATH, &format!("{PACKAGE}/"));
    format!("//go:build wasip1\n\n{text}").into_bytes()
}

/// In one move: another build may be reading.
fn put(file: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    let beside = file.with_extension(format!("{}.new", std::process::id()));
    fs::write(&beside, content)?;
    fs::rename(beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bindings_are_where_the_guest_expects_them() {
        let folder = tempfile::tempdir().unwrap();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/tape-connector@1.0.0");
        write(&wit, folder.path()).unwrap();
        let exports = folder.path().join("wit_exports/wit_exports.go");
        let text = fs::read_to_string(&exports).unwrap();
        for import in [
            "tape.dev/guest/internal/export_tape_connector_connector",
            "tape.dev/guest/internal/wit/tape_connector_connector",
            "tape.dev/guest/internal/wit/runtime",
        ] {
            assert!(text.contains(import), "{import} is not imported");
        }
        assert!(!text.contains(RUNTIME_PATH), "no module from elsewhere is needed");
        assert!(folder.path().join("types/option.go").exists());
        let before = fs::metadata(&exports).unwrap().modified().unwrap();
        write(&wit, folder.path()).unwrap();
        assert_eq!(
            fs::metadata(&exports).unwrap().modified().unwrap(),
            before,
            "a file that is right is left alone"
        );
    }
}
