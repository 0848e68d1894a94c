//! Components, built from their sources once per test process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The component of `package` (`tape-connector-bank`), built for release.
///
/// Cargo does nothing if it is fresh; its own lock keeps test processes apart.
pub fn component(package: &str) -> Vec<u8> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let connectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../connectors");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| connectors.join("target"), PathBuf::from);
    {
        let _building = BUILDING.lock().expect("no build panics while it holds the lock");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "--release",
                "--target",
                "wasm32-wasip2",
                "--package",
                package,
            ])
            .current_dir(&connectors)
            .env("CARGO_TARGET_DIR", &target)
            .status()
            .expect("cargo runs");
        assert!(status.success(), "{package} does not build");
    }
    let file = target
        .join("wasm32-wasip2/release")
        .join(format!("{}.wasm", package.replace('-', "_")));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// A connector's component with something behind it that changes its digest and nothing else: a custom section.
///
/// # Panics
/// It cannot be built, or the mark is longer than a hundred bytes.
#[must_use]
pub fn marked(package: &str, mark: &str) -> Vec<u8> {
    const NAME: &[u8] = b"mark";
    let mut component = component(package);
    let length = u8::try_from(1 + NAME.len() + mark.len())
        .ok()
        .filter(|length| *length < 128);
    component.extend([0, length.expect("a short mark"), 4]);
    component.extend(NAME);
    component.extend(mark.as_bytes());
    component
}
