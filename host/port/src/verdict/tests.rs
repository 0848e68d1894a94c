//! One fact per cell of the table.

use super::*;
use Progress::{Answered, NotSent, Sent};

const ONLINE: bool = false;
const OFFLINE: bool = true;

fn receipt() -> Receipt {
    Receipt {
        external_ref: "w-1".to_owned(),
        response_json: "{}".to_owned(),
    }
}

fn failure(retryable: bool) -> Failure {
    Failure {
        kind: FailureKind::Rejected,
        code: "no-funds".to_owned(),
        message: "no funds".to_owned(),
        retryable,
        retry_after_ms: Some(5),
    }
}

fn confirmed() -> GuestEnd<DispatchAnswer> {
    GuestEnd::Answer(DispatchAnswer::Confirmed(receipt()))
}

fn failed(retryable: bool) -> GuestEnd<DispatchAnswer> {
    GuestEnd::Answer(DispatchAnswer::Failed(failure(retryable)))
}

fn unknown() -> GuestEnd<DispatchAnswer> {
    GuestEnd::Answer(DispatchAnswer::Unknown(Doubt::because("cut off")))
}

fn broke(kind: BrokeKind) -> GuestEnd<DispatchAnswer> {
    GuestEnd::Broke(Broke {
        kind,
        message: "why".to_owned(),
    })
}

const BROKEN: [BrokeKind; 4] = [BrokeKind::Trap, BrokeKind::Timeout, BrokeKind::Limit, BrokeKind::Breach];

#[test]
fn confirmed_is_believed_once_an_unsafe_request_was_answered() {
    assert_eq!(verdict(confirmed(), Answered, ONLINE), Outcome::Confirmed(receipt()));
    assert_eq!(verdict(confirmed(), Answered, OFFLINE), Outcome::Confirmed(receipt()));
}

#[test]
fn confirmed_without_a_request_is_a_breach_that_did_nothing() {
    let Outcome::Failed(failure) = verdict(confirmed(), NotSent, ONLINE) else {
        panic!("not a failure")
    };
    assert_eq!((failure.code.as_str(), failure.retryable), (BREACH_CODE, false));
}

#[test]
fn confirmed_without_a_request_is_believed_of_an_offline_connector() {
    assert_eq!(verdict(confirmed(), NotSent, OFFLINE), Outcome::Confirmed(receipt()));
}

#[test]
fn confirmed_without_an_answer_is_unknown() {
    assert!(matches!(verdict(confirmed(), Sent, ONLINE), Outcome::Unknown(_)));
    assert!(matches!(verdict(confirmed(), Sent, OFFLINE), Outcome::Unknown(_)));
}

#[test]
fn failed_is_definite_once_the_upstream_answered() {
    for retryable in [false, true] {
        assert_eq!(
            verdict(failed(retryable), Answered, ONLINE),
            Outcome::Failed(failure(retryable))
        );
    }
}

#[test]
fn failed_before_anything_left_is_definite_or_a_retry() {
    assert_eq!(verdict(failed(false), NotSent, ONLINE), Outcome::Failed(failure(false)));
    let retry = Outcome::Retry {
        reason: "no-funds: no funds".to_owned(),
        retry_after_ms: Some(5),
    };
    assert_eq!(verdict(failed(true), NotSent, ONLINE), retry);
}

#[test]
fn failed_is_unknown_while_a_request_is_in_doubt() {
    let Outcome::Unknown(doubt) = verdict(failed(false), Sent, ONLINE) else {
        panic!("not unknown")
    };
    assert!(doubt.reason.contains("no-funds"), "{}", doubt.reason);
}

#[test]
fn unknown_is_a_retry_if_nothing_left() {
    assert_eq!(
        verdict(unknown(), NotSent, ONLINE),
        Outcome::Retry {
            reason: "cut off".to_owned(),
            retry_after_ms: None
        }
    );
}

#[test]
fn unknown_stays_unknown_once_something_left() {
    for progress in [Sent, Answered] {
        assert_eq!(
            verdict(unknown(), progress, ONLINE),
            Outcome::Unknown(Doubt::because("cut off"))
        );
    }
}

