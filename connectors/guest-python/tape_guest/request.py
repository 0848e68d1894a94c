"""Requests, and the honest reading of what came back: took hold, did not, or nobody knows.

A status of the 5xx kind, an answer that makes no sense, and a connection that broke are doubt, not failure: the upstream may have done it before it
stumbled.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlencode

from componentize_py_types import Err
from wit_world.exports.connector import FailureKind
from wit_world.imports import http

from .shape import Malformed, read
from .verdict import Doubtful, Refused, refuse

T = TypeVar("T")


@dataclass
class Request:
    """A request that is being put together. Nothing leaves before `change`, `remove`, `look`, `find` or `send`."""

    method: str
    """In upper case. GET, HEAD and OPTIONS must not change anything upstream."""
    url: str
    query: dict[str, str] = field(default_factory=dict[str, str])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """Values may hold `{{secret:NAME}}`."""
    json: Any = None
    form: dict[str, str] | None = None
    timeout_ms: int | None = None

    def change(self, done: type[T] | Callable[[Any], T]) -> T:
        """Sends a request that is to change something. `done` is the dataclass that a 2xx answer holds at least, or makes sense of its JSON.

        Raises Refused (it did not take hold) or Doubtful (it may have)."""
        return _understood(_accepted(self.send()), done)

    def remove(self) -> bool:
        """Sends a request that takes something away: True if it did, False if the upstream says 404, so that there was nothing. Raises as `change`."""
        response = self.send()
        if response.status == 404:
            return False
        _accepted(response)
        return True

    def look(self, found: type[T] | Callable[[Any], T]) -> T:
        """Sends a request that only looks. Raises Doubtful for whatever `found` does not understand."""
        return _understood(_answered(self._ask()), found)

    def find(self, found: type[T] | Callable[[Any], T]) -> T | None:
        """Looks for one thing by its id: None if the upstream says 404."""
        response = self._ask()
        return None if response.status == 404 else _understood(_answered(response), found)

    def send(self) -> http.Response:
        """Waits for the whole answer, whatever its status. Raises Refused or Doubtful where there is none."""
        headers, body = list(self.headers.items()), None
        if self.json is not None:
            headers.append(("content-type", "application/json"))
            body = json.dumps(self.json, ensure_ascii=False).encode()
        elif self.form is not None:
            headers.append(("content-type", "application/x-www-form-urlencoded"))
            body = urlencode(self.form, quote_via=quote).encode()
        url = f"{self.url}?{urlencode(self.query, quote_via=quote, safe='')}" if self.query else self.url
        try:
            return http.send(http.Request(method=self.method, url=url, headers=headers, body=body, timeout_ms=self.timeout_ms))
        except Err as error:  # pyright: ignore[reportUnknownVariableType] (the bindings leave its type open)
            reason = cast(http.Error, error.value)  # pyright: ignore[reportUnknownMemberType]
            if isinstance(reason, http.Error_Denied):
                raise refuse(FailureKind.UNAUTHORIZED, "denied", reason.value) from error
            if isinstance(reason, http.Error_NotSent):
                raise refuse(FailureKind.UNAVAILABLE, "not-sent", reason.value, retryable=True) from error
            raise Doubtful(reason.value) from error

    def _ask(self) -> http.Response:
        """A question that was not answered is doubt, whatever the reason."""
        try:
            return self.send()
        except Refused as refused:
            raise Doubtful(str(refused)) from refused


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="-._~")


def summary(response: http.Response) -> str:
    """For people: the status, and how the body begins."""
    return f"the upstream said {response.status}: {response.body.decode(errors='replace')[:200]}"


def code(response: http.Response) -> str:
    """`{"error": {"code": "..."}}`, `{"error": "..."}` or `{"code": "..."}`, where the upstream is kind enough; else its status."""
    try:
        body = json.loads(response.body)
    except ValueError:
        body = None
    if isinstance(body, dict):
        body = cast(dict[str, Any], body)
        error = body.get("error")
        inner: object = cast(dict[str, Any], error).get("code") if isinstance(error, dict) else error
        for one in (inner, body.get("code")):
            if isinstance(one, str) and re.fullmatch(r"[\w.:-]{1,64}", one, re.ASCII):
                return one
    return f"http-{response.status}"


def _accepted(response: http.Response) -> http.Response:
    """The answer to a request that was to change something, if it is a success. Raises the failure or the doubt that it is otherwise."""
    status = response.status
    if 200 <= status <= 299:
        return response
    if status in (401, 403):
        raise refuse(FailureKind.UNAUTHORIZED, code(response), summary(response))
    if status == 429:
        after = _retry_after_ms(response)
        raise refuse(FailureKind.RATE_LIMITED, code(response), summary(response), retryable=True, retry_after_ms=after)
    if 300 <= status <= 399:
        raise refuse(FailureKind.INVALID, code(response), summary(response))
    # 408 and 425: the upstream stopped waiting for the request, or never began.
    if 400 <= status <= 499 and status not in (408, 425):
        raise refuse(FailureKind.REJECTED, code(response), summary(response))
    raise Doubtful(summary(response))


def _answered(response: http.Response) -> http.Response:
    if 200 <= response.status <= 299:
        return response
    raise Doubtful(summary(response))


def _understood(response: http.Response, reader: type[T] | Callable[[Any], T]) -> T:
    try:
        if isinstance(reader, type):
            return read(cast(type[T], reader), response.body, is_open=True)
        return reader(json.loads(response.body) if response.body or response.status != 204 else None)
    except (Malformed, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        words = str(error) if isinstance(error, Malformed) else repr(error)
        raise Doubtful(f"the upstream said {response.status}, but its answer makes no sense: {words}") from error


def _retry_after_ms(response: http.Response) -> int | None:
    """The header's form in seconds; the form with a date is left to Tape's own backoff."""
    for name, value in response.headers:
        if name == "retry-after" and re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII):
            return int(value) * 1000
    return None
