"""How a connector says no, and how it says "I do not know". Raise them: `define` turns them into answers."""

from wit_world.exports.connector import Doubt, Failure, FailureKind


class Refused(Exception):
    """A definite no: the effect did not take hold."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Doubtful(Exception):
    """Nobody knows whether it took hold."""

    def __init__(self, reason: str, *, sent: str = "", hint: str = "") -> None:
        super().__init__(reason)
        self.doubt = Doubt(reason=reason, sent=sent, hint=hint)


def refuse(kind: FailureKind, code: str, message: str, *, retryable: bool = False, retry_after_ms: int | None = None) -> Refused:
    """A definite no, to raise."""
    return Refused(Failure(kind=kind, code=code, message=message, retryable=retryable, retry_after_ms=retry_after_ms))


def invalid(code: str, message: str) -> Refused:
    """The call itself is malformed, and no repetition cures it. To raise."""
    return refuse(FailureKind.INVALID, code, message)
