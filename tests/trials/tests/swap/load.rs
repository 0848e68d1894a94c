//! The clients, each with one wire after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tape_proto::v1 as pb;
use tape_trials::{Answer, Caller};
use tokio::time::{Instant, sleep};

use crate::{LOOK_AGAIN, PATIENCE};

/// What the clients have done so far.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) enough: AtomicBool,
    pub(crate) confirmed: AtomicU64,
    /// Run and key of every effect that was begun, by its business key.
    pub(crate) begun: Mutex<BTreeMap<String, (String, String)>>,
    /// Business keys that a client has asked for, acknowledged or not.
    pub(crate) asked: Mutex<BTreeSet<String>>,
}

/// Asks until there is an answer; a server that is killed comes back.
async fn surely<T, F: Future<Output = Result<tonic::Response<T>, tonic::Status>>>(ask: impl Fn() -> F) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match Answer::of(ask().await) {
            Answer::Yes(answer) => return answer,
            Answer::No(status) => panic!("a call failed because of a swap: {status:?}"),
            Answer::Lost(status) => assert!(Instant::now() < until, "no answer: {status:?}"),
        }
        sleep(LOOK_AGAIN).await;
    }
}

pub(crate) async fn client(number: usize, caller: Caller, load: Arc<Load>) {
    for story in 0.. {
        if load.enough.load(Ordering::Relaxed) {
            return;
        }
        let reference = format!("w-{number}-{story}");
        let begin = pb::BeginRunRequest {
            app_name: "treasury".into(),
            user_id: format!("user-{number}"),
            session_id: "session".into(),
            invocation_id: reference.clone(),
            lease_owner: format!("driver-{number}"),
            ..Default::default()
        };
        let run = surely(|| async { caller.tape.clone().begin_run(begin.clone()).await })
            .await
            .run_id;
        let effect = pb::BeginEffectRequest {
            run_id: run.clone(),
            tool_name: "wire_money".into(),
            request_json: r#"{"to":"Bob","amount":"1.00","currency":"EUR"}"#.into(),
            semantics: pb::EffectSemantics::NonIdempotent.into(),
            dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
            business_key: reference.clone(),
            connector: "bank".into(),
            operation: "wire".into(),
            ..Default::default()
        };
        load.asked.lock().unwrap().insert(reference.clone());
        let key = surely(|| async { caller.tape.clone().begin_effect(effect.clone()).await })
            .await
            .idempotency_key;
        load.begun.lock().unwrap().insert(reference, (run.clone(), key.clone()));
        let until = Instant::now() + Duration::from_secs(5);
        // One in doubt may take its time: the client goes on, and its end is looked at at the end.
        while Instant::now() < until && !load.enough.load(Ordering::Relaxed) {
            let found = effect_of(&caller, &run, &key).await;
            if never_left(&found) {
                break;
            }
            if found.status() == pb::EffectStatus::Confirmed {
                load.confirmed.fetch_add(1, Ordering::Relaxed);
                break;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

pub(crate) async fn effect_of(caller: &Caller, run: &str, key: &str) -> pb::EffectRecord {
    let request = pb::GetEffectRequest {
        run_id: run.into(),
        idempotency_key: key.into(),
    };
    surely(|| async { caller.tape.clone().get_effect(request.clone()).await })
        .await
        .effect
        .expect("it was begun")
}

impl Load {
    /// Waits until so many more wires are confirmed.
    pub(crate) async fn goes_on(&self, more: u64) {
        let goal = self.confirmed.load(Ordering::Relaxed) + more;
        let until = Instant::now() + PATIENCE;
        while self.confirmed.load(Ordering::Relaxed) < goal {
            assert!(Instant::now() < until, "nothing is confirmed any more");
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// FAILED because the upstream says that it never got it: a server was killed after the mark and before the byte.
pub(crate) fn never_left(effect: &pb::EffectRecord) -> bool {
    let code = serde_json::from_str::<serde_json::Value>(&effect.error_json).map(|error| error["code"] == "absent");
    effect.status() == pb::EffectStatus::Failed && code.unwrap_or(false)
}