#[test]
fn a_broken_guest_is_a_retry_if_nothing_left() {
    for kind in BROKEN {
        assert!(
            matches!(verdict(broke(kind), NotSent, ONLINE), Outcome::Retry { reason, .. } if reason.ends_with(": why"))
        );
    }
}

#[test]
fn a_broken_guest_is_unknown_once_something_left() {
    for kind in BROKEN {
        for progress in [Sent, Answered] {
            assert!(
                matches!(verdict(broke(kind), progress, ONLINE), Outcome::Unknown(doubt) if doubt.reason.ends_with(": why"))
            );
        }
    }
}

/// Every cell of the compensation's table is the dispatch's cell in other words.
#[test]
fn a_compensation_is_judged_like_a_dispatch() {
    let ends = || {
        [
            (confirmed(), GuestEnd::Answer(CompensateAnswer::Resolved(receipt()))),
            (failed(true), GuestEnd::Answer(CompensateAnswer::Failed(failure(true)))),
            (
                unknown(),
                GuestEnd::Answer(CompensateAnswer::Unknown(Doubt::because("cut off"))),
            ),
            (
                broke(BrokeKind::Trap),
                GuestEnd::Broke(Broke {
                    kind: BrokeKind::Trap,
                    message: "why".to_owned(),
                }),
            ),
        ]
    };
    for progress in [NotSent, Sent, Answered] {
        for grounded in [false, true] {
            for (dispatch, compensate) in ends() {
                let expected = match verdict(dispatch, progress, grounded) {
                    Outcome::Confirmed(receipt) => CompensateOutcome::Resolved(receipt),
                    Outcome::Failed(failure) => CompensateOutcome::Failed(failure),
                    Outcome::Retry { reason, retry_after_ms } => CompensateOutcome::Retry { reason, retry_after_ms },
                    Outcome::Unknown(doubt) => CompensateOutcome::Unknown(doubt),
                };
                assert_eq!(compensation_verdict(compensate, progress, grounded), expected);
            }
        }
    }
}

#[test]
fn a_compensation_found_already_done_is_believed_if_the_books_were_read() {
    let resolved = || GuestEnd::Answer(CompensateAnswer::Resolved(receipt()));
    assert_eq!(
        compensation_verdict(resolved(), NotSent, true),
        CompensateOutcome::Resolved(receipt())
    );
    assert!(matches!(
        compensation_verdict(resolved(), NotSent, false),
        CompensateOutcome::Failed(_)
    ));
}

#[test]
fn a_claim_about_the_books_needs_a_look_into_them() {
    for claim in [
        ObserveAnswer::Absent,
        ObserveAnswer::Present(receipt()),
        ObserveAnswer::Duplicate(vec![receipt(), receipt()]),
    ] {
        let end = || GuestEnd::Answer(claim.clone());
        assert_eq!(observation_verdict(end(), true), claim);
        assert!(matches!(
            observation_verdict(end(), false),
            ObserveAnswer::Inconclusive(_)
        ));
    }
    for claim in [StatusAnswer::NotCommitted, StatusAnswer::Committed(receipt())] {
        let end = || GuestEnd::Answer(claim.clone());
        assert_eq!(status_verdict(end(), true), claim);
        assert!(matches!(status_verdict(end(), false), StatusAnswer::Inconclusive(_)));
    }
}

#[test]
fn a_broken_observer_is_inconclusive_with_its_name() {
    let broke = || Broke {
        kind: BrokeKind::Trap,
        message: "why".to_owned(),
    };
    let ObserveAnswer::Inconclusive(doubt) = observation_verdict(GuestEnd::Broke(broke()), true) else {
        panic!("conclusive")
    };
    assert_eq!(doubt.reason, "the connector crashed: why");
    assert!(matches!(
        status_verdict(GuestEnd::Broke(broke()), true),
        StatusAnswer::Inconclusive(_)
    ));
}
