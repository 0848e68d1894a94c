//! Every stable error code with its cause and its cure. A code never changes its meaning.

use serde::Serialize;

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `TAPE-R002`.
    pub code: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// How it comes about.
    pub cause: &'static str,
    /// What to do.
    pub cure: &'static str,
}

const fn about(code: &'static str, title: &'static str, cause: &'static str, cure: &'static str) -> Explanation {
    Explanation {
        code,
        title,
        cause,
        cure,
    }
}

/// All codes, in order. The letter is the room: A availability, C connector, D decision, E effect, J journal, K value by
/// key, N node, O obligation, P permission, Q reaction and its queue of tasks, R run, S session, T timer, V validation, W worker.
pub const ALL: &[Explanation] = &[
    about(
        "TAPE-A001",
        "the server or its store does not answer",
        "The process is down, restarting, or its database does not answer in time. Whether the request took hold is not known.",
        "Repeat the very same request: every operation is idempotent. If it stays so, `tape doctor` tells which part is away.",
    ),
    about(
        "TAPE-A002",
        "the store holds something that cannot be read",
        "A row was damaged on disk, or written by a newer version of Tape.",
        "Stop the server and keep a copy of the store as it is. Start the version that wrote it, or restore a backup.",
    ),
    about(
        "TAPE-A003",
        "this server does not serve that operation",
        "The contract knows the call, but this version or build of the server does not carry it out.",
        "Use a newer server, or do without: runs, decisions, effects, obligations, gates, timers, budgets, sessions, workers and the operator's verbs are served by all of them.",
    ),
    about(
        "TAPE-A004",
        "a stream was ended by the server",
        "The server is shutting down, another process attached under the same worker id, or the reader was too slow.",
        "Open the stream again from where it ended. SDK workers do that by themselves; two processes must not share a worker id.",
    ),
    about(
        "TAPE-A005",
        "that is not the URL of a Tape server",
        "It does not have the form tape://host:port, or names a scheme that this build does not have.",
        "Write tape://host:port, for example tape://127.0.0.1:7878, or tapes://host:port for TLS.",
    ),
    about(
        "TAPE-A006",
        "nothing listens there",
        "No server runs at that address, or something between here and there refuses the connection.",
        "Start one: `tape dev` in a project's folder, or `tape-server`. Name another address by --url or TAPE_URL.",
    ),
    about(
        "TAPE-A007",
        "the server's answer makes no sense",
        "It is a much older or newer version, or something else than a Tape server listens there.",
        "Compare the versions of both sides (`tape --version`, `tape status`), and check the address.",
    ),
    about(
        "TAPE-A008",
        "the server has as many connections as it takes",
        "Somebody opens a connection for each call, or there are more workers and clients than --max-connections allows. The call was not carried out.",
        "Share one connection: it carries many calls at once. Then look at the metric tape_connections, and raise --max-connections (tape.server.max_connections) if that many are meant.",
    ),
    about(
        "TAPE-A009",
        "more waits than one answer looks at",
        "Over 100,000 effects or obligations wait: ListPendingEffects and ListObligations would be slow, and would have to leave some out.",
        "Look at single runs (`tape status RUN`); Admin.Stats and the metrics tape_effects and tape_obligations_unresolved count what waits. Most of it is usually one connector that nobody serves, or an upstream that is down: `tape doctor` names it.",
    ),
    about(
        "TAPE-C001",
        "no connector of that name is deployed",
        "An effect names a connector of which no version is active for its tenant.",
        "Put and activate it (`tape connector put --activate`), add it under tape.connectors in tape.yaml, or correct the name; the error names the nearest one. Effects that wait for it go on by themselves.",
    ),
    about(
        "TAPE-C002",
        "the connector does not support that question",
        "It was asked to observe, check or compensate, and its description says that it cannot.",
        "Settle the effect another way (`tape resolve`), or deploy a version that supports it.",
    ),
    about(
        "TAPE-C003",
        "the connector is busy",
        "As many calls as its limits allow are running, or were let through in the last second.",
        "Nothing to do: nothing left, it is asked again, and that costs no attempt. If it lasts, raise the limit that is named (limits.concurrent_calls, limits.calls_per_s).",
    ),
    about(
        "TAPE-C004",
        "the connector rests after failures in a row",
        "Its circuit breaker is open: ten calls in a row ended without an answer, of the connector or of its upstream.",
        "Nothing leaves meanwhile and nothing is lost: what waits costs no attempt. `tape connector list` shows the last failure; mend the upstream, the breaker lets one call through every five seconds and closes by itself.",
    ),
    about(
        "TAPE-C005",
        "the mark before the first request was refused",
        "Just before the first byte left, somebody newer turned out to own the work: a claim had run out.",
        "Nothing to do: nothing left, and the newer owner goes on. If it happens often, raise the reactor's lease_ttl_ms.",
    ),
    about(
        "TAPE-C006",
        "the connector could not be started",
        "The host had no memory or no free instance for it, or its start crashed.",
        "Look into the server's log. Grant it more memory (limits.memory_bytes), or deploy the version before it.",
    ),
    about(
        "TAPE-C020",
        "that cannot be a connector's name",
        "Names are lower-case letters, digits and hyphens, at most 64 bytes.",
        "Rename it under tape.connectors.",
    ),
    about(
        "TAPE-C021",
        "the file is not a WebAssembly component",
        "It is empty, damaged, or a core module that was not built for wasm32-wasip2.",
        "Build it with `cargo build --release --target wasm32-wasip2`, and check tape.connectors.<name>.source.",
    ),
    about(
        "TAPE-C022",
        "the component does not fit the connector contract",
        "It lacks an export of the contract, or imports something that connectors may not have.",
        "Build it against wit/tape-connector of the version that the error names.",
    ),
    about(
        "TAPE-C023",
        "the connector does not describe itself",
        "Its describe() failed, or its answer is not the document that the contract asks for.",
        "Correct describe(); the error says which part.",
    ),
    about(
        "TAPE-C024",
        "the connector's configuration does not fit",
        "tape.connectors.<name>.config does not satisfy the schema that the connector describes.",
        "Correct the key that the error names.",
    ),
    about(
        "TAPE-C025",
        "a grant cannot be read",
        "A host, method or path under grants is not written as it must be.",
        "Write hosts as [scheme://]host[:port] or *.suffix, methods in upper case, paths with a leading slash.",
    ),
    about(
        "TAPE-C026",
        "a limit is higher than can be granted",
        "tape.connectors.<name>.limits asks for more than the host gives.",
        "Lower it to the maximum that the error names.",
    ),
    about(
        "TAPE-C027",
        "the host could not load the connector",
        "The host itself failed while it compiled or checked the component.",
        "Try again; if it stays so, the server's log has the reason.",
    ),
    about(
        "TAPE-C040",
        "there is no such connector, or no such version of it",
        "The name or the version is not among those that are deployed for the tenant.",
        "`tape connector list --all` shows all of them; the error names the nearest one, or the newest versions. Put it with `tape connector put`.",
    ),
    about(
        "TAPE-C041",
        "the version exists with other content",
        "A version of a connector is its bytes for ever: what it dispatched is asked about under its name. These bytes, this configuration or these grants are others.",
        "Raise the version in the connector's description, or put it under another one (--as VERSION, or --again to name it after its digest). Configuration and grants are changed by `tape connector grant`.",
    ),
    about(
        "TAPE-C042",
        "calls cannot be directed like that",
        "A share of the calls was to be given while no other version is active to keep the rest; or there is nothing to go back to; or nothing is active.",
        "Activate the version for all calls: tape connector activate NAME VERSION.",
    ),
    about(
        "TAPE-C043",
        "the version is in use",
        "It is active; or effects that it dispatched are not settled, and it is asked about them.",
        "Activate another version first, or wait until its effects are settled. With --force the active version is asked about them.",
    ),
    about(
        "TAPE-C044",
        "the connector has too many versions",
        "Of one connector 100 versions are kept.",
        "Remove those that nobody needs any more: tape connector list NAME --all, tape connector remove NAME VERSION.",
    ),
    about(
        "TAPE-C045",
        "the component did not arrive as it was sent",
        "Its bytes hash to another digest than the one that was named, stopped coming, or were collected while they were written.",
        "Put it again. If it stays so, the file was changed since its digest was taken.",
    ),
    about(
        "TAPE-C046",
        "the component is too large, or others are in the way",
        "A component has at most 64 MiB, and two are put at the same time at most, because each is in memory as a whole.",
        "Build it in release mode and without debug information; put it again when the others are done.",
    ),
    about(
        "TAPE-C047",
        "that cannot be the name of a version",
        "Versions are named by letters, digits and the characters . + - _, at most 64 bytes.",
        "Name it as semver does: 1.4.0, or 1.4.0-rc.1.",
    ),
    about(
        "TAPE-C048",
        "the signature cannot be read",
        "The component came with a signature that is not written as `tape connector sign` writes it.",
        "Send the file that `tape connector sign` made, unchanged; or put the component without it.",
    ),
    about(
        "TAPE-C060",
        "nobody who is trusted vouches for the component",
        "A signature is required and there is none by a configured key, or there is one that does not hold for these bytes, this name and this version.",
        "Sign the component (`tape connector sign`) with a key whose public part stands in tape.connectors.signing_keys. A signature that is forged or for other bytes: find out who changed the file before you sign anything.",
    ),
    about(
        "TAPE-C061",
        "a reference to a registry cannot be read",
        "Artifacts are named oci://HOST[:PORT]/NAME[:TAG][@sha256:DIGEST]; the host is always named.",
        "Correct the reference.",
    ),
    about(
        "TAPE-C062",
        "the registry could not be reached, or went away",
        "It does not listen, answered with an error of its own, broke off or went silent. Nothing was taken over.",
        "Try again. If it stays so, ask whoever runs the registry; a registry without TLS needs --plain-http.",
    ),
    about(
        "TAPE-C063",
        "the registry has no such artifact, or does not give it to you",
        "Name or tag do not exist there, or the registry asks for other credentials.",
        "Check name and tag; set TAPE_OCI_USER and TAPE_OCI_PASSWORD for a registry that asks who you are.",
    ),
    about(
        "TAPE-C064",
        "what the registry gave is not what was asked for",
        "Bytes that do not match their digest, more bytes than announced or allowed, or an artifact that is no WebAssembly component. It was not taken over.",
        "Do not use this registry until whoever runs it knows why. For an artifact of another kind: push a component with `tape connector push`.",
    ),
    about(
        "TAPE-D001",
        "a decision is recorded with other content",
        "A replay asked the model something else than the first time, or two drivers disagree: the replay has diverged.",
        "Use the recorded answer. Make what the model is asked depend on journalled values only: route time, randomness and reads through tape.sample or a tool.",
    ),
    about(
        "TAPE-E001",
        "there is no such effect",
        "The key is wrong, or belongs to another run.",
        "Copy the key from `tape doctor --dump-run RUN`.",
    ),
    about(
        "TAPE-E002",
        "the effect's state forbids that",
        "It was settled meanwhile, or somebody else works on it.",
        "Read it again. A settled effect keeps its outcome.",
    ),
    about(
        "TAPE-E003",
        "NON_IDEMPOTENT and INLINE do not go together",
        "If the process dies in the body, nobody can tell whether the upstream did it, and doing it again would do it twice.",
        "Use @tape.outbox_tool, or declare the tool idempotent if the upstream deduplicates by the key that it is given.",
    ),
    about(
        "TAPE-E004",
        "business_key requires connector",
        "A business key is what the upstream's books know the effect by; without a connector nobody can ask for it.",
        "Name the connector that can observe it.",
    ),
    about(
        "TAPE-E005",
        "an outbox effect needs a connector",
        "The outbox sends through a connector, and none was named.",
        "Name one, or make the call inline if it is idempotent.",
    ),
    about(
        "TAPE-E006",
        "nothing could ever settle doubt about this effect",
        "It is NON_IDEMPOTENT and has no business key, status check or compensation, nor a connector that can observe.",
        "Declare at least one of them. After a review, allow_unsafe takes it as it is, and the journal says so.",
    ),
    about(
        "TAPE-E007",
        "no connector of that name is loaded, and the server is strict",
        "tape.connectors does not have the name; the error names the nearest one.",
        "Correct the name, or add the connector to tape.yaml; name it under tape.connectors.in_workers if it lives in the agent's process; or set tape.connectors.strict: false if a dispatcher outside serves it.",
    ),
    about(
        "TAPE-E008",
        "the run was not granted that scope",
        "The tool needs a scope that was not among those with which the run was begun.",
        "Grant the scope when the run is begun, or do not call the tool.",
    ),
    about(
        "TAPE-E009",
        "a business key changed hands",
        "Another run held or took the reservation of this business key in the same moment.",
        "Repeat the very same request: it finds out who owns the key.",
    ),
    about(
        "TAPE-E010",
        "the outcome is the dispatcher's to record",
        "A driver tried to complete an effect that goes through the outbox.",
        "Wait for it instead: the SDK does that for outbox tools.",
    ),
    about(
        "TAPE-E011",
        "the claim on the effect is gone",
        "The attempt ran longer than its claim, and somebody else has the effect now; or it was settled.",
        "Stop, send nothing, record nothing. If it happens often, raise tape.reactors.outbox.lease_ttl_ms.",
    ),
    about(
        "TAPE-E012",
        "the effect was never claimed",
        "An attempt was recorded for an effect that no dispatcher had claimed.",
        "Claim it first, then dispatch, then record.",
    ),
    about(
        "TAPE-E013",
        "an answer about an effect in doubt came too late",
        "A reactor asked the upstream about an effect, and its claim ran out before it could record the answer. Somebody else asks by now.",
        "Nothing needs to be done: the newer answer counts. If it happens often, the upstream is slow: raise tape.reactors.reconciler.lease_ttl_ms.",
    ),
    about(
        "TAPE-E014",
        "the effect's business key is another effect's by now",
        "The effect failed, and so let go of its business key; another run has begun an effect under it since. Trying this one again could carry the same thing out twice.",
        "Look at the effect that the message names: what was wanted may have been done by it. If both are wanted, begin a new effect under a business key of its own.",
    ),
    about(
        "TAPE-J001",
        "that is no subject pattern",
        "It does not begin with a slash, has an empty segment or a control character, is longer than 1024 bytes, or has a star within a segment.",
        "Write it as in `/tape/effect/*/**`: `*` stands for one segment, `**` for any number, also none.",
    ),
    about(
        "TAPE-J002",
        "that is no predicate",
        "A predicate_cel is no CEL, is longer than 1024 bytes or too deep, has a loop within a loop, asks for a name or function that is not there, or gives something else than true or false.",
        "Write an expression over kind, subject, run_id, seq, ts_ms, decision_index, app, tenant and payload, such as `kind == 'effect.failed' && payload.tool == 'wire_money'`.",
    ),
    about(
        "TAPE-K001",
        "the value is not the one that the write asks for",
        "A write with if_version found another version in force: somebody else wrote or deleted the key first, or it exists already.",
        "Read the value again and decide on what it says now. A negative if_version writes over anything.",
    ),
    about(
        "TAPE-K002",
        "the watcher fell behind",
        "It asked for a version that is not kept any more: of each key the newest 1,000 versions are.",
        "Watch again from the version that the error names, or from 0 for the value in force. What lies between is gone.",
    ),
    about(
        "TAPE-N001",
        "the server's configuration is wrong",
        "A flag, the project's file or a secret's variable says something that cannot be; the error names it.",
        "Correct what it names.",
    ),
    about(
        "TAPE-N002",
        "the store cannot be opened",
        "The file or database is not there, not writable, in use, or from a newer version.",
        "Check the store's URL, its folder's permissions and that no other server uses the file.",
    ),
    about(
        "TAPE-N003",
        "the address is taken",
        "Another process listens there, most often another tape-server.",
        "Stop it, or choose another address by the flag that the error names.",
    ),
    about(
        "TAPE-N004",
        "the server stopped serving",
        "A listener failed while it ran.",
        "Start it again: nothing that was acknowledged is lost. The log has the reason.",
    ),
    about(
        "TAPE-O001",
        "there is no such obligation",
        "The number is wrong, or belongs to another run.",
        "`tape doctor --dump-run RUN` lists them.",
    ),
    about(
        "TAPE-O002",
        "the obligation's state forbids that",
        "It was settled meanwhile, or is being worked on.",
        "Read it again. Only one that is STUCK, or that nobody works on, is settled by hand.",
    ),
    about(
        "TAPE-O003",
        "somebody else works on the obligation",
        "The claim ran out and another compensator has it.",
        "Stop: record nothing.",
    ),
    about(
        "TAPE-P001",
        "the request has no credentials",
        "The server asks every caller for a bearer token, and this request came without one. Tokens are sent by tapes://, and by tape:// to this machine only.",
        "Set TAPE_TOKEN to the token that the server's operator gave you, and reach the server by tapes://.",
    ),
    about(
        "TAPE-P002",
        "the credentials are not valid here",
        "The token is not among those of the server's --auth-tokens: mistyped, taken back, or for another server.",
        "Ask the server's operator for a token; a server reads its file of tokens when it starts.",
    ),
    about(
        "TAPE-P003",
        "the caller's role does not allow that",
        "Readers look, drivers run agents, operators settle by hand and deploy. The caller's token has a role below what the operation needs.",
        "Use credentials with the role that the error names.",
    ),
    about(
        "TAPE-P004",
        "the request names another tenant",
        "The tenant follows from the caller's credentials, or the server has one of its own, and the request names a different one.",
        "Leave the tenant empty, or use credentials of that tenant.",
    ),
    about(
        "TAPE-P005",
        "somebody else has that worker id",
        "A worker of another tenant is attached under the same worker_id.",
        "Choose a worker_id that nobody else has; SDK workers make one up.",
    ),
    about(
        "TAPE-P006",
        "that works for all tenants",
        "Reactors in processes of their own look for the work of all tenants, and the caller's token belongs to one.",
        "Give them a token with the role operator and tenant: \"*\".",
    ),
    about(
        "TAPE-Q001",
        "there is no such reaction",
        "The reaction_id was never registered here, or belongs to another tenant.",
        "Register it first; `tape tasks` lists the reactions that are there.",
    ),
    about(
        "TAPE-Q002",
        "there is no such task",
        "The task_id is none that ClaimTasks or ListTasks returned, or the task was done more than seven days ago and is forgotten.",
        "Use an id as it was returned; `tape tasks --reaction ID` lists them.",
    ),
    about(
        "TAPE-Q003",
        "somebody else has the task",
        "CompleteTask or NackTask came from an owner who does not hold the task: its lease ran out, and another one took it, did it, or gave it up.",
        "Drop what was done for it, or make sure that it can be done twice. Ask for a longer lease_ms if the work takes longer than a minute.",
    ),
    about(
        "TAPE-Q004",
        "the task's status forbids that",
        "A task can be retried only while it waits or is in the dead-letter queue: this one is claimed, or done.",
        "Look at it with `tape tasks --reaction ID`.",
    ),
    about(
        "TAPE-R001",
        "there is no such run",
        "The id is wrong, or the server keeps another store.",
        "`tape status --all` lists the runs.",
    ),
    about(
        "TAPE-R002",
        "a newer driver owns the run",
        "This process lost the lease: it was away longer than the lease lasts, or its stream broke, and another one took the run over under a higher fence.",
        "Stop driving the run; nothing that was recorded is lost. Call tape.heartbeat in long tool bodies, or take a longer lease.",
    ),
    about(
        "TAPE-R003",
        "the run's state forbids that",
        "It has ended, or the move is not one that a run can make.",
        "Begin another run; `tape redrive` reopens one that is FAILED or STUCK, and nothing else does.",
    ),
    about(
        "TAPE-R004",
        "the run was cancelled",
        "Somebody cancelled it; its driver is refused at its next write.",
        "Stop. Nothing was undone: `tape compensate RUN` does that where it is wanted.",
    ),
    about(
        "TAPE-R005",
        "another driver holds the run's lease",
        "The lease is a lock, and it has not run out.",
        "Wait until it ends, or let its holder finish. A worker whose stream breaks gives its leases up at once.",
    ),
    about(
        "TAPE-R006",
        "the lease that was to be renewed is gone",
        "A renewal named a fence that is not in force any more.",
        "Stop, or take the run over anew by ResumeRun without a fence.",
    ),
    about(
        "TAPE-R007",
        "the run has not ended",
        "Its payloads are still needed: it is driven, waits, or is being compensated.",
        "Compact it after it has ended; ListCompactableRuns names the runs that can be.",
    ),
    about(
        "TAPE-S001",
        "there is no such session",
        "It was never created, or it was deleted.",
        "Create it first; the SDK's runner does.",
    ),
    about(
        "TAPE-T001",
        "there is no such timer",
        "The id is wrong, or the timer was never set for that run.",
        "`tape doctor --dump-run RUN` lists a run's timers.",
    ),
    about(
        "TAPE-V001",
        "a field of the request is wrong",
        "It is missing, malformed, or contradicts another one; the error names field and value.",
        "Correct the field and send the request again. Nothing was written.",
    ),
    about(
        "TAPE-V002",
        "a field that must be JSON is not",
        "The text does not parse as JSON.",
        "Send a JSON value as text: an object, or a text in quotes.",
    ),
    about(
        "TAPE-V003",
        "something is too large",
        "A payload is over 4 MiB, a name or key over 512 bytes, or there are too many labels. Nothing is ever cut off.",
        "Keep the large part elsewhere and send a reference to it; use a hash as the key.",
    ),
    about(
        "TAPE-V010",
        "tape.yaml says something that cannot be",
        "A key is unknown or missing, a value has the wrong form, or a variable is not set; the error names key, value and cure.",
        "Correct the key. An unknown one is most often a slip: the error names the nearest one that is known.",
    ),
    about(
        "TAPE-W001",
        "no worker of the app is attached",
        "A reactor in a process of its own asked this server to reach an app, and no process of that app is attached to this server.",
        "Start the agent (`tape dev`, or `python -m tape.worker`), and let it attach to this server.",
    ),
    about(
        "TAPE-W002",
        "a worker was asked and did not answer",
        "The app's process died, its stream broke, or its function took longer than the call may. It may have done what it was asked.",
        "Nothing needs to be done for runs and timers: they come again. A compensation is observed before it is repeated.",
    ),
    about(
        "TAPE-W003",
        "a worker refused a call",
        "The app's process cannot or will not do what it was asked; its own words are in the message.",
        "Correct what the message names, for example a function that the app does not list.",
    ),
];

