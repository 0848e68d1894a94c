import unittest

from wit_world.exports.connector import DispatchAnswer_Confirmed, DispatchAnswer_Failed, DispatchAnswer_Unknown, ObserveAnswer_Duplicate

from app import Connector
from tape_guest import Failure, FailureKind, Receipt
from tape_testing import Upstream, denied, effect, lost, obligation, reply

POSTMARK = {"provider": "postmark", "sender": "treasury@example.com"}
RESEND = POSTMARK | {"provider": "resend"}
MAIL = {"to": ["ada@example.com"], "subject": "Invoice 7", "text": "Please find it attached."}


class Email(unittest.TestCase):
    def failure(self, payload: object) -> Failure:
        with Upstream(POSTMARK) as provider:
            answer = Connector().dispatch(effect("send", payload))
        self.assertEqual(provider.requests, [])
        assert isinstance(answer, DispatchAnswer_Failed), answer
        return answer.value

    def test_a_mail_through_postmark_is_marked_and_names_its_token(self) -> None:
        with Upstream(POSTMARK, lambda asked: reply(200, {"MessageID": "pm-1", "ErrorCode": 0})) as provider:
            answer = Connector().dispatch(effect("send", MAIL | {"cc": ["Bob <bob@example.com>"]}, key="k" * 512))
        self.assertEqual(answer, DispatchAnswer_Confirmed(Receipt("pm-1", '{"id": "pm-1", "status": "accepted"}')))
        (asked,) = provider.requests
        self.assertEqual(asked.url, "https://api.postmarkapp.com/email")
        self.assertEqual(asked.headers["x-postmark-server-token"], "{{secret:email-token}}")
        self.assertEqual((asked.json["To"], asked.json["Cc"]), ("ada@example.com", "Bob <bob@example.com>"))
        self.assertNotIn("Bcc", asked.json)
        # Postmark keeps 80 bytes.
        self.assertEqual(len(asked.json["Metadata"]["tape-key"]), 64)

    def test_a_mail_through_resend_carries_its_key(self) -> None:
        with Upstream(RESEND, lambda asked: reply(200, {"id": "re-1"})) as provider:
            first = Connector().dispatch(effect("send", MAIL))
            Connector().dispatch(effect("send", MAIL))
            Connector().dispatch(effect("send", MAIL, key="another"))
        self.assertIsInstance(first, DispatchAnswer_Confirmed)
        one, again, other = (asked.headers["idempotency-key"] for asked in provider.requests)
        self.assertEqual(one, again)
        self.assertNotEqual(one, other)

    def test_what_it_is_depends_on_the_provider(self) -> None:
        described: dict[str, str] = {}
        for config in (POSTMARK, RESEND):
            with Upstream(config):
                described[config["provider"]] = Connector().describe()
        self.assertIn("NON_IDEMPOTENT", described["postmark"])
        self.assertNotIn("NON_IDEMPOTENT", described["resend"])

    def test_a_mail_that_makes_no_sense_never_leaves(self) -> None:
        cases: list[tuple[dict[str, object], str]] = [
            ({"to": []}, "`to` is empty"),
            ({"text": None}, "both `text` and `html` are missing"),
            ({"to": ["ada"]}, "'ada' is no address"),
            ({"to": ["a@example.com,b@example.com"]}, "is no address"),
            ({"cc": ["Eve\r\nBcc: x <eve@example.com>"]}, "is no address"),
            ({"reply_to": "nobody"}, "'nobody' is no address"),
            ({"subject": "a\nBcc: eve@example.com"}, "write it in one line"),
            ({"bcc": [f"p{n}@example.com" for n in range(50)]}, "51 recipients are more than 50"),
            ({"attachments": []}, "`attachments`: there is no such field"),
        ]
        for changed, words in cases:
            failure = self.failure(MAIL | changed)
            self.assertEqual(failure.kind, FailureKind.INVALID)
            self.assertIn(words, failure.message)

    def test_a_lost_answer_is_unknown_and_a_missing_grant_is_not(self) -> None:
        for told, kind in ((lost(), DispatchAnswer_Unknown), (denied(), DispatchAnswer_Failed)):
            with Upstream(POSTMARK, lambda asked, told=told: told):
                self.assertIsInstance(Connector().dispatch(effect("send", MAIL)), kind)

    def test_of_two_mails_the_older_is_the_one_to_keep(self) -> None:
        page = {"TotalCount": 2, "Messages": [{"MessageID": "pm-2", "Status": "Sent"}, {"MessageID": "pm-1", "Status": "Sent"}]}
        with Upstream(POSTMARK, lambda asked: reply(200, page)):
            answer = Connector().observe(effect("send", MAIL))
        assert isinstance(answer, ObserveAnswer_Duplicate), answer
        self.assertEqual([one.external_ref for one in answer.value], ["pm-1", "pm-2"])

    def test_nothing_is_unsent(self) -> None:
        with Upstream(POSTMARK) as provider:
            Connector().compensate(obligation(effect("send", MAIL), "pm-1"))
        self.assertEqual(provider.requests, [])
