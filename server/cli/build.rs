//! Builds the scaffold's connector for wasm32-wasip2, so that `tape init` can put a component beside its agent.
//!
//! Guests are a workspace of their own (`connectors/`), hence a cargo of its own, with none of this build's flags.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";
const PACKAGE: &str = "tape-connector-bank";

fn main() -> Result<(), Box<dyn Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let guests = here.join("../../connectors").canonicalize()?;
    let contract = here.join("../../wit").canonicalize()?;
    for source in ["Cargo.toml", "Cargo.lock", "bank", "guest"] {
        println!("cargo:rerun-if-changed={}", guests.join(source).display());
    }
    println!("cargo:rerun-if-changed={}", contract.display());
    for guest in ["guest-python", "guest-typescript", "guest-go"] {
        println!("cargo:rerun-if-changed={}", guests.join(guest).display());
    }
    println!("cargo:rerun-if-changed=templates");

    let out = PathBuf::from(env::var("OUT_DIR")?);
    let built = build(&guests, &out)?;
    std::fs::copy(built, out.join("bank.wasm"))?;
    Ok(())
}

fn build(guests: &Path, out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    need_target()?;
    let target_dir = out.join("guests");
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--target",
            TARGET,
            "-p",
            PACKAGE,
            "--manifest-path",
        ])
        .arg(guests.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .current_dir(guests);
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        // What cargo tells this build about itself, and flags meant for the host, are not for a guest.
        let ours = [
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC",
            "RUSTDOC",
            "TARGET",
            "HOST",
        ];
        let prefixed = [
            "CARGO_ENCODED_",
            "CARGO_CFG_",
            "CARGO_FEATURE_",
            "CARGO_PKG_",
            "CARGO_PROFILE_",
            "CARGO_BUILD_",
        ];
        if ours.contains(&name.as_str()) || prefixed.iter().any(|prefix| name.starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    let ended = cargo.output()?;
    if !ended.status.success() {
        return Err(format!(
            "the connector `{PACKAGE}` could not be built for {TARGET}:\n{}",
            String::from_utf8_lossy(&ended.stderr)
        )
        .into());
    }
    Ok(target_dir
        .join(TARGET)
        .join("release")
        .join(format!("{}.wasm", PACKAGE.replace('-', "_"))))
}

/// Says what to do when the target's standard library is not there; rustc's own words leave one guessing.
fn need_target() -> Result<(), Box<dyn Error>> {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let asked = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()?;
    let libraries = String::from_utf8_lossy(&asked.stdout);
    if asked.status.success() && Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    Err(format!(
        "the Rust target {TARGET} is missing, and connectors are built for it. Cure: rustup target add {TARGET}"
    )
    .into())
}
