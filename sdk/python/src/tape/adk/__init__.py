"""Google ADK under Tape: `durable_app` makes an agent's decisions and effects durable."""

from importlib import metadata

from tape.adk.version import check_adk_version

# First of all: other versions lack what is imported below, and would say so less clearly.
check_adk_version(metadata.version("google-adk"))

from tape.adk.app import durable_app  # noqa: E402
from tape.adk.plugin import TapePlugin  # noqa: E402
from tape.adk.runner import DurableRunner  # noqa: E402
from tape.adk.session import TapeSessionService  # noqa: E402

__all__ = ["DurableRunner", "TapePlugin", "TapeSessionService", "check_adk_version", "durable_app"]
