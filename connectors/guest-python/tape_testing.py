"""For tests of a connector without a component: an upstream in a few lines, effects to dispatch, and what was sent.

Import it before anything else, in `tests/__init__.py`: it makes the contract's bindings, which componentize-py puts into a component, importable here.

    with Upstream({"base_url": "http://api"}, lambda asked: reply(201, {"id": "i-1"})) as api:
        answer = Connector().dispatch(effect("create", {"title": "a"}))
    assert api.requests[0].json["title"] == "a"

It shows what the connector makes of answers. What it makes of real connections that break is for `tape connector test` to show.
"""

import hashlib
import importlib.util
import json as _json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeAlias
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

_CONTRACT = "tape-connector@1.0.0"


def _bindings() -> Path:
    """A folder with them, made once for each contract and each version of the tool."""
    here = Path(__file__).resolve()
    places = [parent / "wit" / _CONTRACT for parent in here.parents]
    wit = next((place for place in places if place.is_dir()), None)
    if wit is None:
        raise RuntimeError(f"wit/{_CONTRACT} is not above {here}: keep the folder vendor/ as `tape connector new` made it")
    beside = shutil.which("componentize-py", path=str(Path(sys.executable).parent)) or shutil.which("componentize-py")
    if beside is None:
        raise RuntimeError("`componentize-py` is not there, and it makes the contract's bindings. Cure: pip install componentize-py==0.25.1")
    contract = "".join(file.read_text() for file in sorted(wit.glob("*.wit")))
    version = subprocess.run([beside, "--version"], check=True, capture_output=True, text=True).stdout
    made = Path(tempfile.gettempdir()) / f"tape-bindings-{os.getuid()}-{hashlib.sha256((contract + version).encode()).hexdigest()[:16]}"
    if not made.is_dir():
        new = Path(tempfile.mkdtemp(prefix="tape-bindings-"))
        subprocess.run([beside, "--quiet", "--wit-path", wit, "--world", "guest", "bindings", new / "all"], check=True)
        try:
            (new / "all").rename(made)
        except OSError:
            if not made.is_dir():  # Another test made them meanwhile.
                raise
        shutil.rmtree(new, ignore_errors=True)
    return made


if importlib.util.find_spec("wit_world") is None:
    sys.path.append(str(_bindings()))

from componentize_py_types import Err  # noqa: E402
from wit_world.exports.connector import Effect, Obligation, Receipt  # noqa: E402
from wit_world.imports import http  # noqa: E402
from wit_world.imports.log import Level  # noqa: E402


@dataclass
class Asked:
    """A request as the upstream saw it. Secrets are still names: a connector never has their values."""

    method: str
    url: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def path(self) -> str:
        """Below the origin, without the query."""
        return urlsplit(self.url).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.url).query))

    @property
    def json(self) -> Any:
        return _json.loads(self.body)


Told: TypeAlias = http.Response | http.Error


@dataclass
class Upstream:
    """Stands in for the host within a `with`. Without `answer` nothing is let out."""

    config: object = None
    answer: Callable[[Asked], Told] | None = None
    now_ms: int = 0
    requests: list[Asked] = field(default_factory=list[Asked])
    log: list[tuple[str, str, dict[str, str]]] = field(default_factory=list[tuple[str, str, dict[str, str]]])
    """Level, message, fields."""

    def __enter__(self) -> Self:
        drawn = count()

        def draw(length: int) -> bytes:
            return bytes((next(drawn) * 167 + 13) % 256 for _ in range(length))

        imports: dict[str, Callable[..., object]] = {
            "http.send": self._send,
            "config.get": lambda: _json.dumps({} if self.config is None else self.config),
            "log.write": self._write,
            "clock.now_ms": lambda: self.now_ms,
            "clock.monotonic_ns": lambda: self.now_ms * 1_000_000,
            "random.bytes": draw,
        }
        self._patches = [mock.patch(f"wit_world.imports.{name}", function) for name, function in imports.items()]
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        for patch in self._patches:
            patch.stop()

    def _write(self, level: Level, message: str, fields: list[tuple[str, str]]) -> None:
        self.log.append((level.name.lower(), message, dict(fields)))

    def _send(self, request: http.Request) -> http.Response:
        headers = {name.lower(): value for name, value in request.headers}
        self.requests.append(Asked(request.method, request.url, headers, request.body or b""))
        told = denied(f"{request.method} {request.url}: the test answers nothing") if self.answer is None else self.answer(self.requests[-1])
        if isinstance(told, http.Response):
            return told
        raise Err(told)


def reply(status: int, body: object = None, headers: dict[str, str] | None = None) -> http.Response:
    """An answer; a body that is no text is written as JSON."""
    text = body if isinstance(body, str) else "" if body is None else _json.dumps(body)
    return http.Response(status, [(name.lower(), value) for name, value in (headers or {}).items()], text.encode())


def lost(reason: str = "the connection was closed before the answer") -> http.Error:
    """It left, and no answer came: it may have happened."""
    return http.Error_MaybeSent(reason)


def not_sent(reason: str = "connection refused") -> http.Error:
    """It did not leave."""
    return http.Error_NotSent(reason)


def denied(reason: str = "the host is not granted") -> http.Error:
    """The host did not let it out."""
    return http.Error_Denied(reason)


def effect(operation: str, payload: object, *, business_key: str | None = "inv-7", key: str = "r-1/d-0/tool/0") -> Effect:
    """The first attempt."""
    return Effect(
        tenant="default",
        app="app",
        run_id="r-1",
        idempotency_key=key,
        decision_index=0,
        tool="tool",
        operation=operation,
        business_key=business_key,
        attempt=1,
        payload=_json.dumps(payload),
        deadline_ms=0,
        trace_parent=None,
        context=[],
    )


def obligation(done: Effect, external_ref: str | None) -> Obligation:
    """To undo `done`, which has that receipt, or none."""
    receipt = None if external_ref is None else Receipt(external_ref=external_ref, response="null")
    return Obligation(effect=done, receipt=receipt, kind="", payload="null", idempotency_key=f"compensate:{done.idempotency_key}", attempt=1, context=[])
