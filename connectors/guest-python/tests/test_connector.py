import json
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from componentize_py_types import Err
from wit_world.exports.connector import (
    CompensateAnswer_Failed,
    CompensateAnswer_Unknown,
    DispatchAnswer_Confirmed,
    DispatchAnswer_Failed,
    DispatchAnswer_Unknown,
    ObserveAnswer_Absent,
    ObserveAnswer_Duplicate,
    ObserveAnswer_Inconclusive,
    ObserveAnswer_Present,
    StatusAnswer_Committed,
    StatusAnswer_Inconclusive,
    StatusAnswer_InProgress,
    StatusAnswer_NotCommitted,
)

from tape_guest import Call, Doubtful, InProgress, Level, Obligation, Operation, Receipt, define, invalid, log, receipt
from tape_testing import Upstream, effect, obligation


@dataclass
class Config:
    base_url: str


@dataclass
class Item:
    title: str


class Create(Operation[Config, Item]):
    summary = "One item"
    payload = Item

    def dispatch(self, call: Call[Config, Item]) -> Receipt:
        return receipt(call.reference, [call.payload.title, call.config.base_url])


CONFIG = {"base_url": "http://api"}
ITEM = effect("create", {"title": "a"})
ONE = receipt("i-1", {})


def connector(operation: Operation[Config, Item] | None = None) -> Any:
    return define(name="items", version="1.0.0", summary="Items", config=Config, operations={"create": operation or Create()})()


def doing(**methods: Callable[..., object]) -> Any:
    """A connector whose operation has these methods, without self."""
    overridden = {name: (lambda self, *arguments, method=method: method(*arguments)) for name, method in methods.items()}
    return connector(type("Create", (Create,), overridden)())


def broken(*_: object) -> object:
    raise KeyError("no such thing")


class Connectors(unittest.TestCase):
    def setUp(self) -> None:
        self.upstream = self.enterContext(Upstream(CONFIG))

    def test_describe_is_made_from_the_same_definition(self) -> None:
        described = json.loads(doing(observe=lambda call: []).describe())
        self.assertEqual(described["supports"], {"observe": True, "status_check": False, "compensate": False})
        self.assertEqual(described["operations"][0]["payload_schema"]["required"], ["title"])
        self.assertEqual((described["contract"], described["config_schema"]["required"]), ("1.0.0", ["base_url"]))

    def test_operations_that_depend_on_a_configuration_refuse_a_bad_one_in_words(self) -> None:
        made = define(name="x", version="1.0.0", summary="", config=Config, operations=lambda config: {config.base_url: Create()})()
        self.assertIn("http://api", made.describe())
        with Upstream({}), self.assertRaises(Err) as raised:
            made.describe()
        self.assertIn("`base_url`: is missing", raised.exception.value)

    def test_methods_get_payload_configuration_and_reference(self) -> None:
        self.assertEqual(connector().dispatch(ITEM), DispatchAnswer_Confirmed(receipt("inv-7", ["a", "http://api"])))
        answer = connector().dispatch(effect("create", {"title": "a"}, business_key=None))
        self.assertEqual(answer.value.external_ref, "r-1/d-0/tool/0")

    def test_a_call_that_makes_no_sense_is_invalid(self) -> None:
        for odd, code in ((effect("destroy", {}), "unknown-operation"), (effect("create", {"titel": "a"}), "bad-payload")):
            answer = connector().dispatch(odd)
            self.assertIsInstance(answer, DispatchAnswer_Failed)
            self.assertEqual(answer.value.code, code)
        with Upstream({}):
            self.assertIn("the configuration: `base_url`: is missing", connector().dispatch(ITEM).value.message)

    def test_a_defect_of_the_connector_is_doubt_never_an_answer(self) -> None:
        made = doing(dispatch=broken, observe=broken, status_check=broken, compensate=broken)
        answers = [made.dispatch(ITEM), made.observe(ITEM), made.status_check(ITEM, ""), made.compensate(obligation(ITEM, None))]
        kinds = [DispatchAnswer_Unknown, ObserveAnswer_Inconclusive, StatusAnswer_Inconclusive, CompensateAnswer_Unknown]
        self.assertEqual([type(answer) for answer in answers], kinds)
        for answer in answers:
            self.assertEqual(answer.value.reason, "the connector failed: KeyError('no such thing')")

    def test_every_verdict_has_its_answer(self) -> None:
        for found, kind in (([], ObserveAnswer_Absent), ([ONE], ObserveAnswer_Present), ([ONE, ONE], ObserveAnswer_Duplicate)):
            self.assertIsInstance(doing(observe=lambda call, found=found: found).observe(ITEM), kind)
        for found, kind in ((None, StatusAnswer_NotCommitted), (ONE, StatusAnswer_Committed), (InProgress(5), StatusAnswer_InProgress)):
            self.assertIsInstance(doing(status_check=lambda call, reference, found=found: found).status_check(ITEM, "x"), kind)

        def closed(call: Call[Config, Item]) -> list[Receipt]:
            raise Doubtful("the books are closed", hint="ask on Monday")

        self.assertEqual(doing(observe=closed).observe(ITEM).value.hint, "ask on Monday")

        def shipped(call: Call[Config, Item], done: Obligation) -> Receipt:
            raise invalid("too-late", "it has been shipped")

        answer = doing(compensate=shipped).compensate(obligation(ITEM, "i-1"))
        self.assertEqual((type(answer), answer.value.code), (CompensateAnswer_Failed, "too-late"))

    def test_what_is_not_overridden_is_not_supported(self) -> None:
        made = connector()
        self.assertIsInstance(made.observe(ITEM), ObserveAnswer_Inconclusive)
        self.assertIsInstance(made.status_check(ITEM, ""), StatusAnswer_Inconclusive)
        self.assertEqual(made.compensate(obligation(ITEM, None)).value.code, "not-undoable")

    def test_lines_go_to_the_host_with_their_fields(self) -> None:
        log("slow", level=Level.WARN, ms="300")
        self.assertEqual(self.upstream.log, [("warn", "slow", {"ms": "300"})])
