//! Request ids: remembered for a day, and then forgotten, also in a run that goes on.

use tape_core::row::REQUEST_KEPT_MS;
use tape_core::{DueKind, Time};
use tape_proto::v1 as pb;
use tape_store::Store as _;

use crate::support::TestServer;

impl TestServer {
    async fn charged(&self, run: &str, request_id: &str) -> i64 {
        let charge = pb::ChargeBudgetRequest {
            run_id: run.to_owned(),
            tokens: 7,
            request_id: request_id.into(),
            ..Default::default()
        };
        self.tape
            .clone()
            .charge_budget(charge)
            .await
            .unwrap()
            .into_inner()
            .tokens_spent
    }

    async fn written(&self, request_id: &str) -> i64 {
        let write = pb::WriteValueRequest {
            namespace: "n".into(),
            key: "k".into(),
            value_json: "1".into(),
            if_version: -1,
            request_id: request_id.into(),
            ..Default::default()
        };
        self.tape.clone().write_value(write).await.unwrap().into_inner().version
    }

    async fn remembered(&self) -> u64 {
        let (count, _) = self.store.count_due(DueKind::Request, Time::NEVER).await.unwrap();
        count
    }
}

#[tokio::test]
async fn what_was_answered_is_remembered_for_a_day_and_forgotten_in_a_run_that_goes_on() {
    let server = TestServer::start().await;
    let run = server.begin("i-1", "a", false).await.run_id;
    assert_eq!(server.charged(&run, "q-0").await, 7);
    assert_eq!(server.written("q-0").await, 1);
    server.clock.turn(1);
    for number in 1..20 {
        server.charged(&run, &format!("q-{number}")).await;
    }
    assert_eq!(server.remembered().await, 21);

    server.clock.turn(REQUEST_KEPT_MS - 2);
    assert_eq!(server.engine.forget_old_requests(100).await.unwrap(), (0, false));
    assert_eq!(server.charged(&run, "q-0").await, 140, "answered from the record");
    assert_eq!(server.written("q-0").await, 1);

    server.clock.turn(1);
    assert_eq!(server.engine.forget_old_requests(100).await.unwrap(), (2, false));
    assert_eq!(server.charged(&run, "q-1").await, 140, "younger by a millisecond");
    assert_eq!(server.charged(&run, "q-0").await, 147, "a new request");
    assert_eq!(server.written("q-0").await, 2);

    server.clock.turn(REQUEST_KEPT_MS);
    let mut passes = 0;
    while server.engine.forget_old_requests(5).await.unwrap().1 {
        passes += 1;
    }
    assert_eq!(
        (passes, server.remembered().await),
        (4, 0),
        "so many at a time, until none is left"
    );
    assert_eq!(server.get(&run).await.status(), pb::RunStatus::Running);
}
