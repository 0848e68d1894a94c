//! The bank's connector over the demo bank: an upstream that cannot deduplicate, and what becomes of a lost answer.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use serde_json::{Value, json};
use tape_connector_port::{CompensateOutcome, Connectors, ObserveAnswer, Outcome, Progress, Receipt, Unmarked};
use tape_connector_tests::{BANK, Bank, Setup, effect, nobody_listens, obligation};
use tape_host::Host;

fn wire() -> tape_connector_port::EffectCall {
    effect("wire", &json!({"to": "acme", "amount": "250.00", "currency": "EUR"}))
}

async fn dispatch(host: &Host) -> Outcome {
    host.dispatch(BANK, None, &wire(), &Unmarked)
        .await
        .expect("the call takes place")
        .outcome
}

async fn observe(host: &Host) -> ObserveAnswer {
    host.observe(BANK, None, &wire())
        .await
        .expect("the call takes place")
        .outcome
}

async fn compensate(host: &Host, receipt: Option<&Receipt>) -> CompensateOutcome {
    let call = obligation(wire(), receipt.cloned(), &Value::Null);
    host.compensate(BANK, None, &call, &Unmarked)
        .await
        .expect("the call takes place")
        .outcome
}

fn confirmed(outcome: Outcome) -> Receipt {
    match outcome {
        Outcome::Confirmed(receipt) => receipt,
        other => panic!("not confirmed: {other:?}"),
    }
}

#[tokio::test]
async fn a_wire_is_confirmed_with_the_banks_own_id() {
    let bank = Bank::open().await;
    let host = Setup::bank(&bank.origin()).start().await;
    let called = host.dispatch(BANK, None, &wire(), &Unmarked).await.unwrap();
    assert_eq!(confirmed(called.outcome).external_ref, "w-1");
    assert_eq!(called.version, "1.0.0");
    assert!(called.digest.starts_with("sha256:"));

    let [exchange] = &called.evidence.exchanges[..] else {
        panic!("not one exchange: {:?}", called.evidence)
    };
    assert_eq!(
        (exchange.method.as_str(), exchange.path.as_str(), exchange.status),
        ("POST", "/wires", Some(201))
    );
    assert_eq!(exchange.progress, Progress::Answered);
    assert!(exchange.unsafe_method && exchange.response_digest.is_some());

    let ledger = bank.ledger().await;
    assert_eq!(ledger.len(), 1);
    assert_eq!(ledger[0]["reference"], "inv-7");
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_observation_finds_the_wire() {
    let bank = Bank::open().await;
    let host = Setup::bank(&bank.origin()).start().await;
    bank.next_answer("lose").await;
    let Outcome::Unknown(doubt) = dispatch(&host).await else {
        panic!("not unknown")
    };
    assert!(
        doubt.sent.starts_with("POST ") && doubt.sent.ends_with("/wires"),
        "{doubt:?}"
    );

    let ObserveAnswer::Present(receipt) = observe(&host).await else {
        panic!("not present")
    };
    assert_eq!(receipt.external_ref, "w-1");
    assert_eq!(bank.ledger().await.len(), 1);
}

#[tokio::test]
async fn a_wire_that_never_left_is_absent_and_may_be_sent_again() {
    let host = Setup::bank(&nobody_listens().await).start().await;
    let Outcome::Retry { reason, .. } = dispatch(&host).await else {
        panic!("not a retry")
    };
    assert!(reason.starts_with("not-sent: "), "{reason}");
    assert!(
        matches!(observe(&host).await, ObserveAnswer::Inconclusive(_)),
        "a bank that is not there says nothing"
    );

    let bank = Bank::open().await;
    let host = Setup::bank(&bank.origin()).start().await;
    assert_eq!(observe(&host).await, ObserveAnswer::Absent);
    assert_eq!(confirmed(dispatch(&host).await).external_ref, "w-1");
}

#[tokio::test]
async fn a_wire_sent_twice_is_a_duplicate_and_its_surplus_is_reversed_once() {
    let bank = Bank::open().await;
    let host = Setup::bank(&bank.origin()).start().await;
    confirmed(dispatch(&host).await);
    let surplus = confirmed(dispatch(&host).await);
    assert!(matches!(observe(&host).await, ObserveAnswer::Duplicate(receipts) if receipts.len() == 2));

    assert!(matches!(
        compensate(&host, Some(&surplus)).await,
        CompensateOutcome::Resolved(_)
    ));
    assert!(matches!(
        compensate(&host, Some(&surplus)).await,
        CompensateOutcome::Resolved(_)
    ));
    assert!(matches!(observe(&host).await, ObserveAnswer::Present(receipt) if receipt.external_ref == "w-1"));
    let statuses: Vec<_> = bank.ledger().await.iter().map(|wire| wire["status"].clone()).collect();
    assert_eq!(statuses, ["booked", "reversed"]);
}

#[tokio::test]
async fn compensating_what_the_bank_does_not_know_does_nothing() {
    let bank = Bank::open().await;
    let host = Setup::bank(&bank.origin()).start().await;
    let unknown = Receipt {
        external_ref: "w-9".to_owned(),
        response_json: "{}".to_owned(),
    };
    assert!(matches!(
        compensate(&host, Some(&unknown)).await,
        CompensateOutcome::Resolved(_)
    ));
    assert!(bank.ledger().await.is_empty());
}

#[tokio::test]
async fn a_refusal_of_the_bank_is_a_failure_with_its_code() {
    let bank = Bank::open().await;
    let host = Setup::bank(&bank.origin()).start().await;
    let zero = effect("wire", &json!({"to": "acme", "amount": "0", "currency": "EUR"}));
    let Outcome::Failed(failure) = host.dispatch(BANK, None, &zero, &Unmarked).await.unwrap().outcome else {
        panic!("not failed")
    };
    assert_eq!((failure.code.as_str(), failure.retryable), ("bad-amount", false));
    assert!(bank.ledger().await.is_empty());
}
