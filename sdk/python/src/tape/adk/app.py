"""`durable_app`: an ADK agent, made durable."""

from __future__ import annotations

from typing import Any

from google.adk.apps import App
from google.adk.plugins.base_plugin import BasePlugin

from tape.adk.plugin import TapePlugin
from tape.adk.runner import DurableRunner
from tape.adk.session import TapeSessionService
from tape.adk.tree import wrap_tree
from tape.budget import Budget
from tape.client import TapeClient
from tape.run import LEASE_TTL_MS


def durable_app(
    name: str,
    agent: Any,
    *,
    url: str | None = None,
    client: TapeClient | None = None,
    plugins: list[BasePlugin] | None = None,
    policy_version: str = "",
    scopes: list[str] | None = None,
    budget: Budget | None = None,
    lease_ttl_ms: int = LEASE_TTL_MS,
    app_options: dict[str, Any] | None = None,
    **services: Any,
) -> tuple[App, DurableRunner]:
    """An ADK app and its runner, journalled by the Tape server at `url` (default: TAPE_URL, then the local one).

    `agent` is changed in place: each model of its tree is wrapped, each function tool adapted. `policy_version` is
    recorded with every decision; `scopes` are what the runs may do, `budget` is what each may spend on models. A run
    whose driver dies is taken over `lease_ttl_ms` after its last sign of life at the latest. `plugins` come after
    Tape's own; `app_options` go to ADK's `App`, and `services` (artifact_service, memory_service,
    credential_service) to its `Runner`.

    Importing `tape.adk` raises RuntimeError for a google-adk outside >=2.7.1,<3.
    """
    wrap_tree(agent)
    app = App(name=name, root_agent=agent, plugins=[TapePlugin(), *(plugins or [])], **(app_options or {}))
    connected = client or TapeClient(url)
    compaction = app.events_compaction_config
    summarizer = getattr(compaction, "summarizer", None)
    if summarizer is not None:
        _wrap_summarizer(summarizer)
    runner = DurableRunner(
        app=app,
        client=connected,
        session_service=TapeSessionService(connected),
        lease_ttl_ms=lease_ttl_ms,
        policy_version=policy_version,
        scopes=scopes,
        budget=budget,
        **services,
    )
    return app, runner


def _wrap_summarizer(summarizer: Any) -> None:
    """A summarizer asks its model without any callback: its answers are decisions all the same."""
    from google.adk.models.base_llm import BaseLlm

    from tape.adk.model import durable

    for attribute in ("_llm", "llm"):
        model = getattr(summarizer, attribute, None)
        if isinstance(model, BaseLlm):
            setattr(summarizer, attribute, durable(model))
