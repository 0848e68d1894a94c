//! Scaffolds: what `tape init` writes. They are part of the binary.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use include_dir::{Dir, DirEntry, include_dir};

static ADK_PYTHON: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates/adk-python");
/// The component of `connectors/bank`, built with this crate.
static BANK_WASM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bank.wasm"));
const BANK_WASM_PATH: &str = "connectors/bank/bank.wasm";
static CONNECTOR_RUST: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates/connector-rust");
static CONNECTOR_PYTHON: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates/connector-python");
static CONNECTOR_GO: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates/connector-go");
static CONNECTOR_TYPESCRIPT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates/connector-typescript");
/// The contract, and what authors use: a project carries its own.
static CONTRACT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");
static GUEST_RUST: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../connectors/guest");
static GUEST_PYTHON: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../connectors/guest-python");
static GUEST_TYPESCRIPT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../connectors/guest-typescript");
static GUEST_GO: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../connectors/guest-go");
/// What of them is no author's business: their own tests, and what builds leave.
const GUEST_OWN: [&str; 5] = ["test", "tests", "globals", "node_modules", "internal/wit"];
const NAME: &str = "{{name}}";
/// The name as a crate's library has it.
const CRATE: &str = "@crate@";

/// What a project is made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Template {
    /// An agent of Google's ADK in Python, with a scripted model and a wire through the demo bank.
    #[default]
    AdkPython,
}

/// What a connector is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// 0.2 MiB, 35 µs for a fresh call.
    #[default]
    Rust,
    /// 18 MiB, 1.4 ms for a fresh call; needs componentize-py.
    Python,
    /// 3 MiB, 0.2 ms for a fresh call; needs Node.js.
    #[value(name = "typescript", alias = "ts")]
    TypeScript,
    /// 4.5 MiB, 0.8 ms for a fresh call; needs Go 1.25.
    Go,
}

impl Language {
    /// What has to be run once in a fresh project, and why.
    #[must_use]
    pub fn prepare(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Rust => None,
            Self::Python => Some((
                "pip install componentize-py==0.25.1",
                "into an environment that is active",
            )),
            Self::TypeScript => Some(("npm ci", "the tools, as package-lock.json has them")),
            Self::Go => None,
        }
    }

    /// Where the contract and what authors use lie in a project. Go takes a folder `vendor` for its own.
    #[must_use]
    pub fn vendored(self) -> &'static str {
        match self {
            Self::Go => "tape",
            Self::Rust | Self::Python | Self::TypeScript => "vendor",
        }
    }
}

/// One file to write.
struct File {
    path: PathBuf,
    content: Vec<u8>,
}

/// Writes the scaffold into `folder` and returns the paths within it, sorted. Writes nothing if one of them exists.
///
/// # Errors
/// A file that exists already, or a folder that cannot be written.
pub fn write(template: Template, name: &str, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    write_files(files(template, name)?, folder)
}

