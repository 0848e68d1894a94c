//! {{name}}: creates items in an API that deduplicates nothing.
//!
//! Keep what is asked (`plan.rs`) and what answers mean (`books.rs`) apart from the sending: both are then plain functions with plain tests.

mod books;
mod plan;

use serde_json::json;
use tape_guest::{
    CompensateAnswer, Connector, DispatchAnswer, Effect, Obligation, ObserveAnswer, StatusAnswer, doubt, read_query,
    read_request,
};

struct ThisConnector;

tape_guest::export!(ThisConnector);

impl Connector for ThisConnector {
    /// Who it is. Asked once, at load.
    fn describe() -> Result<String, String> {
        let description = json!({
            "name": "{{name}}",
            "version": env!("CARGO_PKG_VERSION"),
            "contract": "1.0.0",
            "summary": "Items in an API that deduplicates nothing",
            "operations": [{
                "name": "create", "summary": "One item", "semantics": "NON_IDEMPOTENT",
                "payload_schema": {
                    "type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}
                }
            }],
            "supports": {"observe": true, "status_check": false, "compensate": true},
            "config_schema": {
                "type": "object", "required": ["base_url"], "properties": {"base_url": {"type": "string"}}
            },
            "asks": {
                "hosts": [{"host": "config:base_url", "methods": ["GET", "POST", "DELETE"], "why": "the API"}],
                "secrets": [{"name": "api-token", "why": "authorizes every request"}]
            }
        });
        Ok(description.to_string())
    }

    /// Does it, once. 2xx is confirmed, 4xx failed, anything else unknown: never guess.
    fn dispatch(effect: Effect) -> DispatchAnswer {
        match plan::create(&effect) {
            Ok(request) => read_request(request.send(), books::receipt).into(),
            Err(failure) => DispatchAnswer::Failed(failure),
        }
    }

    /// For APIs that can be asked about a request. This one cannot.
    fn status_check(_: Effect, _: String) -> StatusAnswer {
        StatusAnswer::Inconclusive(doubt("the API keeps no request ids"))
    }

    /// After a lost answer: what do the API's books say?
    fn observe(effect: Effect) -> ObserveAnswer {
        let request = match plan::lookup(&effect) {
            Ok(request) => request,
            Err(failure) => return ObserveAnswer::Inconclusive(doubt(failure.message)),
        };
        match read_query(request.send(), books::items) {
            Ok(items) => books::observed(&items),
            Err(doubt) => ObserveAnswer::Inconclusive(doubt),
        }
    }

    /// Undoes it, once: looks first. What is not there needs no undoing.
    fn compensate(obligation: Obligation) -> CompensateAnswer {
        let request = match plan::lookup(&obligation.effect) {
            Ok(request) => request,
            Err(failure) => return CompensateAnswer::Failed(failure),
        };
        let items = match read_query(request.send(), books::items) {
            Ok(items) => items,
            Err(doubt) => return CompensateAnswer::Unknown(doubt),
        };
        let Some(item) = books::meant(&items, obligation.receipt.as_ref()) else {
            return CompensateAnswer::Resolved(books::nothing(obligation.receipt));
        };
        match plan::delete(&item.id) {
            Ok(request) => read_request(request.send(), |_| Ok(item.receipt())).into(),
            Err(failure) => CompensateAnswer::Failed(failure),
        }
    }
}
