//! What must hold once the dust has settled.

use std::collections::BTreeMap;
use std::time::Duration;

use tape_proto::v1 as pb;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;

use crate::call::Caller;
use crate::dump::Dump;
use crate::story::{Fact, Story, Values};

/// Dumps asked for at once.
const AT_ONCE: usize = 8;
/// How long a server may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);

/// Dumps of all runs of an app, by id, each of which was found whole: invariant 5.
///
/// # Panics
/// With what is wrong.
pub async fn journals_are_whole(caller: &Caller, app: &str) -> BTreeMap<String, Dump> {
    let mut runs = Vec::new();
    let mut token = String::new();
    loop {
        let request = pb::ListRunsRequest {
            app_name: app.to_owned(),
            page_size: 1000,
            page_token: token,
            ..Default::default()
        };
        let page = caller
            .admin
            .clone()
            .list_runs(request)
            .await
            .expect("a page")
            .into_inner();
        runs.extend(page.runs.into_iter().map(|run| run.run_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let (mut tasks, mut waiting, mut dumps) = (JoinSet::new(), runs.into_iter(), BTreeMap::new());
    loop {
        while tasks.len() < AT_ONCE
            && let Some(run) = waiting.next()
        {
            let caller = caller.clone();
            tasks.spawn(async move { (dump_of(&caller, &run).await, run) });
        }
        let Some(done) = tasks.join_next().await else { break };
        let (dump, run) = done.expect("a dump");
        let wrong = dump.contradictions();
        assert!(wrong.is_empty(), "run {run}: {wrong:#?}\n{dump:#?}");
        dumps.insert(run, dump);
    }
    dumps
}

/// The dump of a run, asked for again while the server says that it does not serve yet: on a busy machine its store takes long.
async fn dump_of(caller: &Caller, run: &str) -> Dump {
    let begun = Instant::now();
    let mut pause = tokio::time::interval(Duration::from_millis(100));
    loop {
        pause.tick().await;
        match Dump::of(caller, run).await {
            Ok(dump) => return dump,
            Err(status) if status.code() == Code::Unavailable && begun.elapsed() < PATIENCE => {}
            Err(status) => panic!("no dump of {run}: {status}"),
        }
    }
}

/// Invariant 4: what the clients were told is there, and nothing is there that nobody asked for.
///
/// # Panics
/// With what is wrong.
pub fn stories_hold(stories: &[Story], dumps: &BTreeMap<String, Dump>) {
    let wrong = broken(stories, dumps);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is lost, and what nobody asked for.
fn broken(stories: &[Story], dumps: &BTreeMap<String, Dump>) -> Vec<String> {
    let mut wrong = Vec::new();
    for story in stories {
        wrong.extend(story.wrong.iter().cloned());
        if story.run.is_empty() {
            continue;
        }
        let Some(dump) = dumps.get(&story.run) else {
            wrong.push(format!("run {} is gone", story.run));
            continue;
        };
        let lost = story.known.iter().filter(|fact| !fact.holds(dump));
        wrong.extend(lost.map(|fact| format!("run {}: {fact:?} was acknowledged and is gone", story.run)));
        wrong.extend(invented(story, dump));
    }
    wrong
}

fn invented(story: &Story, dump: &Dump) -> Vec<String> {
    let asked = |fact: &Fact| story.known.contains(fact) || story.possible.contains(fact);
    let mut wrong = Vec::new();
    for row in dump.rows("decision") {
        let fact = Fact::Decision(
            row["decision_index"].as_i64().unwrap_or(-1),
            row["response"].to_string(),
        );
        if !asked(&fact) {
            wrong.push(format!("run {}: nobody asked for {fact:?}", story.run));
        }
    }
    for row in dump.rows("effect") {
        let fact = Fact::Begun(row["idempotency_key"].as_str().unwrap_or_default().to_owned());
        if !asked(&fact) {
            wrong.push(format!("run {}: nobody asked for {fact:?}", story.run));
        }
    }
    let mut spent = dump.spent();
    for power in 0.. {
        if spent == 0 {
            break;
        }
        let fact = Fact::Charged(4_u64.pow(power));
        if spent % 4 > u64::from(asked(&fact)) {
            wrong.push(format!("run {}: {fact:?} was counted {} times", story.run, spent % 4));
        }
        spent /= 4;
    }
    wrong
}

/// A business key stands for one effect at most that has not failed, over all runs.
///
/// # Panics
/// With the keys that stand for more.
pub fn keys_are_unique(dumps: &BTreeMap<String, Dump>) {
    let owners = shared_keys(dumps);
    assert!(
        owners.is_empty(),
        "business keys that stand for several effects: {owners:#?}"
    );
}

/// Business keys that stand for several effects, with these.
fn shared_keys(dumps: &BTreeMap<String, Dump>) -> BTreeMap<&str, Vec<&str>> {
    let mut owners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for dump in dumps.values() {
        for effect in dump.rows("effect").iter().filter(|effect| effect["status"] != "FAILED") {
            let key = effect["business_key"].as_str().unwrap_or_default();
            if !key.is_empty() {
                owners
                    .entry(key)
                    .or_default()
                    .push(effect["idempotency_key"].as_str().unwrap_or_default());
            }
        }
    }
    owners.retain(|_, effects| effects.len() > 1);
    owners
}

/// Every value's versions are 1, 2, 3 ...; what was acknowledged is the version that it was told to be, nothing was written
/// twice, and nothing that nobody asked for.
///
/// # Panics
/// With what is wrong.
pub async fn values_hold(caller: &Caller, namespace: &str, values: &Values) {
    for (key, writes) in values.all() {
        let get = pb::GetValueRequest {
            namespace: namespace.to_owned(),
            key: key.clone(),
        };
        let newest = caller
            .tape
            .clone()
            .get_value(get)
            .await
            .expect("an answer")
            .into_inner();
        let newest = newest.value.map_or(0, |value| value.version);
        // The oldest versions are not kept for ever.
        let oldest = (newest - 999).max(1);
        let watch = pb::WatchValueRequest {
            namespace: namespace.to_owned(),
            key: key.clone(),
            from_version: oldest,
        };
        let mut found: BTreeMap<String, i64> = BTreeMap::new();
        if newest > 0 {
            let mut events = caller
                .tape
                .clone()
                .watch_value(watch)
                .await
                .expect("a watch")
                .into_inner();
            for version in oldest..=newest {
                let event = events.message().await.expect("an event").expect("the watch goes on");
                let value = event.value.expect("a value");
                assert_eq!(value.version, version, "{key}: a version is left out");
                assert_eq!(event.prev_version, version - 1, "{key}: what came before is another");
                let before = found.insert(value.value_json.clone(), version);
                assert_eq!(before, None, "{key}: {} was written twice", value.value_json);
                assert!(
                    writes.contains_key(&value.value_json),
                    "{key}: nobody asked for {}",
                    value.value_json
                );
            }
        }
        for (json, version) in writes {
            let Some(version) = version.filter(|version| *version >= oldest) else {
                continue;
            };
            assert_eq!(
                found.get(&json),
                Some(&version),
                "{key}: {json} was acknowledged as {version}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn dumped(decisions: Vec<Value>, effects: Vec<Value>, spent: u64) -> BTreeMap<String, Dump> {
        let sections = [
            ("run", vec![json!({"status": "TERMINAL"})]),
            ("decision", decisions),
            ("effect", effects),
            ("budget", vec![json!({"usd_spent_micros": spent})]),
        ];
        BTreeMap::from([("r".to_owned(), Dump::planted(sections))])
    }

    #[test]
    fn what_was_lost_and_what_nobody_asked_for_is_found() {
        let story = Story {
            run: "r".into(),
            known: vec![
                Fact::Decision(0, "1".into()),
                Fact::Begun("e".into()),
                Fact::Charged(4),
                Fact::Ended,
            ],
            possible: vec![Fact::Decision(1, "2".into())],
            wrong: Vec::new(),
        };
        let (decision, effect) = (
            |index: i64, response: i64| json!({"decision_index": index, "response": response}),
            || json!({"idempotency_key": "e"}),
        );
        let told = |dumps| broken(std::slice::from_ref(&story), &dumps);
        let honest = [vec![decision(0, 1)], vec![decision(0, 1), decision(1, 2)]];
        for decisions in honest {
            assert_eq!(told(dumped(decisions, vec![effect()], 4)), Vec::<String>::new());
        }
        let found = |wrong: Vec<String>, what: &str| {
            assert!(wrong.iter().any(|said| said.contains(what)), "{what}: {wrong:?}");
        };
        found(told(BTreeMap::new()), "run r is gone");
        found(told(dumped(vec![], vec![effect()], 4)), "was acknowledged and is gone");
        found(
            told(dumped(vec![decision(0, 7)], vec![effect()], 4)),
            "nobody asked for Decision(0, \"7\")",
        );
        found(
            told(dumped(vec![decision(0, 1)], vec![], 4)),
            "Begun(\"e\") was acknowledged and is gone",
        );
        found(
            told(dumped(vec![decision(0, 1)], vec![effect()], 8)),
            "Charged(4) was counted 2 times",
        );
    }

    #[test]
    fn a_business_key_of_two_effects_is_found() {
        let effect = |key: &str, status: &str| json!({"idempotency_key": key, "business_key": "b", "status": status});
        let one = dumped(vec![], vec![effect("e", "CONFIRMED"), effect("f", "FAILED")], 0);
        assert!(shared_keys(&one).is_empty());
        let two = dumped(vec![], vec![effect("e", "CONFIRMED"), effect("f", "PENDING")], 0);
        assert_eq!(shared_keys(&two), BTreeMap::from([("b", vec!["e", "f"])]));
    }
}
