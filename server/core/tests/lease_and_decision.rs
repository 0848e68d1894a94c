//! The lease, the decision and the ending, every state x event: what their commands make of each.

use tape_core::command::begin_run::{LeaseRequest, ResumeRun};
use tape_core::command::decision::RecordDecision;
use tape_core::command::end_run::EndRun;
use tape_core::command::recovery::{ClaimRecovery, LoseLease};
use tape_core::command::timer::SetTimer;
use tape_core::lease::{Driver, Lease};
use tape_core::run::{Caller, CompensationPolicy, Ending, Run, RunState};
use tape_core::{Command, Context, Draft, Row, RowKey, RunIdentity, Snapshot, Time};

const NOW: Time = Time(1_000);

/// A run that `a` took under fence 1, until `expires`; or that nobody drives.
fn run(expires: Option<i64>) -> Run {
    let identity = RunIdentity {
        app: "app".into(),
        invocation: "i".into(),
        ..RunIdentity::default()
    };
    let mut run = Run::new(identity, Caller::default(), String::new(), Time(0));
    (run.fence, run.fenced, run.driver) = (1, true, "a".into());
    if let Some(expires) = expires {
        run.state = RunState::Running(Lease {
            owner: "a".into(),
            fence: 1,
            expires: Time(expires),
            fenced: true,
        });
    }
    run
}

/// What a command makes of a run: the state's name and the fence, or the refusal's code.
fn after<C: Command>(run: &Run, command: &C) -> String {
    let mut snapshot = Snapshot {
        version: 1,
        ..Snapshot::default()
    };
    snapshot.rows.insert(RowKey::Head, Row::Run(Box::new(run.clone())));
    let context = Context {
        now: NOW,
        ..Context::default()
    };
    let mut draft = Draft::new(snapshot, context);
    match command.decide(&mut draft) {
        Ok(_) => {
            let run = draft.run(&run.id).expect("the run is there");
            format!("{} {}", run.state.name(), run.fence)
        }
        Err(refusal) => refusal.code.to_owned(),
    }
}

#[test]
fn every_lease_meets_every_event() {
    // Columns: a asks, b asks, recovery looks, a's process is gone, b's process is gone.
    let table = [
        (
            "none",
            run(None),
            ["RUNNING 2", "RUNNING 2", "RUNNABLE 1", "RUNNABLE 1", "RUNNABLE 1"],
        ),
        (
            "alive",
            run(Some(1_001)),
            ["RUNNING 1", "TAPE-R005", "RUNNING 1", "RUNNABLE 1", "RUNNING 1"],
        ),
        (
            "expired",
            run(Some(1_000)),
            ["RUNNING 1", "RUNNING 2", "RUNNABLE 1", "RUNNABLE 1", "RUNNING 1"],
        ),
    ];
    for (name, run, expected) in table {
        let asks = |owner: &str| ResumeRun {
            run: run.id.clone(),
            lease: LeaseRequest {
                owner: owner.into(),
                ttl_ms: 0,
                fenced: true,
            },
        };
        let gone = |owner: &str| LoseLease {
            run: run.id.clone(),
            owner: owner.into(),
            reason: "gone".into(),
        };
        let looks = ClaimRecovery {
            run: run.id.clone(),
            at_once: false,
        };
        let found = [
            after(&run, &asks("a")),
            after(&run, &asks("b")),
            after(&run, &looks),
            after(&run, &gone("a")),
            after(&run, &gone("b")),
        ];
        assert_eq!(found, expected, "lease: {name}");
    }
}

#[test]
fn every_decision_meets_every_recording() {
    let run = run(Some(2_000));
    let record = |response: &str| RecordDecision {
        run: run.id.clone(),
        driver: Driver {
            fence: Some(1),
            owner: None,
        },
        index: 0,
        model: "m".into(),
        request_json: "{}".into(),
        response_json: response.into(),
        rationale: String::new(),
        policy_version: String::new(),
    };
    let mut absent = Snapshot::default();
    absent.rows.insert(RowKey::Head, Row::Run(Box::new(run.clone())));

    let mut draft = Draft::new(absent, Context::default());
    let first = record("1").decide(&mut draft).unwrap();
    let (changes, recorded) = draft.finish();
    assert_eq!((changes.entries.len(), first.seq), (1, 1));

    let mut draft = Draft::new(recorded.clone(), Context::default());
    assert_eq!(record("1").decide(&mut draft).unwrap(), first);
    assert!(draft.finish().0.is_empty(), "the same again writes nothing");

    let mut draft = Draft::new(recorded, Context::default());
    assert_eq!(record("2").decide(&mut draft).unwrap_err().code, "TAPE-D001");
}

#[test]
fn every_state_meets_every_ending() {
    // The run is at fence 2. Columns: EndRun FAILED under fence 2, under fence 1, without a fence.
    let table = [
        ("driven", RunState::Runnable, ["FAILED 2", "TAPE-R002", "TAPE-R002"]),
        ("ended so", RunState::Failed, ["FAILED 2", "TAPE-R002", "FAILED 2"]),
        (
            "ended well",
            RunState::Terminal,
            ["TAPE-R003", "TAPE-R002", "TAPE-R002"],
        ),
        // A driver that gives up leaves what is being undone alone; who ends that comes from outside.
        (
            "compensated",
            RunState::Compensating {
                policy: CompensationPolicy::StopAtStuck,
                next: NOW,
            },
            ["TAPE-R003", "TAPE-R002", "FAILED 2"],
        ),
    ];
    for (name, state, expected) in table {
        let mut run = run(None);
        (run.fence, run.state) = (2, state);
        let end = |fence| EndRun {
            run: run.id.clone(),
            driver: Driver { fence, owner: None },
            ending: Ending::Failed,
            detail_json: String::new(),
        };
        let found = [Some(2), Some(1), None].map(|fence| after(&run, &end(fence)));
        assert_eq!(found, expected, "{name}");
    }
    let mut run = run(None);
    (run.fence, run.state) = (2, RunState::Terminal);
    let end = |fence| EndRun {
        run: run.id.clone(),
        driver: Driver { fence, owner: None },
        ending: Ending::Terminal,
        detail_json: String::new(),
    };
    let found = [Some(2), Some(1), None].map(|fence| after(&run, &end(fence)));
    assert_eq!(
        found,
        ["TERMINAL 2", "TAPE-R002", "TAPE-R002"],
        "only a driver ends a run well"
    );
}

#[test]
fn a_timer_of_somebody_has_no_name_of_a_gates_timeout() {
    let run = run(None);
    let set = |id: &str| SetTimer {
        run: run.id.clone(),
        id: id.into(),
        fire_at: Time(2_000),
        kind: "mine".into(),
        payload_json: String::new(),
    };
    assert_eq!(after(&run, &set("gate-timeout:approval:0")), "TAPE-V001");
    assert_eq!(after(&run, &set("approval")), "RUNNABLE 1");
}
