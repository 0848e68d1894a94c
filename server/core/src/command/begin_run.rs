//! Begin or resume a run: create it, take its lease, or renew it.

use serde_json::json;

use super::{Command, Reads};
use crate::draft::{Draft, Note};
use crate::entity::EntityId;
use crate::id::{RunId, RunIdentity};
use crate::journal::Kind;
use crate::json::{check_name, check_optional_name, check_payload};
use crate::lease::{Driver, Lease, RUN_LEASE_MS};
use crate::refusal::{Refusal, Status};
use crate::row::{LeaseTaken, Row, RowKey};
use crate::run::{Caller, Run, RunEvent, RunState, Wake};

/// Longest lease that can be asked for: a day.
pub const LEASE_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// What a driver asks for when it wants to drive.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// Who drives.
    pub owner: String,
    /// For how long, in milliseconds; 0 = [`RUN_LEASE_MS`].
    pub ttl_ms: i64,
    /// Whether it will send its fence.
    pub fenced: bool,
}

/// Creates the run if it is new, and takes its lease.
#[derive(Clone, Debug)]
pub struct BeginRun {
    /// Who it is.
    pub identity: RunIdentity,
    /// What the caller tells about itself.
    pub caller: Caller,
    /// What it starts with, as JSON: handed to whoever takes it over.
    pub input_json: String,
    /// The lease that it wants.
    pub lease: LeaseRequest,
}

/// Creates the run if it is new and leaves it to the recovery reactor to find a driver.
#[derive(Clone, Debug)]
pub struct StartRun {
    /// Who it is.
    pub identity: RunIdentity,
    /// What the caller tells about itself.
    pub caller: Caller,
    /// What it starts with, as JSON.
    pub input_json: String,
}

/// Takes, or renews, the lease of a run that exists.
#[derive(Clone, Debug)]
pub struct ResumeRun {
    /// Which.
    pub run: RunId,
    /// The lease that it wants.
    pub lease: LeaseRequest,
}

/// Renews the lease under a fence, and never takes one: the heartbeat of a fenced driver.
#[derive(Clone, Debug)]
pub struct RenewLease {
    /// Which.
    pub run: RunId,
    /// The fence under which the caller drives.
    pub fence: u64,
    /// The lease as it is to be from now on.
    pub lease: LeaseRequest,
}

/// A run, and whether it was there before.
#[derive(Clone, Debug)]
pub struct Begun {
    /// As it stands.
    pub run: Run,
    /// It existed.
    pub resumed: bool,
}

impl Command for BeginRun {
    type Reply = Begun;

    fn entity(&self) -> EntityId {
        EntityId::run(&RunId::derive(&self.identity))
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<Begun, Refusal> {
        check_identity(&self.identity)?;
        check_payload("input_json", &self.input_json)?;
        let id = RunId::derive(&self.identity);
        let resumed = draft.exists();
        if resumed && !draft.run(&id)?.state.live() {
            return Ok(Begun {
                run: draft.run(&id)?.clone(),
                resumed,
            });
        }
        if !resumed {
            create(
                draft,
                Run::new(
                    self.identity.clone(),
                    self.caller.clone(),
                    self.input_json.clone(),
                    draft.now(),
                ),
            )?;
        }
        take_lease(draft, &id, &self.lease)?;
        Ok(Begun {
            run: draft.run(&id)?.clone(),
            resumed,
        })
    }
}

impl Command for StartRun {
    type Reply = Begun;

