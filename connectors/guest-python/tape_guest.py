"""For authors of connectors in Python: requests, and the honest reading of answers.

A connector is `class Connector(wit_world.exports.Connector)` in `app.py`. Everything that it needs is imported at the top of a module: there are
no files to import from later. Nothing is remembered from one call to the next, and there are no sockets: `send` is the only way out.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from componentize_py_types import Err
from wit_world.exports.connector import (
    DispatchAnswer_Confirmed,
    DispatchAnswer_Failed,
    DispatchAnswer_Unknown,
    Doubt,
    Effect,
    Failure,
    FailureKind,
    Receipt,
)
from wit_world.imports import config as host_config
from wit_world.imports import http


class Refused(Exception):
    """A definite no: the effect did not take hold."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Doubtful(Exception):
    """Nobody knows whether it took hold."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.doubt = Doubt(reason=reason, sent="", hint="")


def refuse(kind: FailureKind, code: str, message: str, *, retryable: bool = False, retry_after_ms: int | None = None) -> Refused:
    """The exception that says so; raise it."""
    return Refused(Failure(kind=kind, code=code, message=message, retryable=retryable, retry_after_ms=retry_after_ms))


def config() -> dict[str, Any]:
    """The deployment's configuration."""
    return json.loads(host_config.get())


def payload(text: str, *required: str) -> dict[str, Any]:
    """An effect's or obligation's payload, which has these keys.

    Raises Refused, of kind `invalid`, with the key that is missing."""
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise refuse(FailureKind.INVALID, "bad-payload", f"the payload is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise refuse(FailureKind.INVALID, "bad-payload", "the payload is no object")
    for key in required:
        if key not in fields:
            raise refuse(FailureKind.INVALID, "bad-payload", f"the payload: `{key}` is missing")
    return fields


def need_operation(effect: Effect, *known: str) -> None:
    """Raises Refused unless the effect is one of these operations."""
    if effect.operation not in known:
        raise refuse(FailureKind.INVALID, "unknown-operation", f"there is no operation `{effect.operation}`, only {', '.join(known)}")


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="-._~")


@dataclass
class Request:
    """A request that is being put together. Nothing leaves before `change` or `look`."""

    method: str
    url: str
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    """Values may hold `{{secret:NAME}}`."""
    json: Any = None
    timeout_ms: int | None = None

    def change[T](self, done: Callable[[Any], T]) -> T:
        """Sends a request that is to change something. `done` makes sense of a 2xx answer in JSON.

        Raises Refused (it did not take hold) or Doubtful (it may have)."""
        response = self._send()
        status = response.status
        if 200 <= status <= 299:
            return _understood(response, done)
        if status in (401, 403):
            raise refuse(FailureKind.UNAUTHORIZED, _code(response), _summary(response))
        if status == 429:
            raise refuse(
                FailureKind.RATE_LIMITED, _code(response), _summary(response), retryable=True, retry_after_ms=_retry_after_ms(response)
            )
        if 300 <= status <= 399:
            raise refuse(FailureKind.INVALID, _code(response), _summary(response))
        # 408 and 425: the upstream stopped waiting for the request, or never began.
        if 400 <= status <= 499 and status not in (408, 425):
            raise refuse(FailureKind.REJECTED, _code(response), _summary(response))
        raise Doubtful(_summary(response))

    def look[T](self, found: Callable[[Any], T]) -> T:
        """Sends a request that only looks. Raises Doubtful for whatever `found` does not understand."""
        try:
            response = self._send()
        except Refused as refused:
            raise Doubtful(refused.failure.message) from refused
        if 200 <= response.status <= 299:
            return _understood(response, found)
        raise Doubtful(_summary(response))

    def _send(self) -> http.Response:
        headers = list(self.headers.items())
        body = None
        if self.json is not None:
            headers.append(("content-type", "application/json"))
            body = json.dumps(self.json, ensure_ascii=False).encode()
        url = f"{self.url}?{urlencode(self.query, quote_via=quote)}" if self.query else self.url
        try:
            return http.send(http.Request(method=self.method, url=url, headers=headers, body=body, timeout_ms=self.timeout_ms))
        except Err as error:
            reason = error.value
            if isinstance(reason, http.Error_Denied):
                raise refuse(FailureKind.UNAUTHORIZED, "denied", reason.value) from error
            if isinstance(reason, http.Error_NotSent):
                raise refuse(FailureKind.UNAVAILABLE, "not-sent", reason.value, retryable=True) from error
            raise Doubtful(reason.value) from error


def dispatched(do: Callable[[], Receipt]) -> DispatchAnswer_Confirmed | DispatchAnswer_Failed | DispatchAnswer_Unknown:
    """What `do` came to, as dispatch answers it."""
    try:
        return DispatchAnswer_Confirmed(do())
    except Refused as refused:
        return DispatchAnswer_Failed(refused.failure)
    except Doubtful as doubtful:
        return DispatchAnswer_Unknown(doubtful.doubt)


def _understood[T](response: http.Response, done: Callable[[Any], T]) -> T:
    try:
        return done(json.loads(response.body) if response.body or response.status != 204 else None)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise Doubtful(f"the upstream said {response.status}, but its answer makes no sense: {error!r}") from error


def _summary(response: http.Response) -> str:
    return f"the upstream said {response.status}: {response.body.decode(errors='replace')[:200]}"


def _code(response: http.Response) -> str:
    """`{"error": {"code": "..."}}` or `{"code": "..."}`, where the upstream is kind enough."""
    try:
        body = json.loads(response.body)
        error = body.get("error", body)
        code = error.get("code", body.get("code"))
    except (ValueError, AttributeError):
        code = None
    return code if isinstance(code, str) else f"http-{response.status}"


def _retry_after_ms(response: http.Response) -> int | None:
    for name, value in response.headers:
        if name == "retry-after" and value.strip().isdigit():
            return int(value) * 1000
    return None
