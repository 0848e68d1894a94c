//! Issues on GitHub.
//!
//! GitHub does not deduplicate, so an issue's text ends with an invisible mark that holds its idempotency key; a lost answer is
//! looked for among the repository's latest issues. Undoing an issue closes it as not planned.

mod github;

use serde_json::json;
use tape_guest::{
    CompensateAnswer, Connector, DispatchAnswer, Doubt, Effect, Failure, Obligation, ObserveAnswer, Request,
    StatusAnswer, doubt, invalid, read_query,
};

use crate::github::{Config, Issue, NewIssue, Reference, changed, issues, mark, receipt_of};

/// How far back issues are searched: this many pages of 100.
const PAGES_MAX: usize = 5;
const PER_PAGE: usize = 100;

struct GithubIssues;

tape_guest::export!(GithubIssues);

impl Connector for GithubIssues {
    fn describe() -> Result<String, String> {
        Ok(github::description().to_string())
    }

    fn dispatch(effect: Effect) -> DispatchAnswer {
        match create(&effect) {
            Ok((request, repository)) => changed(request.send())
                .map(|issue| receipt_of(&repository, &issue))
                .into(),
            Err(failure) => DispatchAnswer::Failed(failure),
        }
    }

    fn status_check(_: Effect, _: String) -> StatusAnswer {
        StatusAnswer::Inconclusive(doubt("GitHub keeps no request ids"))
    }

    fn observe(effect: Effect) -> ObserveAnswer {
        let (repository, issues) = match found(&effect) {
            Ok(found) => found,
            Err(doubt) => return ObserveAnswer::Inconclusive(doubt),
        };
        let standing: Vec<_> = issues
            .iter()
            .filter(|issue| !issue.is_undone())
            .map(|issue| receipt_of(&repository, issue))
            .collect();
        match (standing.as_slice(), issues.as_slice()) {
            ([], []) => ObserveAnswer::Absent,
            ([], [..]) => {
                ObserveAnswer::Inconclusive(doubt("the issue was closed as not planned: a person has to judge"))
            }
            ([one], _) => ObserveAnswer::Present(one.clone()),
            ([..], _) => ObserveAnswer::Duplicate(standing),
        }
    }

    fn compensate(obligation: Obligation) -> CompensateAnswer {
        let named = obligation
            .receipt
            .map(|receipt| receipt.external_ref)
            .filter(|text| !text.is_empty());
        let reference = match named {
            Some(named) => Reference::read(&named),
            None => match found(&obligation.effect) {
                Err(doubt) => return CompensateAnswer::Unknown(doubt),
                Ok((repository, issues)) => match issues.first() {
                    Some(issue) => Reference::read(&receipt_of(&repository, issue).external_ref),
                    None => return CompensateAnswer::Resolved(github::nothing()),
                },
            },
        };
        match reference.and_then(close) {
            Ok((request, repository)) => changed(request.send())
                .map(|issue| receipt_of(&repository, &issue))
                .into(),
            Err(failure) => CompensateAnswer::Failed(failure),
        }
    }
}

fn create(effect: &Effect) -> Result<(Request, String), Failure> {
    if effect.operation != "create" {
        return Err(invalid(
            "unknown-operation",
            format!("there is no operation `{}`, only `create`", effect.operation),
        ));
    }
    let config: Config = tape_guest::config()?;
    let issue: NewIssue = tape_guest::payload(&effect.payload)?;
    let path = github::path(&issue.repository)?;
    let body = json!({
        "title": issue.title, "labels": issue.labels, "assignees": issue.assignees,
        "body": format!("{}\n\n{}", issue.body, mark(&effect.idempotency_key)),
    });
    Ok((
        config.send("POST", &format!("{path}/issues")).json(&body),
        issue.repository,
    ))
}

fn close(Reference { repository, number }: Reference) -> Result<(Request, String), Failure> {
    let config: Config = tape_guest::config()?;
    let path = github::path(&repository)?;
    let body = json!({"state": "closed", "state_reason": "not_planned"});
    Ok((
        config.send("PATCH", &format!("{path}/issues/{number}")).json(&body),
        repository,
    ))
}

/// The repository, and its issues that carry the effect's key: the oldest first, which is the one to keep.
fn found(effect: &Effect) -> Result<(String, Vec<Issue>), Doubt> {
    let worded = |failure: Failure| doubt(failure.message);
    let config: Config = tape_guest::config().map_err(worded)?;
    let issue: NewIssue = tape_guest::payload(&effect.payload).map_err(worded)?;
    let path = github::path(&issue.repository).map_err(worded)?;
    let mark = mark(&effect.idempotency_key);
    let mut ours = Vec::new();
    for page in 1..=PAGES_MAX {
        let request = config.send("GET", &format!("{path}/issues"));
        let request = request
            .query("state", "all")
            .query("sort", "created")
            .query("direction", "desc");
        let request = request
            .query("per_page", &PER_PAGE.to_string())
            .query("page", &page.to_string());
        let issues = read_query(request.send(), issues)?;
        let last = issues.len() < PER_PAGE;
        ours.extend(
            issues
                .into_iter()
                .filter(|issue| issue.body.as_ref().is_some_and(|body| body.contains(&mark))),
        );
        if last {
            ours.reverse();
            return Ok((issue.repository, ours));
        }
    }
    if ours.is_empty() {
        return Err(doubt(format!(
            "the issue is not among the {} latest, and there are more",
            PAGES_MAX * PER_PAGE
        )));
    }
    ours.reverse();
    Ok((issue.repository, ours))
}
