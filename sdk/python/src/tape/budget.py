"""Budgets: what a run may spend on its models, in tokens and US dollars. Kept by the server, so that it survives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tape.errors import TapeError

if TYPE_CHECKING:
    from tape.run import DurableRun

Price = Callable[[str, int, int], float]


class BudgetExceeded(TapeError):
    """The run may not spend what the next call of a model would cost. It ends as FAILED; raise the cap (SetBudget) and
    redrive it, and it goes on where it stopped."""


@dataclass(frozen=True)
class Budget:
    """Caps of one run; 0 = none. Calls that were replayed cost nothing.

    price: what a call costs in US dollars, by (model, input tokens, output tokens). Needed for `usd`.
    output_tokens: what a call is expected to answer with, before it is known.
    """

    usd: float = 0.0
    tokens: int = 0
    price: Price | None = None
    output_tokens: int = 1024

    def __post_init__(self) -> None:
        if self.usd and self.price is None:
            raise ValueError("a budget in US dollars needs price=: a function of (model, input tokens, output tokens)")

    def cost(self, model: str, input_tokens: int, output_tokens: int) -> float:
        """What a call costs, in US dollars."""
        return self.price(model, input_tokens, output_tokens) if self.price is not None else 0.0


async def set_caps(run: DurableRun, budget: Budget) -> None:
    """Give a run its caps, unless it has some: an operator may have raised them since."""
    state = (await run.write(run.client.admit_budget(run_id=run.run_id, fence=run.fence, lease_owner=run.owner))).budget
    if state.usd_cap or state.token_cap:
        return
    await run.write(
        run.client.set_budget(
            run_id=run.run_id,
            usd_cap=budget.usd,
            token_cap=budget.tokens,
            fence=run.fence,
            lease_owner=run.owner,
        )
    )


async def admit(run: DurableRun, budget: Budget, *, request_id: str, model: str, input_tokens: int) -> None:
    """Reserve what a call is expected to cost. Raises BudgetExceeded when there is not as much left."""
    answer = await run.write(
        run.client.admit_budget(
            run_id=run.run_id,
            usd_estimate=budget.cost(model, input_tokens, budget.output_tokens),
            token_estimate=input_tokens + budget.output_tokens,
            request_id=request_id,
            fence=run.fence,
            lease_owner=run.owner,
        )
    )
    if not answer.admitted:
        raise BudgetExceeded(f"The budget of run {run.run_id} does not admit another call of {model}: {answer.reason}")


async def charge(
    run: DurableRun, budget: Budget, *, request_id: str, model: str, input_tokens: int, output_tokens: int
) -> None:
    """Settle a reservation with what the call really cost."""
    await run.write(
        run.client.charge_budget(
            run_id=run.run_id,
            usd=budget.cost(model, input_tokens, output_tokens),
            tokens=input_tokens + output_tokens,
            request_id=request_id,
            fence=run.fence,
            lease_owner=run.owner,
        )
    )
