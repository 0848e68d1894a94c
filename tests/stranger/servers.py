"""Real `tape-server` processes, each on a store of its own, and a private Postgres for half of them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

# Postgres refuses to run as root; 65534 is `nobody`.
NOBODY = 65_534
START_S = 60.0


def program(variable: str) -> Path:
    """A program that the environment names. Without it nothing is tested, and that is a failure."""
    path = Path(os.environ.get(variable) or f"/not given: {variable}")
    assert path.is_file(), f"{variable} must name a program: run `make test-stranger`, or set it to the one to test ({path})"
    return path


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One process of the server; `target` is where its gRPC listens."""

    def __init__(self, folder: Path, store: str, *flags: str) -> None:
        self.port, self.http = free_port(), free_port()
        self.target = f"127.0.0.1:{self.port}"
        self.store = store
        self.log = folder / f"server-{self.port}.log"
        self._out: IO[bytes] = self.log.open("wb")
        command: list[Any] = [program("TAPE_SERVER"), "--listen", self.target, "--http", f"127.0.0.1:{self.http}"]
        self.process = subprocess.Popen(
            [*command, "--store", store, "--connector-cache", "none", *flags],
            cwd=folder,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if not name.startswith("TAPE_")},
        )
        self._until_ready()

    def _until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server ended by itself: {self.log.read_text()}"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.02)
        raise AssertionError(f"not ready within {START_S} s: {self.log.read_text()}")

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.terminate()
        code = self.process.wait(40)
        self._out.close()
        return code


class Cluster:
    """A private Postgres that listens on a socket in its own folder alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        if self.user:
            os.chown(folder, NOBODY, NOBODY)
        data = folder / "data"
        self.run("initdb", "--auth=trust", "--username=tape", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata", data)
        self.log = (folder / "postgres.log").open("wb")
        self.process = subprocess.Popen(
            [binary("postgres"), "-D", data, "-k", folder, "-c", "listen_addresses="],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            **self.user,
        )
        deadline = time.monotonic() + START_S
        while not (folder / ".s.PGSQL.5432").exists() or not self.answers():
            assert self.process.poll() is None, (folder / "postgres.log").read_text()
            assert time.monotonic() < deadline, f"Postgres does not start within {START_S} s"
            time.sleep(0.02)

    def run(self, name: str, *arguments: object) -> None:
        words = [binary(name), *map(str, arguments)]
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False, **self.user)
        assert done.returncode == 0, (words, done.stderr)

    def answers(self) -> bool:
        asked = [binary("pg_isready"), "-q", "-h", str(self.folder)]
        return subprocess.run(asked, cwd=self.folder, check=False).returncode == 0

    def database(self, name: str) -> str:
        """A fresh database, and its URL."""
        self.run("createdb", "--username=tape", "--host", self.folder, name)
        return f"postgres://tape@localhost/{name}?host={self.folder}"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def binary(name: str) -> str:
    """One of Postgres's programs: on the PATH, or where Debian keeps it (the newest)."""
    found = shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default="")
    assert found, f"no Postgres ({name}): install it (Debian, Ubuntu: sudo apt-get install postgresql)"
    return found
