//! `tape tasks`: reactions, and what they made of events; opens dead letters again.

use clap::ValueEnum;
use tape_client::{Reaction, Task, TaskStatus};

use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// The reaction whose tasks are listed [default: list the reactions]
    #[arg(long, value_name = "ID")]
    reaction: Option<String>,
    /// Only tasks that stand there
    #[arg(long, value_enum, requires = "reaction")]
    status: Option<Status>,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i32).range(1..=1000))]
    limit: i32,
    /// Open a dead letter again, with all its attempts; or make a task due now that waits for its next one
    #[arg(long, value_name = "TASK", conflicts_with_all = ["reaction", "status"])]
    retry: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Status {
    Pending,
    Claimed,
    Done,
    Dlq,
}

impl From<Status> for TaskStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Claimed => Self::Claimed,
            Status::Done => Self::Done,
            Status::Dlq => Self::Dlq,
        }
    }
}

pub async fn run(args: Args, cx: &Cx) -> anyhow::Result<Exit> {
    let client = cx.client().await?;
    if let Some(task) = &args.retry {
        let task = client.retry_task(task).await?;
        if cx.is_json() {
            ui::json(&task)?;
        } else {
            ui::marked(
                ui::Mark::Tick,
                format!("task {} is {}", task.task_id, task.status.as_str()),
            )?;
        }
        return Ok(Exit::Fine);
    }
    let Some(reaction) = &args.reaction else {
        let reactions = client.reactions().await?;
        if cx.is_json() {
            ui::json(&reactions)?;
        } else {
            ui::line(reactions_table(&reactions))?;
        }
        return Ok(Exit::Fine);
    };
    let tasks = client
        .tasks(reaction, args.status.map(TaskStatus::from), args.limit)
        .await?;
    if cx.is_json() {
        ui::json(&tasks)?;
    } else {
        ui::line(tasks_table(&tasks))?;
    }
    Ok(Exit::Fine)
}

fn reactions_table(reactions: &[Reaction]) -> String {
    let row = |one: &Reaction| {
        let handler = match (one.agent_app.as_str(), one.publish_target.as_str()) {
            ("", "") => "task".to_owned(),
            ("", target) => format!("publish {target}"),
            (app, _) => format!("agent {app}"),
        };
        let state = if one.deleted { "taken back" } else { "live" };
        [
            one.reaction_id.clone(),
            one.name.clone(),
            state.to_owned(),
            handler,
            format!("{} {}", one.subject_pattern, one.predicate_cel),
        ]
    };
    let rows: Vec<_> = reactions.iter().map(row).collect();
    ui::table(["REACTION", "NAME", "STATE", "HANDLER", "WANTS"], &rows)
}

fn tasks_table(tasks: &[Task]) -> String {
    let row = |one: &Task| {
        [
            one.task_id.clone(),
            ui::status(one.status.as_str()),
            one.attempts.to_string(),
            one.lease_owner.clone(),
            one.subject.clone(),
            one.last_error.lines().next().unwrap_or_default().to_owned(),
        ]
    };
    let rows: Vec<_> = tasks.iter().map(row).collect();
    ui::table(["TASK", "STATUS", "ATTEMPTS", "OWNER", "SUBJECT", "ERROR"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_show_what_is_wanted_and_why_it_failed() {
        let reaction = Reaction {
            reaction_id: "rx-1".into(),
            name: "mail".into(),
            subject_pattern: "/tape/run/ended/**".into(),
            predicate_cel: "seq > 3".into(),
            agent_app: "audit".into(),
            publish_target: String::new(),
            deleted: true,
            created_at_ms: 0,
        };
        let text = reactions_table(&[reaction]);
        for part in [
            "rx-1",
            "mail",
            "taken back",
            "agent audit",
            "/tape/run/ended/** seq > 3",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let task = Task {
            task_id: "rx-1/0/7".into(),
            status: TaskStatus::Dlq,
            source_run_id: "r-1".into(),
            subject: "/tape/run/ended/r-1".into(),
            payload_json: String::new(),
            attempts: 5,
            next_attempt_at_ms: 0,
            lease_owner: String::new(),
            last_error: "out of paper\nsecond line".into(),
            created_at_ms: 0,
        };
        let text = console::strip_ansi_codes(&tasks_table(&[task])).into_owned();
        assert!(
            text.contains("rx-1/0/7") && text.contains("DLQ") && text.contains("out of paper"),
            "{text}"
        );
        assert!(!text.contains("second line"), "{text}");
    }
}
