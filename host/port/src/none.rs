//! No connectors at all.

use crate::{
    Called, CompensateOutcome, ConnectorError, ConnectorInfo, Connectors, Description, EffectCall, Mark,
    ObligationCall, ObserveAnswer, Outcome, StatusAnswer,
};
use async_trait::async_trait;

/// A server without connectors: whatever it is asked to call is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoConnectors;

#[async_trait]
impl Connectors for NoConnectors {
    fn list(&self) -> Vec<ConnectorInfo> {
        Vec::new()
    }

    fn describe(&self, _: &str, _: &str, _: &str) -> Option<Description> {
        None
    }

    async fn dispatch(
        &self,
        name: &str,
        _: Option<&str>,
        _: &EffectCall,
        _: &dyn Mark,
    ) -> Result<Called<Outcome>, ConnectorError> {
        Err(unknown(name))
    }

    async fn status_check(
        &self,
        name: &str,
        _: Option<&str>,
        _: &EffectCall,
        _: &str,
    ) -> Result<Called<StatusAnswer>, ConnectorError> {
        Err(unknown(name))
    }

    async fn observe(
        &self,
        name: &str,
        _: Option<&str>,
        _: &EffectCall,
    ) -> Result<Called<ObserveAnswer>, ConnectorError> {
        Err(unknown(name))
    }

    async fn compensate(
        &self,
        name: &str,
        _: Option<&str>,
        _: &ObligationCall,
        _: &dyn Mark,
    ) -> Result<Called<CompensateOutcome>, ConnectorError> {
        Err(unknown(name))
    }
}

fn unknown(name: &str) -> ConnectorError {
    ConnectorError::Unknown {
        name: name.into(),
        nearest: None,
    }
}
