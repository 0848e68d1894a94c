from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import stubs

sys.path.insert(0, str(stubs.make()))

from client import Tape
from servers import Cluster, Server

STORES = ["sqlite", "postgres"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    # Not pytest's own folder: another user must be able to enter it, and a socket's path is short.
    with tempfile.TemporaryDirectory(prefix="tape-pg-") as folder:
        postgres = Cluster(Path(folder))
        yield postgres
        postgres.stop()


def start(request: pytest.FixtureRequest, folder: Path, *flags: str) -> Server:
    name = folder.name.replace("-", "_").lower()
    if request.param == "sqlite":
        return Server(folder, f"sqlite:{folder / 'tape.db'}", *flags)
    return Server(folder, request.getfixturevalue("cluster").database(name), *flags)


@pytest.fixture(scope="session", params=STORES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose reactors rest: nothing moves but by what a test does."""
    one = start(request, tmp_path_factory.mktemp("quiet"), "--reactors", "none")
    yield one
    assert one.stop() == 0, one.log.read_text()


@pytest.fixture(scope="session", params=STORES)
def driven(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with its reactors at work."""
    one = start(request, tmp_path_factory.mktemp("driven"), "--reactors", "all")
    yield one
    assert one.stop() == 0, one.log.read_text()


@pytest.fixture
def tape(server: Server) -> Iterator[Tape]:
    client = Tape(server.target)
    yield client
    client.close()


@pytest.fixture
def live(driven: Server) -> Iterator[Tape]:
    client = Tape(driven.target)
    yield client
    client.close()
