"""The journal of all runs, to whoever wants it: handlers in this process, or a publisher elsewhere.

Both read the same feed, from a cursor that is kept in the reactive KV, so that a restart goes on where the last one was.
Delivery is at least once: the cursor moves after the handler, or the sink, has taken the entry. A sink is given an id
that is the same on every delivery of an entry, by which the receiving side can drop repetitions.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tape._calls import backoff_s
from tape.client import TapeClient
from tape.decisions import to_json
from tape.errors import InvalidRequest, NotGranted, TapeError, Unimplemented
from tape.ops import shared_client
from tape.v1 import tape_pb2 as pb

_log = logging.getLogger("tape.events")
_CURSORS = "tape.cursors"


@dataclass(frozen=True)
class RunEvent:
    """One journal entry. `dedup_id` names it for good; `cursor` is where a reader goes on after it."""

    run_id: str
    seq: int
    kind: str
    subject: str
    payload: Any
    ts_ms: int
    cursor: int

    @property
    def dedup_id(self) -> str:
        """`<run_id>/<seq>`: the same on every delivery."""
        return f"{self.run_id}/{self.seq}"


Handler = Callable[[RunEvent], Awaitable[None] | None]


class Sink(Protocol):
    """Where a relay publishes. `publish` returns once the other side has taken the event for good."""

    async def publish(self, event: RunEvent) -> None:
        """Publish one event; `event.dedup_id` lets the receiver drop repetitions. Raise, and it comes again."""
        ...


class FileSink:
    """A file of JSON lines: for a look, or for a shipper that reads files."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    async def publish(self, event: RunEvent) -> None:
        """Append the event."""
        line = to_json({"id": event.dedup_id, "kind": event.kind, "subject": event.subject, "payload": event.payload})
        await asyncio.to_thread(self._append, line)

    def _append(self, line: str) -> None:
        with self._path.open("a") as file:
            file.write(line + "\n")


class PubSubSink:
    """A Google Pub/Sub topic. Needs google-cloud-pubsub; the dedup id travels as the attribute `tape-id`."""

    def __init__(self, topic: str, publisher: Any = None) -> None:
        if publisher is None:
            from google.cloud import pubsub_v1  # pyright: ignore[reportAttributeAccessIssue]

            publisher = pubsub_v1.PublisherClient()
        self._topic = topic
        self._publisher: Any = publisher

    async def publish(self, event: RunEvent) -> None:
        """Publish, and wait until Pub/Sub has the message."""
        data = to_json(event.payload).encode()
        attributes = {"tape-id": event.dedup_id, "kind": event.kind, "subject": event.subject}
        future = self._publisher.publish(self._topic, data, **attributes)
        await asyncio.to_thread(future.result)


async def run_event_fanout(
    handlers: list[Handler] | Handler,
    *,
    name: str,
    subject: str = "",
    kind: str = "",
    from_start: bool = False,
    client: TapeClient | None = None,
) -> None:
    """Give every entry to every handler, one entry after the other, until cancelled.

    `name` names the cursor. Without one that is kept, reading begins now, or at the first entry with `from_start`.
    A handler that raises is given the same entry again, after a pause; the others wait. Raises what no repetition
    could mend: Unimplemented, NotGranted, InvalidRequest.
    """
    all_of = handlers if isinstance(handlers, list) else [handlers]

    async def deliver(event: RunEvent) -> None:
        for handler in all_of:
            result = handler(event)
            if inspect.isawaitable(result):
                await result

    await _read(deliver, name, subject, kind, from_start, client or shared_client())


async def run_outbox_relay(
    sink: Sink,
    *,
    name: str,
    subject: str = "",
    kind: str = "",
    from_start: bool = True,
    client: TapeClient | None = None,
) -> None:
    """Publish every entry to `sink`, in order, until cancelled: at least once, and once for whoever drops repetitions."""
    await _read(sink.publish, name, subject, kind, from_start, client or shared_client())


async def _read(
    deliver: Callable[[RunEvent], Awaitable[None]],
    name: str,
    subject: str,
    kind: str,
    from_start: bool,
    client: TapeClient,
) -> None:
    kept = await client.get_value(namespace=_CURSORS, key=name)
    cursor = int(json.loads(kept.value.value_json)) if kept.found and not kept.value.deleted else 0
    attempt = 0
    while True:
        try:
            async for event in _events(client, cursor, subject, kind, from_now=not cursor and not from_start):
                await deliver(event)
                cursor, attempt = event.cursor, 0
                await client.write_value(namespace=_CURSORS, key=name, value_json=str(cursor), if_version=-1)
        except (Unimplemented, NotGranted, InvalidRequest):
            raise
        except TapeError as error:
            _log.info("the feed for %s broke: %s", name, error)
        except Exception:
            _log.exception("an entry for %s was not taken; it comes again", name)
        await asyncio.sleep(backoff_s(attempt, 0.1, 10.0))
        attempt += 1


async def _events(client: TapeClient, cursor: int, subject: str, kind: str, *, from_now: bool) -> AsyncIterator[RunEvent]:
    feed = client.subscribe_events(
        from_ts_ms=int(time.time() * 1000) if from_now else 0,
        from_global_seq=cursor + 1 if cursor else 0,
        subject_pattern=subject,
        kind=kind,
    )
    async for entry in feed:
        yield _event(entry)


def _event(entry: pb.EventEntry) -> RunEvent:
    return RunEvent(
        run_id=entry.run_id,
        seq=entry.seq,
        kind=entry.kind,
        subject=entry.subject,
        payload=json.loads(entry.payload_json) if entry.payload_json else None,
        ts_ms=entry.ts_ms,
        cursor=entry.global_seq,
    )
