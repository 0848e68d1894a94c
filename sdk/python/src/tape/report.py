"""What a worker says about its runs: one JSON object per line on stdout, for `tape dev` and other machines.

Off by default (the same facts then go to the log, for people); `python -m tape.worker` turns it on.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

_log = logging.getLogger("tape")
_state = {"on": False}


def enable(on: bool = True) -> None:
    """Print events on stdout from now on."""
    _state["on"] = on


def emit(event: str, **facts: Any) -> None:
    """Tell one event."""
    # Where the two streams are shown in one window, once is enough.
    level = logging.DEBUG if _state["on"] else logging.INFO
    _log.log(level, "%s %s", event, " ".join(f"{name}={value}" for name, value in facts.items()))
    if _state["on"]:
        line = json.dumps({"event": event, "ts_ms": int(time.time() * 1000), **facts}, default=str)
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except OSError:
            _state["on"] = False  # nobody reads any more