/// Writes the scaffold of a connector into `folder`, with the contract and what its author uses in `vendor/`.
///
/// # Errors
/// As for [`write`].
pub fn write_connector(language: Language, name: &str, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (scaffold, guest, guest_folder) = match language {
        Language::Rust => (&CONNECTOR_RUST, &GUEST_RUST, "connectors/guest"),
        Language::Python => (&CONNECTOR_PYTHON, &GUEST_PYTHON, "python"),
        Language::TypeScript => (&CONNECTOR_TYPESCRIPT, &GUEST_TYPESCRIPT, "typescript"),
        Language::Go => (&CONNECTOR_GO, &GUEST_GO, "guest"),
    };
    let vendor = Path::new(language.vendored());
    let mut files = Vec::new();
    collect(scaffold, name, &mut files)?;
    for (dir, below) in [(&CONTRACT, "wit"), (guest, guest_folder)] {
        let mut vendored = Vec::new();
        collect(dir, name, &mut vendored)?;
        vendored.retain(|file| !is_guests_own(&file.path));
        files.extend(vendored.into_iter().map(|file| File {
            path: vendor.join(below).join(file.path),
            content: file.content,
        }));
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    write_files(files, folder)
}

fn write_files(files: Vec<File>, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    for file in &files {
        let path = folder.join(&file.path);
        if path.exists() {
            bail!(
                "{} exists, and nothing is overwritten. Choose another name, or move it away.",
                path.display()
            );
        }
    }
    for file in &files {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make the folder {}", parent.display()))?;
        }
        fs::write(&path, &file.content).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(files.into_iter().map(|file| file.path).collect())
}

fn files(template: Template, name: &str) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    match template {
        Template::AdkPython => {
            collect(&ADK_PYTHON, name, &mut files)?;
            files.push(File {
                path: BANK_WASM_PATH.into(),
                content: BANK_WASM.to_vec(),
            });
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn collect(dir: &Dir<'_>, name: &str, files: &mut Vec<File>) -> anyhow::Result<()> {
    for entry in dir.entries() {
        match entry {
            DirEntry::Dir(inner) if inner.path().file_name().is_some_and(is_left_over) => {}
            DirEntry::Dir(inner) => collect(inner, name, files)?,
            DirEntry::File(file) => {
                let text = file
                    .contents_utf8()
                    .with_context(|| format!("{} is no text", file.path().display()))?;
                files.push(File {
                    path: file.path().to_owned(),
                    content: text
                        .replace(NAME, name)
                        .replace(CRATE, &name.replace('-', "_"))
                        .into_bytes(),
                });
            }
        }
    }
    Ok(())
}

fn is_guests_own(path: &Path) -> bool {
    let is_test = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().ends_with("_test.go"));
    is_test || GUEST_OWN.iter().any(|own| path.starts_with(own))
}

/// What running the scaffold in place leaves in it.
fn is_left_over(folder: &std::ffi::OsStr) -> bool {
    [
        "__pycache__",
        ".pytest_cache",
        ".ruff_cache",
        ".tape",
        ".venv",
        "target",
    ]
    .iter()
    .any(|name| folder == *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaffold_has_an_agent_a_configuration_and_a_component() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(Template::AdkPython, "treasury", folder.path()).unwrap();
        for expected in ["app/agent.py", "tape.yaml", "pyproject.toml", BANK_WASM_PATH] {
            assert!(
                files.contains(&PathBuf::from(expected)),
                "{expected} is missing in {files:?}"
            );
        }
        let yaml = fs::read_to_string(folder.path().join("tape.yaml")).unwrap();
        assert!(yaml.contains("treasury") && !yaml.contains(NAME), "{yaml}");
        let component = fs::read(folder.path().join(BANK_WASM_PATH)).unwrap();
        assert_eq!(component[..8], *b"\0asm\x0d\0\x01\0");
    }

    #[test]
    fn a_connectors_scaffold_has_contract_guest_and_cases_in_every_language() {
        for (language, own) in [
            (Language::Rust, ["src/lib.rs", "vendor/connectors/guest/src/lib.rs"]),
            (Language::Python, ["app.py", "vendor/python/tape_guest/__init__.py"]),
            (
                Language::TypeScript,
                ["src/connector.ts", "vendor/typescript/src/index.ts"],
            ),
            (Language::Go, ["main.go", "tape/guest/connector.go"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let files = write_connector(language, "parcels", folder.path()).unwrap();
            let wit = format!("{}/wit/tape-connector@1.0.0/connector.wit", language.vendored());
            for expected in [
                "connector.toml",
                "README.md",
                "cases/upstream.yaml",
                "cases/items.yaml",
                &wit,
            ]
            .into_iter()
            .chain(own)
            {
                assert!(
                    files.contains(&PathBuf::from(expected)),
                    "{expected} is missing in {files:?}"
                );
            }
            // Below the vendored folder and the guest's own.
            let within = |file: &&PathBuf| file.components().skip(2).collect::<PathBuf>();
            let mut vendored = files.iter().filter(|file| file.starts_with(language.vendored()));
            let left_over = vendored.find(|file| is_guests_own(&within(file)));
            assert_eq!(left_over, None, "{language:?}");
            for file in &files {
                let text = fs::read_to_string(folder.path().join(file)).unwrap();
                let is_docs = file.starts_with(language.vendored());
                assert!(is_docs || !text.contains(NAME), "{}: {text}", file.display());
            }
        }
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_is_half_written() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tape.yaml"), "mine").unwrap();
        let error = write(Template::AdkPython, "treasury", folder.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("tape.yaml exists"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
