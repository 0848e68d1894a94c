//! Timers are claimed a little ahead of their time. Whatever happens while one is held: it fires once, and never before its time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tape_core::command::timer::{CancelTimer, FireTimer};
use tape_core::timer::TimerState;
use tape_reactors::Reactor as _;
use tokio::time::sleep;

use crate::stage::{AT, CLAIM_MS, LEAD_MS, Stage};

#[tokio::test(start_paused = true)]
async fn a_timer_is_held_from_before_its_time_and_fires_at_it() {
    let stage = Stage::set().await;
    stage.until(AT - LEAD_MS - 1).await;
    assert!(stage.due().await.is_empty());
    let ahead = stage.engine.execute(&stage.claim("a", LEAD_MS), None).await.unwrap();
    assert_eq!(ahead, None, "no more ahead than that");
    stage.live("a", AT - 2).await;
    assert_eq!(stage.told(), [(AT, AT)]);
    assert_eq!(stage.state().await, TimerState::Fired);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_cancelled_while_it_is_held_does_not_fire() {
    let stage = Stage::set().await;
    let cancelling = async {
        stage.until(AT - 1).await;
        assert!(matches!(stage.state().await, TimerState::Claimed(_)), "it is held");
        let cancel = CancelTimer {
            run: stage.run.clone(),
            id: "t".into(),
        };
        assert!(stage.engine.execute(&cancel, None).await.unwrap());
    };
    tokio::join!(stage.live("a", 3 * AT), cancelling);
    assert_eq!(stage.told(), []);
    assert_eq!(stage.state().await, TimerState::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_set_anew_while_it_is_held_fires_once_at_its_new_time() {
    for later in [AT + 5, AT + 500, 2 * AT + CLAIM_MS] {
        let stage = Stage::set().await;
        let arming = async {
            stage.until(AT - 1).await;
            assert!(matches!(stage.state().await, TimerState::Claimed(_)), "it is held");
            stage.arm(later).await;
        };
        tokio::join!(stage.live("a", 3 * AT + CLAIM_MS), arming);
        assert_eq!(stage.told(), [(later, later)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_turned_back_makes_no_timer_early_nor_holds_up_who_holds_it() {
    const BACK: i64 = 3_600_000;
    let stage = Stage::set().await;
    stage.until(AT - LEAD_MS).await;
    let item = stage.due().await.remove(0);
    let reactor = stage.reactor("a");
    let turning = async {
        sleep(Duration::from_millis(5)).await;
        stage.clock.turned.store(-BACK, Ordering::SeqCst);
    };
    let (handled, ()) = tokio::join!(
        tokio::time::timeout(Duration::from_secs(1), reactor.handle(&item)),
        turning
    );
    handled.expect("it does not wait for an hour").unwrap();
    assert_eq!(stage.told(), []);
    let fire = FireTimer {
        run: stage.run.clone(),
        id: "t".into(),
        owner: "a".into(),
    };
    stage.engine.execute(&fire, None).await.unwrap();
    assert_ne!(
        stage.state().await,
        TimerState::Fired,
        "not even its holder makes it early"
    );
    // The clock arrives there once more.
    stage.until(AT - LEAD_MS - 1).await;
    stage.live("a", AT + CLAIM_MS).await;
    let told = stage.told();
    assert!(told.len() == 1 && told[0].1 >= AT && told[0].1 <= AT + 1, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_timer_whose_holder_died_is_taken_over_when_its_claim_runs_out_and_not_before() {
    let stage = Stage::set().await;
    stage.until(AT - LEAD_MS).await;
    // Claimed by a process that dies before the time has come.
    let held = stage.engine.execute(&stage.claim("dead", LEAD_MS), None).await.unwrap();
    assert!(held.is_some());
    let runs_out = AT - LEAD_MS + CLAIM_MS;
    stage.until(runs_out - 1).await;
    let early = stage.engine.execute(&stage.claim("b", LEAD_MS), None).await.unwrap();
    assert_eq!(early, None, "looking ahead takes nothing from who holds it still");
    stage.live("b", runs_out + AT).await;
    let told = stage.told();
    assert!(told.len() == 1 && told[0].0 == AT, "{told:?}");
    assert!(told[0].1 >= runs_out && told[0].1 <= runs_out + 2, "{told:?}");
    // The dead one was only asleep: nothing that it does counts.
    let fire = FireTimer {
        run: stage.run.clone(),
        id: "t".into(),
        owner: "dead".into(),
    };
    stage.engine.execute(&fire, None).await.unwrap();
    let again = stage.engine.execute(&stage.claim("dead", LEAD_MS), None).await.unwrap();
    assert_eq!(again, None);
}
