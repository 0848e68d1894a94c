//! Budgets: set, ask, charge.

use tape_core::command::budget::{AdmitBudget, ChargeBudget, SetBudget};
use tape_port::TapeError;
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::Cx;
use crate::convert::budget::{micros, state};
use crate::convert::run_id;
use crate::origin::Origin;

pub(super) async fn set_budget(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::SetBudgetRequest,
) -> Result<pb::BudgetState, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = run_id(&asked.run_id)?;
    let command = SetBudget {
        run: run.clone(),
        usd_cap_micros: micros("usd_cap", asked.usd_cap)?,
        token_cap: asked.token_cap,
    };
    Ok(state(&run, &cx.engine.execute(&command, origin.trace).await?))
}

pub(super) async fn admit_budget(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::AdmitBudgetRequest,
) -> Result<pb::AdmitBudgetResponse, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = run_id(&asked.run_id)?;
    let command = AdmitBudget {
        run: run.clone(),
        driver: origin.driver,
        request_id: origin.request_id,
        usd_micros: micros("usd_estimate", asked.usd_estimate)?,
        tokens: asked.token_estimate,
    };
    let admitted = cx.engine.execute(&command, origin.trace).await?;
    Ok(pb::AdmitBudgetResponse {
        admitted: admitted.admitted,
        reason: admitted.reason,
        budget: Some(state(&run, &admitted.budget)),
    })
}

pub(super) async fn charge_budget(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::ChargeBudgetRequest,
) -> Result<pb::BudgetState, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = run_id(&asked.run_id)?;
    let command = ChargeBudget {
        run: run.clone(),
        driver: origin.driver,
        request_id: origin.request_id,
        usd_micros: micros("usd", asked.usd)?,
        tokens: asked.tokens,
    };
    Ok(state(&run, &cx.engine.execute(&command, origin.trace).await?))
}
