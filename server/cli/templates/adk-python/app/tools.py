"""What the agent can do. Each tool says what it does to the world, and Tape treats it accordingly."""

import json
import os
from pathlib import Path
from typing import Any

import tape

CASES = Path(".tape/cases")


def get_balance(account: str) -> dict[str, str]:
    """Look up an account's balance.

    Only reads, so it needs no mark: its result is recorded, and it is asked again if it was interrupted.
    """
    return {"account": account, "balance": "250000.00", "currency": "EUR"}


@tape.effect
def open_case(subject: str, tool_context: Any = None) -> dict[str, str]:
    """Open a case in the case register.

    The register deduplicates by idempotency key, so doing it again after a crash is safe.
    """
    key = tape.idempotency_key(tool_context)
    case = {"case_id": f"C-{key.replace('/', '.')}", "subject": subject}
    CASES.mkdir(parents=True, exist_ok=True)
    path = CASES / f"{case['case_id']}.json"
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(case))
    draft.replace(path)
    return case


@tape.outbox_tool(
    connector="bank",
    operation="wire",
    business_key=lambda to, memo: f"{to}: {memo}",  # what the bank's books know it by
    compensate=True,  # the bank can reverse it: `tape compensate RUN`
)
def wire_money(to: str, amount: str, currency: str, memo: str) -> dict[str, str]:
    """Wire money to somebody. The amount is a decimal number as text ("1200.00").

    The bank does what it is told, each time it is told. So this only says what is wanted: Tape makes the call, once,
    and asks the bank for the business key when it does not know whether the call arrived.
    """
    return {"to": to, "amount": amount, "currency": currency, "memo": memo}
