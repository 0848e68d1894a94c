//! What is refused about deployed connectors, in words.

use tape_connector_port::Misfit;
use tape_core::Refusal;
use tape_core::connector::{COMPONENT_BYTES_MAX, ConnectorName};
use tape_core::refusal::Status as Refused;
use tape_port::TapeError;

use super::put::PART_MAX;

pub(super) fn misfit(error: &Misfit) -> TapeError {
    let class = match error.field {
        "" => return TapeError::Unavailable(error.message.clone()),
        "component" => Refused::FailedPrecondition,
        _ => Refused::InvalidArgument,
    };
    let mut refusal = Refusal::new(
        class,
        error.code,
        format!("{}.", error.message.trim_end_matches('.')),
        "",
    );
    refusal.field = Some(error.field);
    refusal.into()
}

pub(super) fn inactive(name: &ConnectorName) -> Refusal {
    Refusal::new(
        Refused::FailedPrecondition,
        "TAPE-C042",
        format!("No version of connector {:?} is active.", name.name),
        "Name a version, or activate one: tape connector activate NAME VERSION.",
    )
}

pub(super) fn in_use(name: &ConnectorName, version: &str, open: usize) -> Refusal {
    Refusal::new(
        Refused::FailedPrecondition,
        "TAPE-C043",
        format!(
            "Version {version:?} of connector {:?} has dispatched {open} effects that are not settled: it is asked about them.",
            name.name
        ),
        "Wait until they are settled (tape status); or remove it with --force, and the active version is asked instead.",
    )
    .at("version", version)
}

pub(super) fn other_bytes(said: &str, found: &str) -> Refusal {
    Refusal::invalid(
        "digest",
        said,
        format!("The bytes that came are {found}."),
        "Put it again; if it stays so, the file was changed since its digest was taken.",
    )
    .coded("TAPE-C045")
}

pub(super) fn too_large() -> Refusal {
    Refusal::invalid(
        "component",
        "",
        format!("A component has at most {} MiB.", COMPONENT_BYTES_MAX / (1024 * 1024)),
        "Build it in release mode and without debug information.",
    )
    .coded("TAPE-C046")
}

pub(super) fn out_of_order() -> Refusal {
    Refusal::invalid(
        "part",
        "",
        "An upload is a header, once, and then the component's bytes.",
        "Send the header first.",
    )
}

pub(super) fn stalled() -> Refusal {
    Refusal::new(
        Refused::FailedPrecondition,
        "TAPE-C045",
        format!("The component did not come: nothing for {} s.", PART_MAX.as_secs()),
        "Put it again.",
    )
}

pub(super) fn busy() -> Refusal {
    Refusal::new(
        Refused::ResourceExhausted,
        "TAPE-C046",
        "Other components are being put, and each is in memory as a whole.",
        "Put it again when they are done.",
    )
}

pub(super) fn unreadable_signature() -> Refusal {
    Refusal::invalid(
        "signature",
        "",
        "The signature is no text.",
        "Send what `tape connector sign` writes, one signature on a line.",
    )
    .coded("TAPE-C048")
}
