//! Go's bindings call a small runtime package, whose sources lie in the crate that makes the bindings: they are put beside the bindings, so
//! that a connector in Go needs no module from anywhere.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const CRATE: &str = "wit-bindgen-go";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    let sources = crate_folder()?.join("src/pkg");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("go-runtime");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    for package in ["async", "runtime", "types"] {
        copy(&sources.join("wit").join(package), &out.join(package))?;
        fs::copy(sources.join("LICENSE"), out.join(package).join("LICENSE"))?;
    }
    Ok(())
}

/// Where cargo keeps the crate that this build uses.
fn crate_folder() -> Result<PathBuf, Box<dyn Error>> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == CRATE)
        .find_map(|package| package["manifest_path"].as_str());
    let manifest = manifest.ok_or_else(|| format!("cargo does not know where {CRATE} is"))?;
    Ok(Path::new(manifest)
        .parent()
        .ok_or("a manifest lies in a folder")?
        .to_owned())
}

fn copy(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
