"""A client of `tape.v1` that knows the contract's text and nothing else: one method per RPC, fields as keywords."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import contract_pb2 as contract
import grpc
from google.rpc import error_details_pb2, status_pb2

pb: Any = contract
SERVICE = contract.DESCRIPTOR.services_by_name["Tape"]
PATIENCE_S = 30.0

# Every code that a refusal of this session named, for the test that asks `tape explain` about each.
codes_seen: set[str] = set()


class Tape:
    """`tape.BeginRun(app_name="a")`: the answer, or `grpc.RpcError`. Streams come as grpc's own iterators."""

    def __init__(self, target: str, *, options: tuple[tuple[str, int], ...] = ()) -> None:
        self.target = target
        # A payload may be as large as all that a client takes by default, and comes back with an envelope.
        self.channel = grpc.insecure_channel(target, options=(("grpc.max_receive_message_length", -1), *options))

    def __getattr__(self, rpc: str) -> Callable[..., Any]:
        if rpc not in SERVICE.methods_by_name:
            raise AttributeError(f"the contract has no RPC {rpc}")

        def call(*, request_id: str = "", patience_s: float = PATIENCE_S, **fields: Any) -> Any:
            metadata = (("tape-request-id", request_id),) if request_id else ()
            request = getattr(contract, SERVICE.methods_by_name[rpc].input_type.name)(**fields)
            return self.stub(rpc)(request, metadata=metadata, timeout=patience_s)

        return call

    def stub(self, rpc: str) -> Any:
        """How grpc calls one RPC, with the request as a message."""
        method = SERVICE.methods_by_name[rpc]
        answer: Any = getattr(contract, method.output_type.name)
        make: Any = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        return make(
            f"/{SERVICE.full_name}/{rpc}",
            request_serializer=encoded,
            response_deserializer=answer.FromString,
        )

    def raw(self, rpc: str, body: bytes) -> bytes:
        """The same with bytes that no library of messages would send."""
        make: Any = self.channel.unary_unary
        answer: bytes = make(f"/{SERVICE.full_name}/{rpc}")(body, timeout=PATIENCE_S)
        return answer

    def begin(self, **fields: Any) -> str:
        """A run of its own, and its id."""
        return self.BeginRun(**identity(**fields)).run_id

    def close(self) -> None:
        self.channel.close()


def identity(**fields: Any) -> dict[str, Any]:
    """Who a new run is, unless the fields say otherwise."""
    return {
        "app_name": "bank",
        "user_id": "ann",
        "session_id": "s-1",
        "invocation_id": fresh("i"),
        "lease_owner": "worker-1",
        **fields,
    }


def fresh(prefix: str = "x") -> str:
    """A name that no other test has."""
    return f"{prefix}-{uuid.uuid4().hex}"


def encoded(message: Any) -> bytes:
    """A message as it goes over the wire."""
    return message.SerializeToString()


@dataclass(frozen=True)
class Refusal:
    """What the server said no with."""

    status: grpc.StatusCode
    code: str
    text: str
    metadata: dict[str, str]


def refused(status: grpc.StatusCode, words: str, call: Callable[..., Any], /, **fields: Any) -> Refusal:
    """Call, and see that it is refused in this way, with all of these words (case does not matter), and with a code."""
    try:
        answer: Any = call(**fields)
        if hasattr(answer, "__next__"):
            answer = list(answer)  # a stream tells on the way
    except grpc.RpcError as error:
        refusal = read(error)
    else:
        raise AssertionError(f"it was answered, and not refused: {answer}")
    assert refusal.status == status, refusal
    for word in words.split():
        assert word.lower() in refusal.text.lower(), (word, refusal)
    assert re.fullmatch(r"TAPE-[A-Z]\d{3}", refusal.code), refusal
    # Whether a repetition can help is for programs, so it is no guess from the text.
    assert refusal.metadata.get("retryable") in ("true", "false"), refusal
    codes_seen.add(refusal.code)
    return refusal


def read(error: Any) -> Refusal:
    """Status, text and the details of google.rpc.Status that come with them."""
    code, metadata = "", dict[str, str]()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    code, metadata = info.reason, dict(info.metadata)
    return Refusal(error.code(), code, error.details() or "", metadata)


class Reader:
    """Reads a stream in a thread of its own, so that a test can wait for what it wants to see."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.seen: list[Any] = []
        self.error: Refusal | None = None
        self.ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for one in self.stream:
                with self._changed:
                    self.seen.append(one)
                    self._changed.notify_all()
        except grpc.RpcError as error:
            self.error = read(error)
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def until(self, wanted: Callable[[list[Any]], Any], patience_s: float = PATIENCE_S) -> Any:
        """Wait until what was seen satisfies, and return what it came to."""
        with self._changed:
            self._changed.wait_for(lambda: wanted(self.seen) or self.ended, patience_s)
            value = wanted(self.seen)
            assert value, (self.seen, self.error, self.ended)
            return value

    def end(self, patience_s: float = PATIENCE_S) -> list[Any]:
        """Wait for the server to end the stream."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.ended, patience_s), f"still open after {self.seen}"
        return self.seen

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.cancel()
        self._thread.join(PATIENCE_S)


def until(wanted: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + patience_s
    while not (value := wanted()):
        assert time.monotonic() < deadline, f"in {patience_s} s it did not come to pass"
        time.sleep(0.005)
    return value
