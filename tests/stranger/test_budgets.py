"""Budgets: caps in dollars and tokens; a plain admit checks and a plain charge adds."""

from __future__ import annotations

import math

import pytest
from grpc import StatusCode as Status

from client import Tape, pb, refused


def test_caps_are_set_and_set_again(tape: Tape) -> None:
    run = tape.begin()
    state = tape.SetBudget(run_id=run, usd_cap=1.5, token_cap=1000)
    assert (state.run_id, state.usd_cap, state.token_cap, state.usd_spent, state.tokens_spent) == (run, 1.5, 1000, 0, 0)
    before = tape.GetRun(run_id=run).seq_cursor
    assert tape.SetBudget(run_id=run, usd_cap=1.5, token_cap=1000) == state
    assert tape.GetRun(run_id=run).seq_cursor == before, "the same again journals nothing"
    assert tape.SetBudget(run_id=run, usd_cap=2, token_cap=500).token_cap == 500


def test_a_plain_admit_checks_and_reserves_nothing(tape: Tape) -> None:
    run = tape.begin()
    tape.SetBudget(run_id=run, usd_cap=1, token_cap=1000)
    for _ in range(3):
        answer = tape.AdmitBudget(run_id=run, usd_estimate=0.6, token_estimate=600)
        assert answer.admitted and answer.budget.usd_spent == 0
    no = tape.AdmitBudget(run_id=run, usd_estimate=1.01)
    assert not no.admitted and "usd" in no.reason.lower(), "a run's budget is an answer, not an error"
    no = tape.AdmitBudget(run_id=run, token_estimate=1001)
    assert not no.admitted and "token" in no.reason.lower()


def test_a_plain_charge_adds_and_an_overrun_is_recorded(tape: Tape) -> None:
    run = tape.begin()
    tape.SetBudget(run_id=run, usd_cap=1, token_cap=100)
    for turn in range(1, 4):
        state = tape.ChargeBudget(run_id=run, usd=0.4, tokens=40)
        assert (round(state.usd_spent, 6), state.tokens_spent) == (round(0.4 * turn, 6), 40 * turn)
    assert not tape.AdmitBudget(run_id=run, usd_estimate=0.000001).admitted
    ten = [tape.ChargeBudget(run_id=run, usd=0.1).usd_spent for _ in range(10)][-1]
    assert ten == 2.2, "tenths of dollars add up exactly"


def test_with_a_request_id_an_admit_reserves_and_its_charge_settles(tape: Tape) -> None:
    run = tape.begin()
    tape.SetBudget(run_id=run, usd_cap=1, token_cap=0)
    assert tape.AdmitBudget(run_id=run, usd_estimate=0.7, request_id="call-1").admitted
    assert tape.AdmitBudget(run_id=run, usd_estimate=0.7, request_id="call-1").admitted, "the same again reserves once"
    assert not tape.AdmitBudget(run_id=run, usd_estimate=0.4).admitted, "spent and reserved count"
    state = tape.ChargeBudget(run_id=run, usd=0.2, request_id="call-1")
    assert state.usd_spent == 0.2
    assert tape.ChargeBudget(run_id=run, usd=0.2, request_id="call-1") == state, "charged once"
    assert tape.AdmitBudget(run_id=run, usd_estimate=0.8).admitted, "the rest of the reservation is free again"


def test_no_cap_admits_all(tape: Tape) -> None:
    run = tape.begin()
    assert tape.AdmitBudget(run_id=run, usd_estimate=1e6, token_estimate=10**12).admitted


@pytest.mark.parametrize("value", [-0.01, math.nan, math.inf, -math.inf, 1e300])
def test_what_is_no_amount_is_refused(tape: Tape, value: float) -> None:
    run = tape.begin()
    before = tape.GetRun(run_id=run).seq_cursor
    refused(Status.INVALID_ARGUMENT, "usd_cap", tape.SetBudget, run_id=run, usd_cap=value)
    refused(Status.INVALID_ARGUMENT, "usd_estimate", tape.AdmitBudget, run_id=run, usd_estimate=value)
    refused(Status.INVALID_ARGUMENT, "usd", tape.ChargeBudget, run_id=run, usd=value)
    assert tape.GetRun(run_id=run).seq_cursor == before


def test_tokens_below_zero_are_refused(tape: Tape) -> None:
    run = tape.begin()
    refused(Status.INVALID_ARGUMENT, "token_cap -1", tape.SetBudget, run_id=run, token_cap=-1)
    refused(Status.INVALID_ARGUMENT, "token_estimate -1", tape.AdmitBudget, run_id=run, token_estimate=-1)
    refused(Status.INVALID_ARGUMENT, "tokens -1", tape.ChargeBudget, run_id=run, tokens=-1)
    most = 2**63 - 1
    tape.ChargeBudget(run_id=run, tokens=most)
    assert tape.ChargeBudget(run_id=run, tokens=most).tokens_spent == most, "a sum that does not fit stays at its greatest"


def test_every_admit_and_charge_is_journalled(tape: Tape) -> None:
    run = tape.begin()
    tape.SetBudget(run_id=run, usd_cap=1)
    before = tape.GetRun(run_id=run).seq_cursor
    tape.AdmitBudget(run_id=run, usd_estimate=0.5, request_id="a")
    tape.ChargeBudget(run_id=run, usd=0.5, request_id="a")
    tape.ChargeBudget(run_id=run, usd=0.1)
    assert tape.GetRun(run_id=run).seq_cursor == before + 3


def test_an_ended_run_spends_no_more(tape: Tape) -> None:
    run = tape.begin()
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_TERMINAL)
    refused(Status.FAILED_PRECONDITION, "TERMINAL", tape.SetBudget, run_id=run, usd_cap=1)
    refused(Status.FAILED_PRECONDITION, "TERMINAL", tape.AdmitBudget, run_id=run, usd_estimate=1)
    refused(Status.FAILED_PRECONDITION, "TERMINAL", tape.ChargeBudget, run_id=run, usd=1)
