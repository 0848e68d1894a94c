//! What a component imports and exports, read from its bytes: milliseconds, without compiling it.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};

use crate::contract::VERSION;
use crate::load::{LoadError, check_bytes};

/// The interface that makes a component a connector; its version follows.
const CONNECTOR: &str = "tape:connector/connector@";

/// A component from the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Interfaces that it imports, in its order: `tape:connector/http@1.0.0`.
    pub imports: Vec<String>,
    /// Interfaces that it exports.
    pub exports: Vec<String>,
    /// `sha256:<hex>`.
    pub digest: String,
    pub bytes: usize,
}

/// Reads a component's imports and exports.
///
/// # Errors
/// [`LoadError::NotAComponent`].
pub fn inspect(component: &[u8]) -> Result<Inspection, LoadError> {
    let name = "component";
    check_bytes(name, component)?;
    let (imports, exports) = worlds(component).map_err(|error| LoadError::NotAComponent {
        name: name.to_owned(),
        problem: error.to_string(),
    })?;
    Ok(Inspection {
        imports,
        exports,
        digest: format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(component))),
        bytes: component.len(),
    })
}

/// Why a component's exports are not those of a connector that was built against one of `versions`; None if they are.
pub(crate) fn wrong_world(component: &[u8], versions: &[String]) -> Option<String> {
    let (_, exports) = worlds(component).ok()?;
    let built_against = exports.iter().find_map(|export| export.strip_prefix(CONNECTOR));
    match built_against {
        Some(version) if versions.iter().any(|known| known == version) => None,
        Some(version) => Some(format!(
            "it was built against tape:connector@{version}, and this host speaks {}",
            versions.join(", ")
        )),
        None => {
            let instead = if exports.is_empty() {
                "nothing".to_owned()
            } else {
                exports.join(", ")
            };
            Some(format!(
                "it exports {instead}, and not {CONNECTOR}{VERSION}, so it was built for another world"
            ))
        }
    }
}

fn worlds(component: &[u8]) -> wasmparser::Result<(Vec<String>, Vec<String>)> {
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0_usize);
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            // What is inside is not what it shows.
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}
