//! Any JSON API, by configuration alone: which request an operation is, what its answers mean, how it is looked up and undone.

mod config;
mod describe;
mod read;
mod template;

use serde_json::{Value, json};
use tape_guest::{
    CompensateAnswer, Connector, DispatchAnswer, Effect, Failure, Obligation, ObserveAnswer, Reading, Receipt,
    StatusAnswer, doubt, invalid,
};

use crate::config::{Compensate, Config, Operation};

struct Http;

tape_guest::export!(Http);

impl Connector for Http {
    fn describe() -> Result<String, String> {
        let config: Config = tape_guest::config().map_err(|failure| failure.message)?;
        match config.problem() {
            Some(problem) => Err(problem),
            None => Ok(describe::description(&config).to_string()),
        }
    }

    fn dispatch(effect: Effect) -> DispatchAnswer {
        dispatch(&effect).unwrap_or_else(DispatchAnswer::Failed)
    }

    fn status_check(effect: Effect, reference: String) -> StatusAnswer {
        status_check(&effect, &reference).unwrap_or_else(|failure| StatusAnswer::Inconclusive(doubt(failure.message)))
    }

    fn observe(effect: Effect) -> ObserveAnswer {
        observe(&effect).unwrap_or_else(|failure| ObserveAnswer::Inconclusive(doubt(failure.message)))
    }

    fn compensate(obligation: Obligation) -> CompensateAnswer {
        compensate(&obligation).unwrap_or_else(CompensateAnswer::Failed)
    }
}

fn dispatch(effect: &Effect) -> Result<DispatchAnswer, Failure> {
    let config: Config = tape_guest::config()?;
    let operation = operation(&config, effect)?;
    let request = template::request(&config, &operation.request, &template::scope(effect)?)?;
    Ok(read::changed(request.send(), &operation.success, &operation.failure).into())
}

fn status_check(effect: &Effect, reference: &str) -> Result<StatusAnswer, Failure> {
    let config: Config = tape_guest::config()?;
    let Some(check) = &operation(&config, effect)?.status_check else {
        return Err(unsupported(effect, "status_check"));
    };
    let mut scope = template::scope(effect)?;
    scope["reference"] = reference.into();
    Ok(read::checked(
        template::request(&config, &check.request, &scope)?.send(),
        check,
    ))
}

fn observe(effect: &Effect) -> Result<ObserveAnswer, Failure> {
    let config: Config = tape_guest::config()?;
    let Some(observe) = &operation(&config, effect)?.observe else {
        return Err(unsupported(effect, "observe"));
    };
    let scope = template::scope(effect)?;
    let request = template::request(&config, &observe.request, &scope)?;
    Ok(read::observed(request.send(), observe, &scope))
}

fn compensate(obligation: &Obligation) -> Result<CompensateAnswer, Failure> {
    let config: Config = tape_guest::config()?;
    let Some(undo) = &operation(&config, &obligation.effect)?.compensate else {
        return Err(unsupported(&obligation.effect, "compensate"));
    };
    let scope = template::obligation_scope(obligation)?;
    if let Some(answer) = looked(&config, undo, &scope, obligation)? {
        return Ok(answer);
    }
    let answer = template::request(&config, &undo.request, &scope)?.send();
    if let Ok(response) = &answer
        && undo.done_statuses.contains(&response.status)
    {
        return Ok(CompensateAnswer::Resolved(already(obligation)));
    }
    let failing = config::Failing::default();
    let done = read::changed(answer, &undo.success, &failing);
    // The reference stays the one that was undone where the answer names none.
    Ok(match done {
        Reading::Done(receipt) if receipt.external_ref.is_empty() => Reading::Done(Receipt {
            external_ref: already(obligation).external_ref,
            ..receipt
        }),
        done => done,
    }
    .into())
}

/// What the look before an undoing says, if that settles it.
fn looked(
    config: &Config,
    undo: &Compensate,
    scope: &Value,
    obligation: &Obligation,
) -> Result<Option<CompensateAnswer>, Failure> {
    let Some(look) = &undo.look else { return Ok(None) };
    let answer = template::request(config, &look.request, scope)?.send();
    if let Ok(response) = &answer
        && look.absent_statuses.contains(&response.status)
    {
        return Ok(Some(CompensateAnswer::Resolved(already(obligation))));
    }
    Ok(match tape_guest::read_query(answer, read::json) {
        Err(doubt) => Some(CompensateAnswer::Unknown(doubt)),
        Ok(body) => read::holds(&look.undone, &body).then(|| CompensateAnswer::Resolved(already(obligation))),
    })
}

fn already(obligation: &Obligation) -> Receipt {
    let external_ref = obligation.receipt.as_ref().map(|receipt| receipt.external_ref.clone());
    Receipt {
        external_ref: external_ref.unwrap_or_default(),
        response: json!({"status": "nothing left to undo"}).to_string(),
    }
}

fn operation<'a>(config: &'a Config, effect: &Effect) -> Result<&'a Operation, Failure> {
    config.operations.get(&effect.operation).ok_or_else(|| {
        let names: Vec<_> = config.operations.keys().map(String::as_str).collect();
        invalid(
            "unknown-operation",
            format!(
                "there is no operation `{}`, only {}",
                effect.operation,
                names.join(", ")
            ),
        )
    })
}

fn unsupported(effect: &Effect, what: &str) -> Failure {
    invalid(
        "unsupported",
        format!("operation `{}` has no `{what}` in the configuration", effect.operation),
    )
}
