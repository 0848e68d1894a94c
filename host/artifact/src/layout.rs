//! The CNCF layout of a WebAssembly artifact: an image manifest, a small JSON as its configuration, and the component as its one layer.

use std::collections::BTreeMap;

use oci_client::client::{Config, ImageLayer};
use oci_client::manifest::{OciDescriptor, OciImageManifest, OciManifest};
use serde_json::json;

use crate::{Artifact, ArtifactError, COMPONENT_BYTES_MAX, Reference, Signature, digest};

const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";
/// Our signatures: each under the key's id.
const SIGNATURE: &str = "dev.tape.connector.signature.";
const SIGNATURES_MAX: usize = 16;

/// What is pushed of an artifact.
pub fn pack(artifact: &Artifact) -> (OciImageManifest, Vec<ImageLayer>, Config) {
    let config = json!({
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [digest(&artifact.component)],
        "component": {"imports": artifact.imports, "exports": artifact.exports},
    });
    let config = Config::new(config.to_string(), CONFIG.to_owned(), None);
    let layers = vec![ImageLayer::new(artifact.component.clone(), LAYER.to_owned(), None)];
    let mut annotations = BTreeMap::from([
        (TITLE.to_owned(), artifact.name.clone()),
        (VERSION.to_owned(), artifact.version.clone()),
    ]);
    for signature in &artifact.signatures {
        annotations.insert(format!("{SIGNATURE}{}", signature.key), signature.to_string());
    }
    (
        OciImageManifest::build(&layers, &config, Some(annotations)),
        layers,
        config,
    )
}

/// The one layer of a manifest that is a component's, and who vouches for it.
pub fn unpack(reference: &Reference, manifest: &[u8]) -> Result<(OciDescriptor, Vec<Signature>), ArtifactError> {
    let no = |problem: String| ArtifactError::Layout {
        reference: reference.to_string(),
        problem,
    };
    let manifest: OciManifest =
        serde_json::from_slice(manifest).map_err(|error| no(format!("its manifest: {error}")))?;
    let OciManifest::Image(manifest) = manifest else {
        return Err(no(
            "it is an index of several; name one of them by its digest".to_owned()
        ));
    };
    if manifest.config.media_type != CONFIG {
        return Err(no(format!(
            "its configuration is {:?}, not {CONFIG:?}",
            manifest.config.media_type
        )));
    }
    let [layer] = &manifest.layers[..] else {
        return Err(no(format!("it has {} layers, not one", manifest.layers.len())));
    };
    if layer.media_type != LAYER {
        return Err(no(format!("its layer is {:?}, not {LAYER:?}", layer.media_type)));
    }
    if !usize::try_from(layer.size).is_ok_and(|bytes| bytes <= COMPONENT_BYTES_MAX) {
        return Err(ArtifactError::TooLarge {
            reference: reference.to_string(),
            what: "the component",
            most: COMPONENT_BYTES_MAX,
        });
    }
    let mut signatures = Vec::new();
    for (key, text) in manifest.annotations.iter().flatten() {
        if key.starts_with(SIGNATURE) && signatures.len() < SIGNATURES_MAX {
            signatures.push(
                text.parse()
                    .map_err(|error| no(format!("annotation {key:?}: {error}")))?,
            );
        }
    }
    Ok((layer.clone(), signatures))
}
