"""How one call is made: deadline, repetition while the server is away, errors as exceptions."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from tape._tracing import call_span
from tape.errors import Exhausted, from_rpc

M = TypeVar("M", bound=Message)

# Calls without a natural key: told apart by a request id, which must be the same on every repetition.
_NEED_REQUEST_ID = frozenset(
    {
        "ChargeBudget",
        "AppendEvent",
        "SendSignal",
        "RecordDispatchAttempt",
        "RecordObligationAttempt",
        "WriteValue",
        "DeleteValue",
    }
)
_BACKOFF_FIRST_S = 0.02
_BACKOFF_MAX_S = 2.0
_REPEATABLE = (grpc.StatusCode.UNAVAILABLE,)


def backoff_s(attempt: int, first_s: float = _BACKOFF_FIRST_S, max_s: float = _BACKOFF_MAX_S) -> float:
    """Exponential with full jitter: anything between nothing and the doubled bound."""
    return random.uniform(0, min(max_s, first_s * 2 ** min(attempt, 16)))


class UnaryCaller:
    """What the generated methods call. Knows a channel and a patience."""

    def __init__(self, channel: grpc.aio.Channel, *, patience_s: float, metadata: tuple[tuple[str, str], ...]) -> None:
        self._channel = channel
        self._patience_s = patience_s
        self._metadata = metadata

    async def _unary(self, method: str, request: Message, answer: type[M], timeout_s: float | None) -> M:
        """Make one call; repeat it while the server is UNAVAILABLE, until `timeout_s` (or the client's patience)."""
        name = method.rpartition("/")[2]
        if name in _NEED_REQUEST_ID and not getattr(request, "request_id", "-"):
            setattr(request, "request_id", str(uuid.uuid4()))  # noqa: B010 - no such attribute on a bare Message
        call: Any = self._channel.unary_unary(
            method, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        deadline = time.monotonic() + (self._patience_s if timeout_s is None else timeout_s)
        with call_span(name, request) as context:
            return await self._repeat(call, request, method, deadline, (*self._metadata, *context))

    async def _repeat(
        self, call: Any, request: Message, method: str, deadline: float, metadata: tuple[tuple[str, str], ...]
    ) -> Any:
        attempt = 0
        while True:
            left = deadline - time.monotonic()
            try:
                return await call(request, timeout=max(left, 0.001), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                pause = backoff_s(attempt)
                refusal = from_rpc(error, method)
                busy = isinstance(refusal, Exhausted) and refusal.retryable
                if not (busy or error.code() in _REPEATABLE) or time.monotonic() + pause >= deadline:
                    raise refusal from error
                attempt += 1
                await asyncio.sleep(pause)

    async def _stream(self, method: str, request: Message, answer: type[M], timeout_s: float | None) -> AsyncIterator[M]:
        """Open a stream from the server. It is not reopened: the caller knows from where."""
        call: Any = self._channel.unary_stream(
            method, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        stream = call(request, timeout=timeout_s, metadata=self._metadata)
        try:
            async for message in stream:
                yield message
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, method) from error
        finally:
            stream.cancel()
