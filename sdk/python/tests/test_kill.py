"""A worker that is killed anywhere leaves a run that another worker finishes, and nothing happens twice."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from conftest import TEMPLATE, Process, until
from fake_server import FakeTape, pb

from tape.client import TapeClient

POINTS = [
    "before_begin_run",
    "after_begin_run",
    "before_model",
    "after_model",
    "after_decision",
    "before_begin_effect@read_book",
    "after_begin_effect@read_book",
    "after_body@read_book",
    "after_complete_effect@read_book",
    "before_begin_effect@open_case",
    "after_begin_effect@open_case",
    "after_body@open_case",
    "after_complete_effect@open_case",
    "after_body@wire",
    "before_begin_effect@wire",
    "after_begin_effect@wire",
    "after_complete_effect@wire",
    "before_append_event",
    "after_append_event",
    "before_end_run",
    "after_end_run",
]

# What may happen twice: a model whose answer was lost before it was recorded, a body whose result was.
AGAIN = {
    "after_model": {"model"},
    "after_begin_effect@open_case": {"read_book"},
    "after_body@read_book": {"read_book", "open_case"},
    "after_complete_effect@read_book": {"open_case"},
    "after_begin_effect@read_book": {"open_case"},
    "after_body@open_case": {"open_case", "read_book"},
    "after_complete_effect@open_case": {"read_book"},
    "after_body@wire": {"wire"},
    "before_begin_effect@wire": {"wire"},
}


@pytest.mark.parametrize("where", POINTS)
async def test_a_run_survives_a_kill(fake: FakeTape, payer: Path, where: str) -> None:
    log = payer / "log"
    environment = {"TAPE_URL": fake.url, "PAYER_LOG": str(log)}
    first = await Process.start(payer, **environment, TAPE_FAULT_KILL=where, TAPE_FAULT_ONCE=str(payer / "killed"))
    async with TapeClient(fake.url) as client:
        started = await client.admin.start_run(app_name="payer", user_id="u", session_id="s", input_json='"pay"')
    assert await first.ended() == -9, "the fault point was not reached"
    assert (payer / "killed").exists()

    second = await Process.start(payer, **environment)
    run = fake.runs[started.run_id]
    await until(lambda: run.state.status == pb.RUN_STATUS_TERMINAL)
    await until(lambda: second.named("worker_attached" if where == "after_end_run" else "run_ended"))
    assert await second.terminate() == 0

    happened = Counter(
        f"model {fact['turn']}" if fact["what"] == "model" else fact["what"]
        for fact in map(json.loads, log.read_text().splitlines())
    )
    allowed = AGAIN.get(where, set())
    for what, times in happened.items():
        assert times <= (2 if what.split()[0] in allowed else 1), f"{what} happened {times} times: {happened}"
    assert {"model 0", "model 1", "model 2", "read_book", "open_case", "wire"} == set(happened)
    assert fake.wires == [{"to": "ACME"}]
    assert sorted(run.decisions) == [0, 1, 2]
    assert {effect.status for effect in run.effects.values()} == {pb.EFFECT_STATUS_CONFIRMED}
    session = fake.sessions["payer", "u", "s"]
    assert [event.author for event in session.events] == ["user", *["payer"] * 5]
    assert json.loads(session.state_json) == {"pages": 1}


async def test_the_scaffold_pays_once_when_it_is_killed_in_the_middle_of_the_wire(fake: FakeTape, tmp_path: Path) -> None:
    project = tmp_path / "treasury"
    shutil.copytree(TEMPLATE, project)
    (project / "tape.yaml").write_text((project / "tape.yaml").read_text().replace("{{name}}", "treasury"))
    calls = tmp_path / "calls"
    environment = {"TAPE_URL": fake.url, "TAPE_MODEL_CALLS": str(calls), "PYTHONPATH": ""}
    first = await Process.start(
        project,
        **environment,
        TAPE_FAULT_KILL="after_begin_effect@wire_money",
        TAPE_FAULT_ONCE=str(tmp_path / "killed"),
    )
    async with TapeClient(fake.url) as client:
        asked = json.dumps("Pay 99.50 USD to Bob for the lunch")
        started = await client.admin.start_run(app_name="treasury", user_id="u", session_id="s", input_json=asked)
    assert await first.ended() == -9
    await until(lambda: fake.wires)

    second = await Process.start(project, **environment)
    run = fake.runs[started.run_id]
    await until(lambda: run.state.status == pb.RUN_STATUS_TERMINAL)
    await until(lambda: second.named("run_ended"))
    assert await second.terminate() == 0
    assert fake.wires == [{"to": "Bob", "amount": "99.50", "currency": "USD", "memo": "the lunch"}]
    (attached,) = second.named("run_attached")
    assert attached["resumed"] and attached["decision_index"] == 3
    (wire,) = [one for one in second.named("effect_replayed") if one["tool"] == "wire_money"]
    assert wire["status"] == "CONFIRMED"
    assert len(calls.read_text().splitlines()) == 4
    assert len(list((project / ".tape" / "cases").iterdir())) == 1
    assert json.loads(run.state.detail_json) == {"output": "Paid 99.50 USD to Bob: confirmed"}
