//! A connector built against contract 1.1.0, using all that it offers. It must run on every later host.

mod bindings {
    wit_bindgen::generate!({ path: "../../wit/tape-connector@1.1.0", world: "guest" });
}

use bindings::exports::tape::connector::connector::{
    CompensateAnswer, DispatchAnswer, Doubt, Effect, Failure, FailureKind, Guest, Obligation, ObserveAnswer, Receipt,
    StatusAnswer,
};
use bindings::tape::connector::{clock, config, http, log, random, tenant};

struct Fixture;

bindings::export!(Fixture with_types_in bindings);

impl Guest for Fixture {
    fn describe() -> Result<String, String> {
        Ok(r#"{"name": "compat", "version": "1.1.0", "contract": "1.1.0",
            "operations": [{"name": "play", "semantics": "NON_IDEMPOTENT"}],
            "supports": {"observe": true, "status_check": true, "compensate": true}}"#
            .to_owned())
    }

    fn dispatch(effect: Effect) -> DispatchAnswer {
        let noise = random::bytes(8).len();
        let time = clock::now_ms() > 0 && clock::monotonic_ns() < u64::MAX;
        let said = format!("{} every {} ns", tenant::motto(), clock::resolution_ns());
        log::write(
            log::Level::Info,
            "dispatching",
            &[("key".to_owned(), effect.idempotency_key)],
        );
        match send("POST", effect.payload) {
            Ok(status) => DispatchAnswer::Confirmed(Receipt {
                external_ref: format!("x-{status}"),
                response: format!(r#"{{"noise": {noise}, "time": {time}, "said": "{said}"}}"#),
            }),
            Err(http::Error::Denied(why) | http::Error::NotSent(why)) => DispatchAnswer::Failed(Failure {
                kind: FailureKind::Unavailable,
                code: "not-sent".to_owned(),
                message: why,
                retryable: true,
                retry_after_ms: Some(7),
            }),
            Err(http::Error::MaybeSent(why) | http::Error::TooLarge(why)) => DispatchAnswer::Unknown(doubt(why)),
        }
    }

    fn status_check(effect: Effect, reference: String) -> StatusAnswer {
        match send("GET", effect.payload) {
            Ok(_) => StatusAnswer::Committed(receipt(reference)),
            Err(_) => StatusAnswer::Inconclusive(doubt("no answer".to_owned())),
        }
    }

    fn observe(effect: Effect) -> ObserveAnswer {
        match send("GET", effect.payload) {
            Ok(_) => ObserveAnswer::Duplicate(vec![receipt("a".to_owned()), receipt("b".to_owned())]),
            Err(_) => ObserveAnswer::Inconclusive(doubt("no answer".to_owned())),
        }
    }

    fn estimate_ms(_: Effect) -> u64 {
        12
    }

    fn compensate(obligation: Obligation) -> CompensateAnswer {
        match send("DELETE", obligation.effect.payload) {
            Ok(_) => CompensateAnswer::Resolved(obligation.receipt.unwrap_or_else(|| receipt(String::new()))),
            Err(_) => CompensateAnswer::Unknown(doubt("no answer".to_owned())),
        }
    }
}

/// To the url that the payload is, as JSON text.
fn send(method: &str, payload: String) -> Result<u16, http::Error> {
    let request = http::Request {
        method: method.to_owned(),
        url: payload.trim_matches('"').to_owned(),
        headers: vec![("x-config".to_owned(), config::get())],
        body: (method == "POST").then(|| b"{}".to_vec()),
        timeout_ms: Some(200),
    };
    Ok(http::send(&request)?.status)
}

fn receipt(external_ref: String) -> Receipt {
    Receipt {
        external_ref,
        response: "{}".to_owned(),
    }
}

fn doubt(reason: String) -> Doubt {
    Doubt {
        reason,
        sent: String::new(),
        hint: String::new(),
    }
}
