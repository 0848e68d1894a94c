//! What the API's answers mean, by the configuration's pointers.

use serde_json::{Map, Value, json};
use tape_guest::{
    Failure, FailureKind, HttpError, NoReceipt, ObserveAnswer, Reading, Receipt, Response, StatusAnswer, doubt,
    failure, read_query, read_request,
};

use crate::config::{Failing, Observe, StatusCheck, Success};
use crate::template;

type Answer = Result<Response, HttpError>;

/// The answer to a request that was to change something.
pub fn changed(answer: Answer, success: &Success, failing: &Failing) -> Reading<Receipt> {
    if let Ok(response) = &answer {
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if !failing.when.is_empty() && holds(&failing.when, &body) {
            return Reading::Failed(named(failure(FailureKind::Rejected, response, false), failing, &body));
        }
        if success.statuses.contains(&response.status) {
            return receipt(response, success).map_or_else(|why| Reading::Unknown(doubt(why)), Reading::Done);
        }
        if !success.statuses.is_empty() && (200..=299).contains(&response.status) {
            return Reading::Unknown(doubt(format!("{} is none of success.statuses", response.status)));
        }
        if let Reading::Failed(failure) = read_request(Ok(response.clone()), |_| Ok(())) {
            return Reading::Failed(named(failure, failing, &body));
        }
    }
    read_request(answer, |response| receipt(response, success))
}

/// What the books say.
pub fn observed(answer: Answer, observe: &Observe, scope: &Value) -> ObserveAnswer {
    if let Ok(response) = &answer
        && observe.absent_statuses.contains(&response.status)
    {
        return ObserveAnswer::Absent;
    }
    let found = read_query(answer, |response| {
        let body = json(response)?;
        let items = match &observe.items {
            None => vec![body],
            Some(pointer) => match body.pointer(pointer) {
                Some(Value::Array(items)) => items.clone(),
                _ => return Err(format!("the answer has no list at observe.items ({pointer})")),
            },
        };
        let wanted =
            template::value(&Value::Object(observe.filter.clone()), scope).map_err(|failure| failure.message)?;
        let wanted = wanted.as_object().cloned().unwrap_or_default();
        let ours = items.into_iter().filter(|item| holds(&wanted, item));
        ours.map(|item| receipt_of(&item, observe.external_ref.as_deref(), &observe.response))
            .collect::<Result<Vec<_>, _>>()
    });
    match found {
        Err(doubt) => ObserveAnswer::Inconclusive(doubt),
        Ok(receipts) => match receipts.len() {
            0 => ObserveAnswer::Absent,
            1 => receipts
                .into_iter()
                .next()
                .map_or(ObserveAnswer::Absent, ObserveAnswer::Present),
            _ => ObserveAnswer::Duplicate(receipts),
        },
    }
}

/// Whether the very request took hold.
pub fn checked(answer: Answer, check: &StatusCheck) -> StatusAnswer {
    const AGAIN_MS: u64 = 5_000;
    if let Ok(response) = &answer
        && check.not_committed_statuses.contains(&response.status)
    {
        return StatusAnswer::NotCommitted;
    }
    let found = read_query(answer, |response| {
        let body = json(response)?;
        if !check.in_progress.is_empty() && holds(&check.in_progress, &body) {
            return Ok(None);
        }
        if !holds(&check.committed, &body) {
            return Err("the answer says neither that it took hold nor that it is under way".to_owned());
        }
        receipt_of(&body, check.external_ref.as_deref(), &check.response).map(Some)
    });
    match found {
        Ok(Some(receipt)) => StatusAnswer::Committed(receipt),
        Ok(None) => StatusAnswer::InProgress(AGAIN_MS),
        Err(doubt) => StatusAnswer::Inconclusive(doubt),
    }
}

/// Whether every pointer leads to its value. Nothing holds everywhere.
pub fn holds(wanted: &Map<String, Value>, body: &Value) -> bool {
    wanted
        .iter()
        .all(|(pointer, value)| body.pointer(pointer) == Some(value))
}

pub fn json(response: &Response) -> Result<Value, NoReceipt> {
    tape_guest::json(response)
}

fn receipt(response: &Response, success: &Success) -> Result<Receipt, NoReceipt> {
    // An API that answers with nothing must be expected to: then there is no reference to read, either.
    let body = if response.body.is_empty() && success.external_ref.is_none() && response.status == 204 {
        json!({})
    } else {
        json(response)?
    };
    if !holds(&success.when, &body) {
        return Err("it does not say what success.when expects".to_owned());
    }
    receipt_of(&body, success.external_ref.as_deref(), &success.response)
}

fn receipt_of(body: &Value, external_ref: Option<&str>, response: &str) -> Result<Receipt, NoReceipt> {
    let external_ref = match external_ref.map(|pointer| (pointer, body.pointer(pointer))) {
        None => String::new(),
        Some((_, Some(Value::String(text)))) => text.clone(),
        Some((_, Some(Value::Number(number)))) => number.to_string(),
        Some((pointer, _)) => return Err(format!("there is no id at external_ref ({pointer})")),
    };
    let response = body
        .pointer(response)
        .ok_or_else(|| format!("there is nothing at response ({response})"))?;
    Ok(Receipt {
        external_ref,
        response: response.to_string(),
    })
}

fn named(failure: Failure, failing: &Failing, body: &Value) -> Failure {
    let text = |pointer: &Option<String>| body.pointer(pointer.as_deref()?)?.as_str().map(str::to_owned);
    Failure {
        code: text(&failing.code).unwrap_or(failure.code),
        message: text(&failing.message).unwrap_or(failure.message),
        ..failure
    }
}
