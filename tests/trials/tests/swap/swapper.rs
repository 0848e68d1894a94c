//! The swaps, and what is known for sure about where calls went meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use tape_e2e::Bank;
use tape_proto::v1 as pb;
use tape_trials::Caller;
use tokio::time::sleep;

use crate::deployer::Deployer;
use crate::load::Load;
use crate::{FOLLOW_MS, LOOK_AGAIN};

/// From when until when calls went where, as far as this process knows for sure: every server has followed by `from`, and none has
/// been told otherwise before `until`.
pub(crate) struct Window {
    pub(crate) from: i64,
    pub(crate) until: i64,
    /// The stable version, and the canary with its share.
    pub(crate) stable: String,
    pub(crate) canary: Option<(String, u8)>,
}

/// Who answered questions about effects: effect's key and version.
pub(crate) type Questions = Arc<Mutex<Vec<(String, String)>>>;

pub(crate) async fn listen(caller: Caller, questions: Questions) {
    loop {
        let request = pb::TailConnectorRequest {
            name: "bank".into(),
            limit: 1,
            follow: true,
            ..Default::default()
        };
        if let Ok(lines) = caller.listening().tail_connector(request).await {
            let mut lines = lines.into_inner();
            while let Ok(Some(line)) = lines.message().await {
                if line.level == "call" && line.question == "observe" {
                    questions.lock().unwrap().push((line.effect_key, line.version));
                }
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

/// The swaps, one after the other.
pub(crate) struct Swapper<'a> {
    pub(crate) deployer: Deployer,
    pub(crate) bank: &'a Bank,
    pub(crate) load: &'a Load,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) digests: BTreeMap<String, String>,
    pub(crate) removed: BTreeSet<String>,
    pub(crate) windows: Vec<Window>,
    pub(crate) traps: u64,
}

impl Swapper<'_> {
    /// Lets the load run over what was just activated.
    pub(crate) async fn settle(&mut self, stable: &str, canary: Option<(&str, u8)>, wires: u64) {
        self.settle_for(stable, canary, wires, 0).await;
    }

    /// The same for longer than it takes everybody to follow: what is begun after that goes where it was told to go.
    async fn settle_long(&mut self, stable: &str, canary: Option<(&str, u8)>, wires: u64) {
        self.settle_for(stable, canary, wires, FOLLOW_MS + 700).await;
    }

    async fn settle_for(&mut self, stable: &str, canary: Option<(&str, u8)>, wires: u64, ms: i64) {
        let since = now_ms();
        self.load.goes_on(wires).await;
        while now_ms() < since + ms {
            self.load.goes_on(1).await;
        }
        self.windows.push(Window {
            from: since + FOLLOW_MS,
            until: now_ms(),
            stable: stable.into(),
            canary: canary.map(|(version, share)| (version.to_owned(), share)),
        });
    }

    pub(crate) async fn swap(&mut self, number: u64) {
        let wires = self.rng.random_range(8..40);
        match number % 8 {
            0 => {
                self.deployer.activate("2", 0).await;
                self.settle_long("2", None, wires).await;
            }
            1 => {
                // The answer to one wire is lost, and by the time somebody asks, another version is active.
                self.bank.control(r#"{"next_answer":"lose"}"#);
                assert_eq!(self.deployer.rollback("2").await, "1");
                self.settle("1", None, wires).await;
            }
            2 => {
                self.deployer.activate("3", 30).await;
                self.settle_long("1", Some(("3", 30)), 3 * wires).await;
            }
            3 => {
                self.bank.control(r#"{"next_answer":"lose"}"#);
                self.deployer.activate("3", 100).await;
                self.settle("3", None, wires).await;
            }
            4 => {
                assert_eq!(self.deployer.rollback("3").await, "1");
                self.settle("1", None, wires).await;
            }
            5 | 6 => {
                let (after, version) = (number % 8 == 6, format!("trap-{number}"));
                let digest = self.deployer.put_trap(&version, after).await;
                self.digests.insert(version.clone(), digest);
                self.deployer.activate(&version, 0).await;
                sleep(Duration::from_millis(self.rng.random_range(1..60))).await;
                assert_eq!(self.deployer.rollback(&version).await, "1");
                self.traps += 1;
                // Nobody can say what it did: from now on the active version is asked.
                self.deployer.remove(&version).await;
                self.removed.insert(version);
                self.settle("1", None, wires).await;
            }
            _ => {
                // An answer is held back while its version is swapped away and back.
                self.bank.control(r#"{"next_answer":"hold","hold_ms":150}"#);
                self.load.goes_on(1).await;
                self.deployer.activate("2", 0).await;
                assert_eq!(self.deployer.rollback("2").await, "1");
                self.settle("1", None, wires).await;
            }
        }
    }
}