    fn entity(&self) -> EntityId {
        EntityId::run(&RunId::derive(&self.identity))
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<Begun, Refusal> {
        check_identity(&self.identity)?;
        check_payload("input_json", &self.input_json)?;
        let id = RunId::derive(&self.identity);
        let resumed = draft.exists();
        if !resumed {
            create(
                draft,
                Run::new(
                    self.identity.clone(),
                    self.caller.clone(),
                    self.input_json.clone(),
                    draft.now(),
                ),
            )?;
        }
        Ok(Begun {
            run: draft.run(&id)?.clone(),
            resumed,
        })
    }
}

impl Command for ResumeRun {
    type Reply = Run;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<Run, Refusal> {
        draft.run(&self.run)?.check_live()?;
        take_lease(draft, &self.run, &self.lease)?;
        Ok(draft.run(&self.run)?.clone())
    }
}

impl Command for RenewLease {
    type Reply = Run;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<Run, Refusal> {
        let run = draft.run(&self.run)?;
        run.check_driver(&Driver {
            fence: Some(self.fence),
            owner: Some(self.lease.owner.clone()),
        })?;
        if !matches!(&run.state, RunState::Running(lease) if lease.owner == self.lease.owner) {
            return Err(Refusal::new(
                Status::Aborted,
                "TAPE-R006",
                format!("The lease on run {} under fence {} is gone.", self.run, self.fence),
                "Stop, or take the run over anew: ResumeRun without a fence.",
            )
            .held_by(&run.driver, run.fence));
        }
        take_lease(draft, &self.run, &self.lease)?;
        Ok(draft.run(&self.run)?.clone())
    }
}

fn check_identity(identity: &RunIdentity) -> Result<(), Refusal> {
    check_optional_name("tenant_id", &identity.tenant)?;
    check_name("app_name", &identity.app)?;
    check_optional_name("user_id", &identity.user)?;
    check_optional_name("session_id", &identity.session)?;
    check_name("invocation_id", &identity.invocation)
}

fn create(draft: &mut Draft, run: Run) -> Result<(), Refusal> {
    let (id, app) = (run.id.clone(), run.identity.app.clone());
    let payload = json!({
        "app": app, "user": run.identity.user, "session": run.identity.session, "invocation": run.identity.invocation,
    });
    draft.put(RowKey::Head, Row::Run(Box::new(run)));
    draft.journal(&id, Note::run(Kind::RunBegun, &payload))?;
    Ok(())
}

/// The lease as a lock: a holder keeps it, renews it, or loses it by letting it run out.
fn take_lease(draft: &mut Draft, id: &RunId, wanted: &LeaseRequest) -> Result<(), Refusal> {
    check_optional_name("lease_owner", &wanted.owner)?;
    if !(0..=LEASE_MS_MAX).contains(&wanted.ttl_ms) {
        return Err(Refusal::invalid(
            "lease_ttl_ms",
            &wanted.ttl_ms.to_string(),
            format!("lease_ttl_ms must be within 0..={LEASE_MS_MAX}."),
            "Use 0 for the default of two minutes, and renew by ResumeRun at a third of it.",
        ));
    }
    let now = draft.now();
    let expires = now.after(if wanted.ttl_ms == 0 {
        RUN_LEASE_MS
    } else {
        wanted.ttl_ms
    });
    let run = draft.run_mut(id)?;

    let from = run.state.name();
    if let RunState::Running(lease) = &mut run.state {
        if lease.owner == wanted.owner {
            // Renewed: never shortened, and nothing for the journal.
            lease.expires = lease.expires.max(expires);
            return Ok(());
        }
        if lease.lives(now) {
            let (owner, fence, until) = (lease.owner.clone(), lease.fence, lease.expires);
            return Err(Refusal::new(
                Status::Aborted,
                "TAPE-R005",
                format!(
                    "Run {id} is driven by {owner:?} until {} (in {} ms).",
                    until.0,
                    until.since(now)
                ),
                "Wait until the lease ends, or let its holder finish.",
            )
            .held_by(&owner, fence));
        }
    }

    run.fence += 1;
    run.fenced = wanted.fenced;
    run.driver.clone_from(&wanted.owner);
    run.wake = Wake { tries: 0, next: now };
    let (number, fence) = (run.leases, run.fence);
    run.leases += 1;
    let lease = Lease {
        owner: wanted.owner.clone(),
        fence,
        expires,
        fenced: wanted.fenced,
    };
    run.apply(RunEvent::LeaseTaken(lease.clone()))?;
    let (decision_index, seq) = (run.next_decision_index, run.seq + 1);
    draft.put(
        RowKey::Lease(number),
        Row::Lease(LeaseTaken {
            lease,
            at: now,
            from: from.to_owned(),
        }),
    );
    let payload = json!({
        "owner": wanted.owner, "fence": fence, "expires_ms": expires.0, "from": from, "decision_index": decision_index,
    });
    let written = draft.journal(id, Note::run(Kind::RunAttached, &payload))?;
    debug_assert_eq!(written, seq);
    Ok(())
}
