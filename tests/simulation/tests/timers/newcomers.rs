//! What rests because no worker was there does not wait any longer when one comes, whatever kind of work it is.

use std::sync::Arc;
use std::time::Duration;

use tape_connector_port::NoConnectors;
use tape_core::command::begin_effect::{BeginEffect, Known};
use tape_core::command::begin_run::{LeaseRequest, ResumeRun, StartRun};
use tape_core::command::complete_effect::{CompleteEffect, Completion};
use tape_core::command::obligation::RegisterCompensation;
use tape_core::effect::{Handle, Mode, Semantics};
use tape_core::lease::Driver as Driving;
use tape_core::run::Caller;
use tape_core::timer::TimerState;
use tape_core::{DueKind, EffectKey, RunId, RunIdentity, Time};
use tape_port::{Clock as _, DueWork, Tape as _};
use tape_reactors::{Compensation, Driver, DriverConfig, Identity, Reactor, Recovery, Timers};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::stage::{AT, Stage};

const KINDS: [DueKind; 3] = [DueKind::Recovery, DueKind::Timers, DueKind::Compensation];

/// Reactors of one process, each with a driver of its own.
fn crew(stage: &Stage, stop: &CancellationToken) -> JoinSet<()> {
    let (tape, workers) = (stage.engine.clone(), stage.app.clone());
    let identity = Identity {
        owner: "r".into(),
        claim_ms: 60_000,
        abandon: CancellationToken::new(),
    };
    let reactors: [Arc<dyn Reactor>; 3] = [
        Arc::new(Recovery::new(tape.clone(), workers.clone())),
        Arc::new(Timers::new(tape.clone(), workers.clone(), identity.clone(), 0)),
        Arc::new(Compensation::new(
            tape.clone(),
            Arc::new(NoConnectors),
            workers,
            identity,
        )),
    ];
    let mut drivers = JoinSet::new();
    for reactor in reactors {
        let driver = Driver::new(tape.clone(), reactor, DriverConfig::default(), Arc::default());
        drivers.spawn(driver.run(stop.clone()));
    }
    drivers
}

/// A run with one obligation, which a function of the app undoes.
async fn owes(stage: &Stage) -> RunId {
    let identity = RunIdentity {
        tenant: String::new(),
        app: "app".into(),
        user: "u".into(),
        session: "s".into(),
        invocation: "owes".into(),
    };
    let start = StartRun {
        identity,
        caller: Caller::default(),
        input_json: String::new(),
    };
    let run = stage.engine.execute(&start, None).await.unwrap().run.id;
    let lease = LeaseRequest {
        owner: "driver".into(),
        ttl_ms: 3_600_000,
        fenced: false,
    };
    let resume = ResumeRun {
        run: run.clone(),
        lease,
    };
    stage.engine.execute(&resume, None).await.unwrap();
    let driver = Driving {
        fence: None,
        owner: None,
    };
    let begin = BeginEffect {
        run: run.clone(),
        driver: driver.clone(),
        decision_index: 0,
        tool: "note".into(),
        call_index: 0,
        request_json: "{}".into(),
        custom_key: "note".into(),
        semantics: Semantics::Idempotent,
        mode: Mode::Inline,
        business_key: String::new(),
        connector: String::new(),
        operation: String::new(),
        scope: String::new(),
        deadline: Time::ZERO,
        handle: None,
        status_check: String::new(),
        allow_unsafe: false,
        known: Known::default(),
    };
    let key = stage.engine.begin_effect(begin, None).await.unwrap().effect.intent.key;
    let complete = CompleteEffect {
        run: run.clone(),
        driver,
        key: key.clone(),
        completion: Completion::Confirmed,
        response_json: "{}".into(),
        error_json: String::new(),
    };
    stage.engine.execute(&complete, None).await.unwrap();
    stage.engine.execute(&undo(&run, key), None).await.unwrap();
    run
}

fn undo(run: &RunId, effect: EffectKey) -> RegisterCompensation {
    let handle = Handle {
        function: "app:undo".into(),
        ..Handle::default()
    };
    RegisterCompensation {
        run: run.clone(),
        effect,
        handle,
        attempts_max: 0,
    }
}

/// Waits until the work of these kinds rests, for a while yet.
async fn resting(stage: &Stage, kinds: &[DueKind]) {
    loop {
        let mut due = 0;
        for kind in kinds {
            let work = DueWork {
                ahead_ms: 500,
                ..DueWork::all(*kind, 10)
            };
            due += stage.engine.due(&work).await.unwrap().len();
        }
        if due == 0 {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_comes_is_asked_at_once_for_all_that_rests() {
    let stage = Stage::set().await;
    let owing = owes(&stage).await;
    let stop = CancellationToken::new();
    stage.app.leave();
    let mut drivers = crew(&stage, &stop);
    // Long enough that everything was tried several times, and rests for seconds.
    stage.until(40 * AT).await;
    // A timer whose time has not come is not what a worker is missed for.
    stage.set_timer("later", stage.clock.now().after(20_000)).await;
    resting(&stage, &KINDS).await;
    assert_eq!(*stage.app.asked.lock().unwrap(), [], "nobody was there");

    let came = stage.clock.now();
    stage.app.attach();
    sleep(Duration::from_millis(20)).await;
    let mut asked = stage.app.asked.lock().unwrap().clone();
    asked.sort_unstable();
    let what: Vec<_> = asked.iter().map(|(what, _)| *what).collect();
    assert_eq!(what, ["compensate", "redrive", "timer"]);
    assert!(asked.iter().all(|(_, at)| at.since(came) <= 2), "{came:?}: {asked:?}");
    assert_eq!(stage.state().await, TimerState::Fired);
    let obligations = stage.engine.obligations(&owing).await.unwrap();
    assert_eq!(obligations[0].state.name(), "COMPENSATED");
    assert_eq!(obligations[0].attempts, 1, "those that asked nobody count for nothing");

    stop.cancel();
    while drivers.join_next().await.is_some() {}
}

/// What rests because the app said "not now" rests on: a worker more or less has nothing to do with it.
#[tokio::test(start_paused = true)]
async fn what_an_app_refused_rests_as_long_as_it_was_told_to() {
    let stage = Stage::set().await;
    owes(&stage).await;
    let stop = CancellationToken::new();
    let mut drivers = crew(&stage, &stop);
    stage.app.undoes_nothing();
    stage.until(AT / 2).await;
    let asked = || {
        let asked = stage.app.asked.lock().unwrap();
        asked.iter().filter(|(what, _)| *what == "compensate").count()
    };
    assert!(asked() > 0);
    resting(&stage, &[DueKind::Compensation]).await;
    let before = asked();
    stage.app.attach();
    sleep(Duration::from_millis(20)).await;
    assert_eq!(asked(), before);
    stop.cancel();
    while drivers.join_next().await.is_some() {}
}
