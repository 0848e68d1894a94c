"""Resend: it cannot be searched, but remembers a key for a day, within which a repetition is the same mail."""

from dataclasses import dataclass

from mail import Config, Mail, checked, fingerprint
from tape_guest import Call, Doubtful, Operation, Receipt, Refused, Request, receipt

BASE_URL = "https://api.resend.com"
#: The same key is being worked on at this very moment.
CONCURRENT = "concurrent_idempotent_requests"


@dataclass
class Sent:
    id: str


class Resend(Operation[Config, Mail]):
    summary = "One mail"
    semantics = "IDEMPOTENT"
    payload = Mail

    def dispatch(self, call: Call[Config, Mail]) -> Receipt:
        mail, config = checked(call.payload), call.config
        body = {
            "from": config.sender,
            "to": mail.to,
            "cc": mail.cc or None,
            "bcc": mail.bcc or None,
            "reply_to": mail.reply_to,
            "subject": mail.subject,
            "text": mail.text,
            "html": mail.html,
        }
        request = Request(
            "POST",
            (config.base_url or BASE_URL).rstrip("/") + "/emails",
            headers={"authorization": "Bearer {{secret:email-token}}", "idempotency-key": fingerprint(call.effect.idempotency_key)},
            json={name: value for name, value in body.items() if value is not None},
        )
        try:
            sent = request.change(Sent)
        except Refused as refused:
            if CONCURRENT in str(refused):
                raise Doubtful("Resend is still at a request with this key") from refused
            raise
        return receipt(sent.id, {"id": sent.id, "status": "accepted"})
