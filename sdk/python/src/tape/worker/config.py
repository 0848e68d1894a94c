"""What a worker needs of `tape.yaml`: the app, its runner factory, the server."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


@dataclass(frozen=True)
class WorkerConfig:
    """The part of a project's configuration that its worker reads. TAPE_URL wins over `tape.url`."""

    app_name: str
    runner_factory: str
    url: str


def load(path: Path) -> WorkerConfig:
    """Read `tape.yaml`, with `${VAR}` and `${VAR:-default}` filled in.

    Raises ValueError when something that a worker needs is not there, naming it.
    """
    text = _VARIABLE.sub(lambda match: os.environ.get(match[1], match[2] or ""), path.read_text())
    document: Any = yaml.safe_load(text)
    agent = _section(document, "agent")
    factory = str(agent.get("runner_factory") or "")
    if ":" not in factory:
        raise ValueError(f'{path}: agent.runner_factory must be "module:attr", not {factory!r}')
    return WorkerConfig(
        app_name=str(agent.get("app_name") or ""),
        runner_factory=factory,
        url=os.environ.get("TAPE_URL") or str(_section(document, "tape").get("url") or ""),
    )


def import_factory(name: str) -> Callable[[], Any]:
    """The function that "module:attr" names. Raises ImportError or AttributeError if there is none."""
    module, _, attribute = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _section(document: Any, name: str) -> dict[str, Any]:
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, dict) else {}
