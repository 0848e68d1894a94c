"""Plain methods, without a component: python -m unittest discover -s tests -t ."""

import unittest

from wit_world.exports.connector import DispatchAnswer_Confirmed, DispatchAnswer_Unknown, ObserveAnswer_Absent, ObserveAnswer_Duplicate

from app import Connector
from tape_testing import Upstream, effect, lost, reply

CONFIG = {"base_url": "https://api.example.com"}
ITEM = effect("create", {"title": "a new item"})


class TheConnector(unittest.TestCase):
    def test_an_item_carries_the_business_key_as_its_reference(self) -> None:
        with Upstream(CONFIG, lambda asked: reply(201, {"id": "i-1"})) as api:
            answer = Connector().dispatch(ITEM)
        assert isinstance(answer, DispatchAnswer_Confirmed), answer
        self.assertEqual(answer.value.external_ref, "i-1")
        self.assertEqual(api.requests[0].json, {"title": "a new item", "reference": "inv-7"})

    def test_a_lost_answer_is_unknown(self) -> None:
        with Upstream(CONFIG, lambda asked: lost()):
            self.assertIsInstance(Connector().dispatch(ITEM), DispatchAnswer_Unknown)

    def test_the_books_are_counted(self) -> None:
        for items, kind in (([], ObserveAnswer_Absent), ([{"id": "i-1"}, {"id": "i-2"}], ObserveAnswer_Duplicate)):
            with Upstream(CONFIG, lambda asked, items=items: reply(200, {"items": items})):
                self.assertIsInstance(Connector().observe(ITEM), kind)
