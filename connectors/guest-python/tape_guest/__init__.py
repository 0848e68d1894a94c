"""For authors of connectors in Python.

A connector is `Connector = define(...)` in `app.py`. Everything that it needs is imported at the top of a module: there are no files to import from
later. Nothing is remembered from one call to the next, and there are no sockets: a Request is the only way out.
"""

from wit_world.exports.connector import Effect, Failure, FailureKind, Obligation, Receipt
from wit_world.imports.log import Level

from .connector import Call, InProgress, Operation, define, receipt
from .log import log
from .request import Request, code, segment, summary
from .shape import Malformed, Rule, read, schema
from .verdict import Doubtful, Refused, invalid, refuse

__all__ = [
    "Call",
    "Doubtful",
    "Effect",
    "Failure",
    "FailureKind",
    "InProgress",
    "Level",
    "Malformed",
    "Obligation",
    "Operation",
    "Receipt",
    "Refused",
    "Request",
    "Rule",
    "code",
    "define",
    "invalid",
    "log",
    "read",
    "receipt",
    "refuse",
    "schema",
    "segment",
    "summary",
]
