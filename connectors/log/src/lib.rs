//! Writes every effect into the log, and does nothing else: for trying things out, and as the smallest connector there is.

use serde_json::{Value, json};
use tape_guest::{
    CompensateAnswer, Connector, DispatchAnswer, Effect, Obligation, ObserveAnswer, Receipt, StatusAnswer, doubt,
    invalid, log,
};

struct Log;

tape_guest::export!(Log);

impl Connector for Log {
    fn describe() -> Result<String, String> {
        let description = json!({
            "name": "log",
            "version": env!("CARGO_PKG_VERSION"),
            "contract": "1.0.0",
            "summary": "Writes effects into the log",
            "operations": [{
                "name": "write", "summary": "One line", "semantics": "IDEMPOTENT",
                "payload_schema": {
                    "type": "object", "required": ["message"],
                    "properties": {"message": {"type": "string"}, "level": {"enum": ["debug", "info", "warn", "error"]}}
                }
            }],
            "supports": {"observe": false, "status_check": false, "compensate": true},
            "offline": true,
            "config_schema": {"type": "object", "additionalProperties": false, "properties": {}}
        });
        Ok(description.to_string())
    }

    fn dispatch(effect: Effect) -> DispatchAnswer {
        if effect.operation != "write" {
            let message = format!("there is no operation `{}`, only `write`", effect.operation);
            return DispatchAnswer::Failed(invalid("unknown-operation", message));
        }
        let payload: Value = match tape_guest::payload(&effect.payload) {
            Ok(payload) => payload,
            Err(failure) => return DispatchAnswer::Failed(failure),
        };
        let Some(message) = payload["message"].as_str() else {
            return DispatchAnswer::Failed(invalid("bad-payload", "`message` is missing, or no text"));
        };
        let level = match payload["level"].as_str() {
            Some("debug") => log::Level::Debug,
            Some("warn") => log::Level::Warn,
            Some("error") => log::Level::Error,
            _ => log::Level::Info,
        };
        log::write(level, message, &[("key".to_owned(), effect.idempotency_key.clone())]);
        DispatchAnswer::Confirmed(written(&effect))
    }

    fn status_check(_: Effect, _: String) -> StatusAnswer {
        StatusAnswer::Inconclusive(doubt("a log keeps no books"))
    }

    fn observe(_: Effect) -> ObserveAnswer {
        ObserveAnswer::Inconclusive(doubt("a log keeps no books"))
    }

    /// What was written stays written; that it no longer holds is written, too.
    fn compensate(obligation: Obligation) -> CompensateAnswer {
        let fields = [("key".to_owned(), obligation.effect.idempotency_key.clone())];
        log::write(log::Level::Info, "undone", &fields);
        CompensateAnswer::Resolved(written(&obligation.effect))
    }
}

fn written(effect: &Effect) -> Receipt {
    Receipt {
        external_ref: effect.idempotency_key.clone(),
        response: json!({"written": true}).to_string(),
    }
}
