"""Lines for the people who run Tape, marked with run, effect and connector by the host."""

from wit_world.imports import log as host_log
from wit_world.imports.log import Level


def log(message: str, *, level: Level = Level.INFO, **fields: str) -> None:
    """At most 64 KiB per call in all."""
    host_log.write(level, message, list(fields.items()))