/// What a code means; also without its prefix and in lower case (`r002`).
#[must_use]
pub fn find(code: &str) -> Option<&'static Explanation> {
    let wanted = code.trim().to_uppercase();
    let wanted = wanted.strip_prefix("TAPE-").unwrap_or(&wanted);
    ALL.iter().find(|one| one.code.strip_prefix("TAPE-") == Some(wanted))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn codes_are_sorted_and_found_in_any_form() {
        assert!(ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
        for form in ["TAPE-R002", "tape-r002", "R002", " r002 "] {
            assert_eq!(find(form).unwrap().code, "TAPE-R002");
        }
        assert!(find("TAPE-Z999").is_none());
    }

    #[test]
    fn every_code_that_is_used_anywhere_is_explained() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut used = BTreeSet::new();
        for folder in ["server", "host", "sdk/python/src"] {
            codes_under(&top.join(folder), &mut used);
        }
        let known: BTreeSet<String> = ALL.iter().map(|one| one.code.to_owned()).collect();
        let missing: Vec<_> = used.difference(&known).filter(|code| *code != "TAPE-Z999").collect();
        assert!(used.len() > 30 && missing.is_empty(), "not explained: {missing:?}");
        let unused: Vec<_> = known.difference(&used).collect();
        assert!(unused.is_empty(), "explained, but used nowhere: {unused:?}");
    }

    fn codes_under(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !["target", "node_modules", "v1"].contains(&name.as_str()) {
                codes_under(&path, found);
            } else if name.ends_with(".rs") && !path.ends_with("explain.rs") || name.ends_with(".py") {
                let text = fs::read_to_string(&path).unwrap();
                found.extend(text.split("TAPE-").skip(1).filter_map(code));
            }
        }
    }

    /// The code at the beginning of what follows `TAPE-`.
    fn code(rest: &str) -> Option<String> {
        let four = rest.get(..4)?;
        let (letter, number) = four.split_at(1);
        let sound =
            letter.bytes().all(|byte| byte.is_ascii_uppercase()) && number.bytes().all(|byte| byte.is_ascii_digit());
        sound.then(|| format!("TAPE-{four}"))
    }
}
