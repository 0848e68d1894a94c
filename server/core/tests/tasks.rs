//! Tasks as commands make them: whatever is asked in whatever order, the head counts what is there, and no bound is broken.
#![allow(clippy::panic, reason = "a step that cannot go on has failed, and says where")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tape_core::command::make_tasks::{Made, MakeTasks};
use tape_core::command::reaction::{Asked, RegisterReaction};
use tape_core::command::task::{ClaimTasks, CompleteTask, NackTask, RetryTask, SweepTasks};
use tape_core::reaction::{Counts, Reaction, ReactionName};
use tape_core::task::{Source, Task, TaskPlace, TaskState};
use tape_core::{Command, Context, Draft, DueKind, Refusal, Row, RowKey, RunId, Snapshot, Time};

const CONCURRENCY: u64 = 4;
const RATE: u32 = 6;
const ATTEMPTS: u32 = 3;

/// A reaction's rows, as a store would keep them.
struct Kept {
    rows: BTreeMap<RowKey, Row>,
    now: i64,
    position: i64,
    requests: u32,
}

fn name() -> ReactionName {
    ReactionName {
        tenant: "t".into(),
        id: "rx".into(),
    }
}

impl Kept {
    fn new(debounce_ms: i32) -> Self {
        let order = Asked {
            subject_pattern: "/tape/**".into(),
            max_concurrency: i32::try_from(CONCURRENCY).expect("small"),
            rate_limit_per_s: i32::try_from(RATE).expect("small"),
            dlq_after_n: i32::try_from(ATTEMPTS).expect("small"),
            retry_backoff_ms: 100,
            num_shards: 3,
            debounce_ms,
            ..Asked::default()
        };
        let mut kept = Self {
            rows: BTreeMap::new(),
            now: 1_000_000,
            position: 0,
            requests: 0,
        };
        let register = RegisterReaction {
            name: name(),
            order: order.order().expect("an order"),
            end: 0,
        };
        kept.run(&register).expect("registered");
        kept
    }

    /// Decides on what the command reads, and on nothing else.
    fn run<C: Command>(&mut self, command: &C) -> Result<C::Reply, Refusal> {
        let reads = command.reads();
        let rows = reads.rows.iter().chain([&RowKey::Head]);
        let snapshot = Snapshot {
            version: 1,
            rows: rows
                .filter_map(|key| Some((key.clone(), self.rows.get(key)?.clone())))
                .collect(),
        };
        let context = Context {
            now: Time(self.now),
            ..Context::default()
        };
        let mut draft = Draft::new(snapshot, context);
        let reply = command.decide(&mut draft);
        let (changes, _) = draft.finish();
        if reply.is_err() {
            assert!(changes.is_empty(), "a refusal writes nothing");
            return reply;
        }
        self.rows.extend(changes.puts);
        for key in changes.deletes {
            self.rows.remove(&key);
        }
        reply
    }

    fn head(&self) -> Reaction {
        match self.rows.get(&RowKey::Head) {
            Some(Row::Reaction(reaction)) => reaction.as_ref().clone(),
            other => panic!("{other:?}"),
        }
    }

    fn tasks(&self) -> Vec<Task> {
        let tasks = self.rows.values().filter_map(|row| match row {
            Row::Task(task) => Some(task.as_ref().clone()),
            _ => None,
        });
        tasks.collect()
    }

    fn queue(&self, kind: DueKind) -> Vec<TaskPlace> {
        let mut due: Vec<_> = self
            .tasks()
            .into_iter()
            .map(|task| (task.due(), task.place))
            .filter(|(due, _)| due.kind == kind && due.at.0 <= self.now)
            .collect();
        due.sort_by_key(|(due, place)| (due.at, *place));
        due.into_iter().map(|(_, place)| place).collect()
    }

    /// Events with these subjects, a few milliseconds apart.
    fn events(&mut self, subjects: &[u8], repeat: bool) -> u64 {
        let from = self.head().cursor;
        let start = self.position;
        let events = subjects.iter().enumerate().map(|(index, subject)| Source {
            position: start + 1 + i64::try_from(index).expect("small"),
            tenant: "t".into(),
            run: RunId(format!("r-{subject}")),
            seq: 1,
            at: Time(self.now),
            subject: format!("/tape/x/{subject}"),
            payload_json: "{}".into(),
            trace: None,
        });
        let mut command = MakeTasks {
            name: name(),
            generation: 1,
            from,
            upto: start + 10,
            events: events.collect(),
            debounced: self.head().order.debounce_ms > 0,
            open: Vec::new(),
        };
        self.position = start + 10;
        loop {
            match self.run(&command).expect("made") {
                Made::Unread(places) => {
                    assert!(places.iter().all(|place| !command.open.contains(place)), "asked once");
                    command.open.extend(places);
                }
                Made::Changed => panic!("nobody changed it"),
                Made::Upto { new, .. } => {
                    if repeat {
                        // The commit was in doubt: decided again, it makes nothing more.
                        let again = self.run(&command).expect("made");
                        assert!(matches!(again, Made::Upto { new: 0, .. }), "{again:?}");
                    }
                    return new;
                }
            }
        }
    }

    fn claim(&mut self, owner: &str, shard: Option<u32>, max: u64, repeat: bool) -> Vec<Task> {
        self.requests += 1;
        let command = ClaimTasks {
            name: name(),
            shard,
            owner: owner.into(),
            lease_ms: 500,
            max,
            due_until: None,
            token: format!("q-{}", self.requests),
            lapsed: self.queue(DueKind::TaskClaim),
            due: self.queue(DueKind::Task),
        };
        let claimed = self.run(&command).expect("claimed").tasks;
        if repeat {
            // In doubt: decided again, it finds its own claims, and takes no more of them.
            let again = self.run(&command).expect("claimed").tasks;
            assert!(claimed.iter().all(|task| again.contains(task)));
            return again;
        }
        claimed
    }
}

