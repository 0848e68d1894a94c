"""Postmark: it deduplicates nothing, but what it sent can be searched by metadata."""

from dataclasses import dataclass, field

from mail import Config, Mail, checked, fingerprint
from tape_guest import Call, Doubtful, FailureKind, Operation, Receipt, Request, receipt, refuse

BASE_URL = "https://api.postmarkapp.com"
MARK = "tape-key"
PAGE = 50


@dataclass
class Sent:
    MessageID: str
    ErrorCode: int = 0
    Message: str = ""


@dataclass
class Found:
    MessageID: str
    Status: str = ""


@dataclass
class Page:
    TotalCount: int
    Messages: list[Found] = field(default_factory=list[Found])


class Postmark(Operation[Config, Mail]):
    summary = "One mail"
    semantics = "NON_IDEMPOTENT"
    payload = Mail

    def dispatch(self, call: Call[Config, Mail]) -> Receipt:
        mail, config = checked(call.payload), call.config
        body = {
            "From": config.sender,
            "To": ",".join(mail.to),
            "Cc": ",".join(mail.cc) or None,
            "Bcc": ",".join(mail.bcc) or None,
            "ReplyTo": mail.reply_to,
            "Subject": mail.subject,
            "TextBody": mail.text,
            "HtmlBody": mail.html,
            "MessageStream": config.stream,
            "Metadata": {MARK: fingerprint(call.effect.idempotency_key)},
        }
        request = _request(config, "POST", "/email")
        request.json = {name: value for name, value in body.items() if value is not None}
        sent = request.change(Sent)
        if sent.ErrorCode != 0:
            raise refuse(FailureKind.REJECTED, f"postmark-{sent.ErrorCode}", sent.Message)
        return _receipt(sent.MessageID, "accepted")

    def observe(self, call: Call[Config, Mail]) -> list[Receipt]:
        request = _request(call.config, "GET", "/messages/outbound")
        request.query = {"count": str(PAGE), "offset": "0", f"metadata_{MARK}": fingerprint(call.effect.idempotency_key)}
        page = request.look(Page)
        if page.TotalCount > len(page.Messages):
            raise Doubtful(f"Postmark counts {page.TotalCount} mails and shows {len(page.Messages)}")
        # The latest comes first; the one to keep is the oldest.
        return [_receipt(one.MessageID, one.Status.lower()) for one in reversed(page.Messages)]


def _receipt(message_id: str, status: str) -> Receipt:
    return receipt(message_id, {"id": message_id, "status": status})


def _request(config: Config, method: str, path: str) -> Request:
    headers = {"x-postmark-server-token": "{{secret:email-token}}", "accept": "application/json"}
    return Request(method, (config.base_url or BASE_URL).rstrip("/") + path, headers=headers)
