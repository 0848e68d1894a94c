//! What a server refuses, in words: what is wrong, and what to do about it.

use prost::Message;
use tape_proto::ERROR_DETAIL_TRAILER;
use tape_proto::v1::ErrorDetail;
use tonic::{Code, Status};

/// A request that was not carried out.
#[derive(Debug)]
pub struct ServerError {
    status: Status,
    detail: ErrorDetail,
}

impl ServerError {
    /// An answer that no server gives.
    pub fn strange(what: &str) -> Self {
        Status::internal(format!("the server answers {what}")).into()
    }

    /// Nobody answers there.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.status.code() == Code::Unavailable && self.detail.code.is_empty()
    }
}

impl From<Status> for ServerError {
    fn from(status: Status) -> Self {
        let detail = status
            .metadata()
            .get_bin(ERROR_DETAIL_TRAILER)
            .and_then(|value| value.to_bytes().ok());
        let detail = detail
            .and_then(|bytes| ErrorDetail::decode(bytes).ok())
            .unwrap_or_default();
        Self { status, detail }
    }
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let message = self.status.message();
        if !(self.detail.code.is_empty() || message.contains(&self.detail.code)) {
            write!(f, "{}: ", self.detail.code)?;
        }
        if message.is_empty() {
            write!(f, "{}", self.status.code())?;
        } else {
            write!(f, "{message}")?;
        }
        if !(self.detail.cure.is_empty() || message.contains(&self.detail.cure)) {
            write!(f, " {}", self.detail.cure)?;
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}

#[cfg(test)]
mod tests {
    use tonic::metadata::{MetadataMap, MetadataValue};

    use super::*;

    #[test]
    fn a_refusal_has_its_code_and_its_cure() {
        let detail = ErrorDetail {
            code: "TAPE-R001".to_owned(),
            cure: "Look with `tape status --all`.".to_owned(),
            ..Default::default()
        };
        let mut trailer = MetadataMap::new();
        trailer.insert_bin(ERROR_DETAIL_TRAILER, MetadataValue::from_bytes(&detail.encode_to_vec()));
        let status = Status::with_metadata(Code::NotFound, "There is no run r-1.", trailer);
        let error = ServerError::from(status);
        assert_eq!(
            error.to_string(),
            "TAPE-R001: There is no run r-1. Look with `tape status --all`."
        );
        assert!(!error.is_away());
    }
}