#[derive(Clone, Debug)]
enum Step {
    Events(Vec<u8>, bool),
    Claim(u8, Option<u32>, u64, bool),
    Complete(usize, u8),
    Nack(usize, u8, bool),
    Retry(usize),
    Sweep,
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (prop::collection::vec(0_u8..6, 0..6), any::<bool>()).prop_map(|(subjects, again)| Step::Events(subjects, again)),
        4 => (0_u8..3, prop::option::of(0_u32..3), 0_u64..6, any::<bool>())
            .prop_map(|(owner, shard, max, again)| Step::Claim(owner, shard, max, again)),
        3 => (0_usize..40, 0_u8..3).prop_map(|(task, owner)| Step::Complete(task, owner)),
        3 => (0_usize..40, 0_u8..3, prop::bool::weighted(0.2)).prop_map(|(task, owner, permanent)| Step::Nack(task, owner, permanent)),
        1 => (0_usize..40).prop_map(Step::Retry),
        1 => Just(Step::Sweep),
        3 => prop_oneof![Just(1_i64), Just(100), Just(500), Just(5_000), Just(8 * 24 * 60 * 60 * 1000)].prop_map(Step::Pass),
    ]
}

fn check(kept: &Kept, made: u64, gone: u64) {
    let head = kept.head();
    let tasks = kept.tasks();
    let mut counts = Counts::default();
    for task in &tasks {
        match &task.state {
            TaskState::Pending { .. } => counts.pending += 1,
            TaskState::Claimed(_) => counts.claimed += 1,
            TaskState::Done { .. } => counts.done += 1,
            TaskState::Dead { .. } => counts.dead += 1,
        }
        assert!(task.attempts <= ATTEMPTS, "{task:?}");
    }
    assert_eq!(head.counts, counts, "the head counts what is there");
    assert!(counts.claimed <= CONCURRENCY, "{counts:?}");
    assert_eq!(
        tasks.len() as u64 + gone,
        made,
        "no task is lost, none comes from nowhere"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_asked_nothing_is_lost_and_no_bound_is_broken(
        debounce_ms in prop_oneof![Just(0), Just(200)],
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut kept = Kept::new(debounce_ms);
        let (mut made, mut gone) = (0, 0);
        // When each claim was admitted.
        let mut admitted: Vec<i64> = Vec::new();
        for step in steps {
            match step {
                Step::Events(subjects, again) => made += kept.events(&subjects, again),
                Step::Claim(owner, shard, max, again) => {
                    let claimed = kept.claim(&owner.to_string(), shard, max, again);
                    prop_assert!(claimed.len() as u64 <= max);
                    for task in &claimed {
                        prop_assert!(shard.is_none_or(|shard| shard == task.place.shard));
                        admitted.push(kept.now);
                    }
                }
                Step::Complete(task, owner) => settle(&mut kept, task, owner, |place, owner| {
                    Box::new(move |kept: &mut Kept| kept.run(&CompleteTask { name: name(), place, owner: owner.clone() }).map(drop))
                }),
                Step::Nack(task, owner, permanent) => settle(&mut kept, task, owner, |place, owner| {
                    Box::new(move |kept: &mut Kept| {
                        let nack = NackTask { name: name(), place, owner: owner.clone(), error: "e".into(), permanent };
                        kept.run(&nack).map(drop)
                    })
                }),
                Step::Retry(task) => {
                    if let Some(task) = kept.tasks().get(task) {
                        let settled = matches!(task.state, TaskState::Claimed(_) | TaskState::Done { .. });
                        let retried = kept.run(&RetryTask { name: name(), place: task.place });
                        prop_assert_eq!(retried.is_err(), settled);
                    }
                }
                Step::Sweep => {
                    let keys: Vec<RowKey> = kept.rows.keys().filter(|key| **key != RowKey::Head).cloned().collect();
                    let before = kept.tasks().len();
                    kept.run(&SweepTasks { entity: name().entity(), keys }).expect("swept");
                    gone += (before - kept.tasks().len()) as u64;
                }
                Step::Pass(ms) => kept.now += ms,
            }
            check(&kept, made, gone);
            let second = admitted.iter().filter(|at| **at > kept.now - 1_000).count();
            // A full bucket, and what flowed in within the second.
            prop_assert!(second <= 2 * RATE as usize, "{second} claims within a second");
        }
    }
}

/// Only who holds a task settles it; doing so twice is doing it once.
fn settle(
    kept: &mut Kept,
    task: usize,
    owner: u8,
    command: impl Fn(TaskPlace, String) -> Box<dyn Fn(&mut Kept) -> Result<(), Refusal>>,
) {
    let Some(task) = kept.tasks().get(task).cloned() else {
        return;
    };
    let owner = owner.to_string();
    let run = command(task.place, owner.clone());
    let held = matches!(&task.state, TaskState::Claimed(claim) if claim.owner == owner);
    let settled = run(kept);
    if held {
        assert!(settled.is_ok(), "{settled:?}");
        let after = kept.rows.clone();
        assert!(run(kept).is_ok(), "the same again");
        assert_eq!(kept.rows, after, "changes nothing");
    } else if let TaskState::Claimed(claim) = &task.state {
        let refusal = settled.expect_err("somebody else holds it");
        assert_eq!(
            (refusal.code, refusal.owner.as_ref()),
            ("TAPE-Q003", Some(&claim.owner))
        );
    }
}
