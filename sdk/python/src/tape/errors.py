"""What Tape answers when it cannot do as asked, as exceptions.

Each carries the server's stable code (`TAPE-xNNN`, explained by `tape explain CODE`). The class says what the caller
does next: stop (`Fenced`, `RunCancelled`), correct the request, or repeat it (`Unavailable`).
"""

from __future__ import annotations

from typing import Any

import grpc

from tape.v1 import errors_pb2

_TRAILER = "tape-error-bin"
_CODE_CANCELLED = "TAPE-R004"
_CODE_LEASE_HELD = "TAPE-R005"


class TapeError(Exception):
    """Any refusal. `code` is stable, the message is for people, `cure` says what can be done about it."""

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "",
        cure: str = "",
        field: str = "",
        owner: str = "",
        fence: int = 0,
        version: int = 0,
        retryable: bool = False,
    ) -> None:
        self.code = code
        self.cure = cure
        self.field = field
        self.owner = owner
        self.fence = fence
        self.version = version
        self.retryable = retryable
        super().__init__(message)

    def __str__(self) -> str:
        text = super().__str__()
        if self.code and not text.startswith(self.code):
            text = f"{self.code}: {text}"
        return f"{text} {self.cure}" if self.cure and self.cure not in text else text


class Conflict(TapeError):
    """Somebody was faster: the row is at another `version`, or leased to another `owner`. Load it and decide again."""


class Fenced(Conflict):
    """Somebody newer drives the run. Stop; nothing that is written from now on would be taken."""


class LeaseHeld(Fenced):
    """Another driver's lease on the run still lives. Leave the run to it."""


class RunCancelled(TapeError):
    """The run was cancelled. Raise it in a tool body to land the effect as FAILED(cancelled)."""


class Divergence(TapeError):
    """The journal holds another answer for this place than the one that was to be recorded."""


class AlreadyExists(TapeError):
    """The key is taken by other content."""


class NotGranted(TapeError):
    """The run, or the caller, lacks the scope or role that is named."""


class Unauthenticated(NotGranted):
    """There are no credentials, or they are not accepted."""


class NotFound(TapeError):
    """No such run, effect, obligation, timer or session."""


class InvalidRequest(TapeError):
    """The request is malformed, or too large; `field` names what was wrong."""


class SafetyRefused(TapeError):
    """The state, or a safety rule, forbids it."""


class Exhausted(TapeError):
    """The server's limit was reached; wait and repeat."""


class FellBehind(TapeError):
    """A watcher was too slow; subscribe again from `version`."""


class Unavailable(TapeError):
    """The server did not answer within the deadline, repeated requests included. Repeating is always safe."""


class Unimplemented(TapeError):
    """This server does not serve that part of the contract."""


class GateTimeout(TapeError):
    """A gate's time ran out before its signal came."""


class AckLost(Exception):
    """Raise it in a tool body to say: the request left, and I do not know whether it took hold.

    The effect becomes UNKNOWN, which only an observation, a status check or a person settles.
    """


class RunStopped(BaseException):
    """Ends a run's code at once, past every `except Exception`. The reason is in `cause`; never raised by callers."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause
        super().__init__(str(cause))


_COMPARE_AND_SWAP = frozenset({"WriteValue", "DeleteValue", "CompleteTask", "NackTask"})

_BY_STATUS: dict[grpc.StatusCode, type[TapeError]] = {
    grpc.StatusCode.ABORTED: Fenced,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.PERMISSION_DENIED: NotGranted,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: SafetyRefused,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exhausted,
    grpc.StatusCode.DATA_LOSS: FellBehind,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable,
}


def from_rpc(error: grpc.aio.AioRpcError, method: str = "") -> TapeError:
    """The exception for a failed call: the status chooses the class, the trailer fills it in."""
    detail = errors_pb2.ErrorDetail()
    trailer: Any
    for trailer in error.trailing_metadata() or ():
        if trailer[0] == _TRAILER and isinstance(trailer[1], bytes):
            detail.ParseFromString(trailer[1])
    kind = _BY_STATUS.get(error.code(), TapeError)
    if detail.code == _CODE_CANCELLED:
        kind = RunCancelled
    elif detail.code == _CODE_LEASE_HELD:
        kind = LeaseHeld
    elif kind is Fenced and method.rpartition("/")[2] in _COMPARE_AND_SWAP:
        kind = Conflict
    elif kind is AlreadyExists and method.endswith("/RecordDecision"):
        kind = Divergence
    return kind(
        error.details() or error.code().name,
        code=detail.code,
        cure=detail.cure,
        field=detail.field,
        owner=detail.owner,
        fence=detail.fence,
        version=detail.version,
        retryable=detail.retryable,
    )
