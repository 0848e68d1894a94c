"""Fault injection as an API: die, or hang, at a named point, once.

    TAPE_FAULT_KILL="after_begin_effect@wire_money" TAPE_FAULT_ONCE=/tmp/killed python -m tape.worker

The first time the point is reached (for that tool, if one is named) and the marker file does not exist, the marker is
written and synced, and the process kills itself with SIGKILL. With `TAPE_FAULT_STOP` it stops itself (SIGSTOP) until
somebody sends it SIGCONT: a process that hangs, and wakes up when another has taken over. Without the variables every
point is a no-op.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

POINTS = (
    "before_begin_run",
    "after_begin_run",
    "before_model",
    "after_model",
    "after_decision",
    "before_begin_effect",
    "after_begin_effect",
    "after_body",
    "after_complete_effect",
    "before_append_event",
    "after_append_event",
    "before_end_run",
    "after_end_run",
)


_SIGNALS = {"TAPE_FAULT_KILL": "SIGKILL", "TAPE_FAULT_STOP": "SIGSTOP"}


def point(name: str, tool: str = "") -> None:
    """A place where a test may kill or stop this process. `tool` is the tool at work, where there is one."""
    for variable, sent in _SIGNALS.items():
        wanted = os.environ.get(variable)
        if wanted:
            _reached(name, tool, wanted, sent)


def _reached(name: str, tool: str, wanted: str, sent: str) -> None:
    if name not in POINTS:
        raise ValueError(f"{name!r} is not a fault point; they are {', '.join(POINTS)}")
    where, _, which = wanted.partition("@")
    if where != name or (which and which != tool):
        return
    once = os.environ.get("TAPE_FAULT_ONCE")
    if once and not _mark(Path(once)):
        return
    os.kill(os.getpid(), signal.Signals[sent])


def _mark(path: Path) -> bool:
    """Create the marker durably. False if it was there already."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(handle, f"{os.getpid()}\n".encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    return True
