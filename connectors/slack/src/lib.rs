//! Messages to Slack channels.
//!
//! Slack does not deduplicate, so every message carries its idempotency key as metadata, and a lost answer is looked for in the channel.

mod slack;

use serde_json::{Value, json};
use tape_guest::{
    CompensateAnswer, Connector, DispatchAnswer, Doubt, Effect, Failure, Obligation, ObserveAnswer, Receipt, Request,
    StatusAnswer, doubt, invalid, read_query,
};

use crate::slack::{Config, METADATA_EVENT, Message, Post, Reference, changed, page};

/// How far back a channel is searched: this many pages of 100 messages.
const PAGES_MAX: usize = 10;

struct Slack;

tape_guest::export!(Slack);

impl Connector for Slack {
    fn describe() -> Result<String, String> {
        Ok(slack::description().to_string())
    }

    fn dispatch(effect: Effect) -> DispatchAnswer {
        match message(&effect) {
            Ok(request) => changed(request.send(), &[]).into(),
            Err(failure) => DispatchAnswer::Failed(failure),
        }
    }

    fn status_check(_: Effect, _: String) -> StatusAnswer {
        StatusAnswer::Inconclusive(doubt("Slack keeps no request ids"))
    }

    fn observe(effect: Effect) -> ObserveAnswer {
        match found(&effect) {
            Err(doubt) => ObserveAnswer::Inconclusive(doubt),
            Ok(mut receipts) => match receipts.len() {
                0 => ObserveAnswer::Absent,
                1 => ObserveAnswer::Present(receipts.remove(0)),
                _ => ObserveAnswer::Duplicate(receipts),
            },
        }
    }

    fn compensate(obligation: Obligation) -> CompensateAnswer {
        let named = obligation
            .receipt
            .map(|receipt| receipt.external_ref)
            .filter(|text| !text.is_empty());
        let external_ref = match named {
            Some(named) => named,
            None => match found(&obligation.effect) {
                Err(doubt) => return CompensateAnswer::Unknown(doubt),
                Ok(receipts) => match receipts.into_iter().next() {
                    Some(receipt) => receipt.external_ref,
                    None => return CompensateAnswer::Resolved(gone("")),
                },
            },
        };
        match delete(&external_ref) {
            // Slack's word that there is nothing to delete.
            Ok(request) => changed(request.send(), &["message_not_found"])
                .map(|_| gone(&external_ref))
                .into(),
            Err(failure) => CompensateAnswer::Failed(failure),
        }
    }
}

fn message(effect: &Effect) -> Result<Request, Failure> {
    if effect.operation != "post" {
        return Err(invalid(
            "unknown-operation",
            format!("there is no operation `{}`, only `post`", effect.operation),
        ));
    }
    let config: Config = tape_guest::config()?;
    let Post {
        channel,
        text,
        thread_ts,
        blocks,
    } = tape_guest::payload(&effect.payload)?;
    let mut body = json!({
        "channel": channel, "text": text,
        "metadata": {"event_type": METADATA_EVENT, "event_payload": {"key": effect.idempotency_key}},
    });
    if let Some(thread) = thread_ts {
        body["thread_ts"] = thread.into();
    }
    if !blocks.is_null() {
        body["blocks"] = blocks;
    }
    Ok(config.call("chat.postMessage").json(&body))
}

/// The messages of the channel, or of the thread, that carry the effect's key: the oldest first, which is the one to keep.
fn found(effect: &Effect) -> Result<Vec<Receipt>, Doubt> {
    let worded = |failure: Failure| doubt(failure.message);
    let config: Config = tape_guest::config().map_err(worded)?;
    let post: Post = tape_guest::payload(&effect.payload).map_err(worded)?;
    let mut ours: Vec<Message> = Vec::new();
    let mut cursor = String::new();
    for _ in 0..PAGES_MAX {
        let mut request = match &post.thread_ts {
            Some(thread) => config.ask("conversations.replies").query("ts", thread),
            None => config.ask("conversations.history"),
        };
        request = request
            .query("channel", &post.channel)
            .query("include_all_metadata", "true")
            .query("limit", "100");
        if !cursor.is_empty() {
            request = request.query("cursor", &cursor);
        }
        let page = read_query(request.send(), page)?;
        ours.extend(
            page.messages
                .into_iter()
                .filter(|message| message.key() == Some(effect.idempotency_key.as_str())),
        );
        cursor = page.next_cursor;
        if cursor.is_empty() {
            ours.sort_by(|one, other| one.ts.cmp(&other.ts));
            return Ok(ours.iter().map(|message| message.receipt(&post.channel)).collect());
        }
    }
    Err(doubt(format!(
        "the message is not among the {} latest of the channel, and there are more",
        PAGES_MAX * 100
    )))
}

fn delete(external_ref: &str) -> Result<Request, Failure> {
    let config: Config = tape_guest::config()?;
    let Reference { channel, ts } = Reference::read(external_ref)?;
    Ok(config.call("chat.delete").json(&json!({"channel": channel, "ts": ts})))
}

fn gone(external_ref: &str) -> Receipt {
    let response: Value = json!({"deleted": external_ref});
    Receipt {
        external_ref: external_ref.to_owned(),
        response: response.to_string(),
    }
}
