"""Functions that the server calls."""

from __future__ import annotations

from typing import Any

import tape

CALLS: list[tape.EffectInfo | tape.Timer] = []
ANSWERS: dict[str, Any] = {}


def _answer(name: str, asked: Any) -> Any:
    CALLS.append(asked)
    answer = ANSWERS.get(name)
    if isinstance(answer, Exception):
        raise answer
    return answer


def check(effect: tape.EffectInfo) -> Any:
    return _answer("check", effect)


async def refund(effect: tape.EffectInfo) -> Any:
    return _answer("refund", effect)


@tape.on_timer("reminder")
def remind(timer: tape.Timer) -> None:
    _answer("remind", timer)


tape.register(check)
tape.register(refund)
