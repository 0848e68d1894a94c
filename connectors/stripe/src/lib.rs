//! Payments through Stripe: payment intents, and refunds to undo them.
//!
//! Stripe deduplicates by the idempotency key, for a day or more. For what is older, and for people, the key stands in the intent's metadata.

mod stripe;

use tape_guest::{
    CompensateAnswer, Connector, DispatchAnswer, Doubt, Effect, Failure, Obligation, ObserveAnswer, Receipt, Request,
    StatusAnswer, doubt, invalid, read_lookup, read_query,
};

use crate::stripe::{Config, Intent, Payment, already_undone, changed, intent, intents, receipt_of, refund};

/// How far back payments are searched: this many pages of 100.
const PAGES_MAX: usize = 10;

struct Stripe;

tape_guest::export!(Stripe);

impl Connector for Stripe {
    fn describe() -> Result<String, String> {
        Ok(stripe::description().to_string())
    }

    fn dispatch(effect: Effect) -> DispatchAnswer {
        match payment(&effect) {
            Ok(request) => changed(request.send(), intent).map(|intent| receipt_of(&intent)).into(),
            Err(failure) => DispatchAnswer::Failed(failure),
        }
    }

    fn status_check(effect: Effect, _: String) -> StatusAnswer {
        match found(&effect) {
            Err(doubt) => StatusAnswer::Inconclusive(doubt),
            Ok(intents) => match intents.first() {
                Some(intent) => StatusAnswer::Committed(receipt_of(intent)),
                None => StatusAnswer::NotCommitted,
            },
        }
    }

    fn observe(effect: Effect) -> ObserveAnswer {
        match found(&effect) {
            Err(doubt) => ObserveAnswer::Inconclusive(doubt),
            Ok(intents) => {
                let mut receipts: Vec<Receipt> = intents.iter().map(receipt_of).collect();
                match receipts.len() {
                    0 => ObserveAnswer::Absent,
                    1 => ObserveAnswer::Present(receipts.remove(0)),
                    _ => ObserveAnswer::Duplicate(receipts),
                }
            }
        }
    }

    fn compensate(obligation: Obligation) -> CompensateAnswer {
        let config: Config = match tape_guest::config() {
            Ok(config) => config,
            Err(failure) => return CompensateAnswer::Failed(failure),
        };
        let intent = match meant(&config, &obligation) {
            Ok(Some(intent)) => intent,
            Ok(None) => return CompensateAnswer::Resolved(already_undone("")),
            Err(doubt) => return CompensateAnswer::Unknown(doubt),
        };
        let key = &obligation.idempotency_key;
        match intent.status.as_str() {
            "canceled" => CompensateAnswer::Resolved(receipt_of(&intent)),
            // Money moved, or is on its way: only a refund brings it back.
            "succeeded" | "processing" => {
                let request = config
                    .post("/v1/refunds", key)
                    .form([("payment_intent", intent.id.as_str())]);
                refund(request.send(), &intent).into()
            }
            _ => {
                let request = config.post(
                    &format!("/v1/payment_intents/{}/cancel", tape_guest::segment(&intent.id)),
                    key,
                );
                changed(request.send(), stripe::intent)
                    .map(|intent| receipt_of(&intent))
                    .into()
            }
        }
    }
}

fn payment(effect: &Effect) -> Result<Request, Failure> {
    if effect.operation != "pay" {
        return Err(invalid(
            "unknown-operation",
            format!("there is no operation `{}`, only `pay`", effect.operation),
        ));
    }
    let config: Config = tape_guest::config()?;
    let payment: Payment = tape_guest::payload(&effect.payload)?;
    let fields = payment.fields(effect)?;
    let fields = fields.iter().map(|(name, value)| (*name, value.as_str()));
    Ok(config.post("/v1/payment_intents", &effect.idempotency_key).form(fields))
}

/// The intents that carry the effect's key: the oldest first, which is the one to keep. Stripe's list is up to date, unlike its search.
fn found(effect: &Effect) -> Result<Vec<Intent>, Doubt> {
    let config: Config = tape_guest::config().map_err(|failure| doubt(failure.message))?;
    let (mut ours, mut after) = (Vec::new(), String::new());
    for _ in 0..PAGES_MAX {
        let mut request = config.get("/v1/payment_intents").query("limit", "100");
        if !after.is_empty() {
            request = request.query("starting_after", &after);
        }
        let page = read_query(request.send(), intents)?;
        after = page.data.last().map(|intent| intent.id.clone()).unwrap_or_default();
        ours.extend(
            page.data
                .into_iter()
                .filter(|intent| intent.metadata.tape_key == effect.idempotency_key),
        );
        if !page.has_more || after.is_empty() {
            ours.reverse();
            return Ok(ours);
        }
    }
    if ours.is_empty() {
        return Err(doubt(format!(
            "the payment is not among the {} latest, and there are more",
            PAGES_MAX * 100
        )));
    }
    ours.reverse();
    Ok(ours)
}

/// The intent to undo; none if Stripe does not know it.
fn meant(config: &Config, obligation: &Obligation) -> Result<Option<Intent>, Doubt> {
    match obligation
        .receipt
        .as_ref()
        .map(|receipt| receipt.external_ref.as_str())
        .filter(|id| !id.is_empty())
    {
        Some(id) => read_lookup(
            config
                .get(&format!("/v1/payment_intents/{}", tape_guest::segment(id)))
                .send(),
            intent,
        ),
        None => Ok(found(&obligation.effect)?.into_iter().next()),
    }
}
