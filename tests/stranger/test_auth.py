"""Who may call: a client with a bearer token, one with another's, one with none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode as Status

from client import Tape, identity, pb, refused
from servers import Server

TOKENS = [
    {"token": "driver-token-of-16", "principal": "treasury", "role": "driver"},
    {"token": "reader-token-of-16", "principal": "auditor", "role": "reader"},
]


class Bearer(grpc.UnaryUnaryClientInterceptor):
    """Sends a token with each call."""

    def __init__(self, token: str) -> None:
        self.token = token

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        headers = [*(client_call_details.metadata or ()), ("authorization", f"Bearer {self.token}")]
        return continuation(client_call_details._replace(metadata=headers), request)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("guarded")
    (folder / "tokens.json").write_text(json.dumps(TOKENS))
    server = Server(folder, f"sqlite:{folder / 'tape.db'}", "--reactors", "none", "--auth-tokens", "tokens.json")
    yield server
    assert server.stop() == 0


def caller(server: Server, token: str) -> Tape:
    tape = Tape(server.target)
    tape.channel = grpc.intercept_channel(tape.channel, Bearer(token))
    return tape


def test_who_shows_nothing_is_not_served(guarded: Server) -> None:
    refused(Status.UNAUTHENTICATED, "token", Tape(guarded.target).BeginRun, **identity())
    refusal = refused(Status.UNAUTHENTICATED, "token", caller(guarded, "guessed").BeginRun, **identity())
    assert "guessed" not in refusal.text, "what was shown is never told"


def test_a_driver_drives(guarded: Server) -> None:
    tape = caller(guarded, "driver-token-of-16")
    run = tape.begin()
    assert tape.EndRun(run_id=run, status=pb.RUN_STATUS_TERMINAL).run.status == pb.RUN_STATUS_TERMINAL


def test_a_reader_looks_and_does_nothing(guarded: Server) -> None:
    run = caller(guarded, "driver-token-of-16").begin()
    tape = caller(guarded, "reader-token-of-16")
    assert tape.GetRun(run_id=run).run_id == run
    refused(Status.PERMISSION_DENIED, "reader", tape.BeginRun, **identity())
    refused(Status.PERMISSION_DENIED, "reader", tape.EndRun, run_id=run, status=pb.RUN_STATUS_CANCELLED)
