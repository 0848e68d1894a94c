import unittest
from dataclasses import dataclass

from tape_guest import Doubtful, Failure, FailureKind, Refused, Request, segment
from tape_testing import Told, Upstream, denied, lost, not_sent, reply


@dataclass
class Wire:
    id: str


def changed(told: Told) -> str:
    with Upstream(answer=lambda asked: told):
        return Request("POST", "http://bank/wires", json={}).change(Wire).id


class Requests(unittest.TestCase):
    def failure(self, told: Told) -> Failure:
        with self.assertRaises(Refused) as raised:
            changed(told)
        return raised.exception.failure

    def test_only_an_understood_success_is_done(self) -> None:
        self.assertEqual(changed(reply(201, {"id": "w-1", "more": 1})), "w-1")
        for told in (reply(201, {}), reply(201, {"id": 7}), reply(200, "<html>"), reply(200), reply(204), reply(200, "null")):
            with self.assertRaisesRegex(Doubtful, "makes no sense"):
                changed(told)

    def test_a_reader_that_stumbles_is_doubt(self) -> None:
        for body in ("[]", "null", "7", '{"a": []}'):
            with Upstream(answer=lambda asked, body=body: reply(200, body)), self.assertRaisesRegex(Doubtful, "makes no sense"):
                Request("GET", "http://bank").look(lambda read: read["a"][0].b)

    def test_a_refusal_is_a_failure_with_the_upstreams_code(self) -> None:
        self.assertEqual(self.failure(reply(422, {"error": {"code": "no-funds"}})).code, "no-funds")
        self.assertEqual(self.failure(reply(422, {"error": "RecordInvalid"})).code, "RecordInvalid")
        self.assertEqual(self.failure(reply(422, {"error": "a whole sentence", "code": "c-1"})).code, "c-1")
        for body in ("no JSON", "null", "[]", "7"):
            self.assertEqual(self.failure(reply(400, body)).code, "http-400")
        self.assertEqual(self.failure(reply(403)).kind, FailureKind.UNAUTHORIZED)
        self.assertEqual(self.failure(reply(302)).kind, FailureKind.INVALID)
        limited = self.failure(reply(429, headers={"Retry-After": "3"}))
        self.assertEqual((limited.kind, limited.retryable, limited.retry_after_ms), (FailureKind.RATE_LIMITED, True, 3000))
        self.assertIsNone(self.failure(reply(429, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})).retry_after_ms)

    def test_a_stumbling_upstream_and_a_lost_answer_are_doubt(self) -> None:
        for told in (*(reply(status, {}) for status in (408, 425, 500, 502, 503, 504)), lost()):
            with self.assertRaises(Doubtful):
                changed(told)

    def test_what_did_not_leave_may_be_sent_again_and_what_is_not_granted_may_not(self) -> None:
        refused, forbidden = self.failure(not_sent()), self.failure(denied())
        self.assertEqual((refused.kind, refused.retryable), (FailureKind.UNAVAILABLE, True))
        self.assertEqual((forbidden.code, forbidden.retryable), ("denied", False))

    def test_a_question_that_fails_is_doubt(self) -> None:
        for told in (reply(500), reply(429), not_sent(), denied(), lost(), reply(200, "<html>")):
            with Upstream(answer=lambda asked, told=told: told):
                for ask in (Request("GET", "http://bank/w").look, Request("GET", "http://bank/w").find):
                    self.assertRaises(Doubtful, ask, Wire)
        with Upstream(answer=lambda asked: reply(404)):
            self.assertRaises(Doubtful, Request("GET", "http://bank/w").look, Wire)
            self.assertIsNone(Request("GET", "http://bank/w/1").find(Wire))

    def test_what_is_removed_may_be_gone_already(self) -> None:
        for status, was_there in ((204, True), (404, False)):
            with Upstream(answer=lambda asked, status=status: reply(status)):
                self.assertEqual(Request("DELETE", "http://bank/w/1").remove(), was_there)
        with Upstream(answer=lambda asked: reply(500)):
            self.assertRaises(Doubtful, Request("DELETE", "http://bank/w/1").remove)

    def test_what_goes_into_a_url_is_encoded(self) -> None:
        with Upstream(answer=lambda asked: reply(200, {"id": "a"})) as bank:
            Request("GET", "http://bank/wires", query={"reference": "a b&c=d/é+", "n": "1"}).look(Wire)
            Request("POST", "http://bank", form={"a": "1 2", "b[c]": "ü"}).change(Wire)
        self.assertEqual(bank.requests[0].url, "http://bank/wires?reference=a%20b%26c%3Dd%2F%C3%A9%2B&n=1")
        self.assertEqual(bank.requests[1].body, b"a=1%202&b%5Bc%5D=%C3%BC")
        self.assertEqual(bank.requests[1].headers["content-type"], "application/x-www-form-urlencoded")
        self.assertEqual(segment("../x"), "..%2Fx")
