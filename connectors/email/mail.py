"""A mail as an agent writes it, and the deployment's configuration."""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from tape_guest import Rule, invalid

RECIPIENTS_MAX = 50
ADDRESS = re.compile(r"[^\s<>@,]+@[^\s<>@,]+|[^<>@,\r\n]+ <[^\s<>@,]+@[^\s<>@,]+>")


@dataclass
class Config:
    provider: Literal["postmark", "resend"]
    sender: Annotated[str, Rule(why="the From address that the provider has verified")]
    base_url: Annotated[str | None, Rule(why="default: the provider's own address")] = None
    stream: Annotated[str, Rule(why="Postmark's message stream")] = "outbound"


@dataclass
class Mail:
    to: list[str]
    subject: str
    text: str | None = None
    html: str | None = None
    cc: list[str] = field(default_factory=list[str])
    bcc: list[str] = field(default_factory=list[str])
    reply_to: str | None = None


def checked(mail: Mail) -> Mail:
    """What types cannot say. Raises Refused."""
    if not mail.to:
        raise invalid("bad-payload", "the payload: `to` is empty, and a mail needs a recipient")
    if mail.text is None and mail.html is None:
        raise invalid("bad-payload", "the payload: both `text` and `html` are missing, and a mail needs one of them")
    everybody = [*mail.to, *mail.cc, *mail.bcc]
    if len(everybody) > RECIPIENTS_MAX:
        raise invalid("bad-payload", f"the payload: {len(everybody)} recipients are more than {RECIPIENTS_MAX}: send several mails")
    for one in [*everybody, *([mail.reply_to] if mail.reply_to else [])]:
        if not ADDRESS.fullmatch(one):
            raise invalid("bad-payload", f'the payload: {one!r} is no address: write it like "ada@example.com" or "Ada <ada@example.com>"')
    # A line break in a header would begin another header.
    if re.search(r"[\r\n]", mail.subject):
        raise invalid("bad-payload", "the payload: `subject` has a line break: write it in one line")
    return mail


def fingerprint(key: str) -> str:
    """Providers keep 80 bytes of metadata and 256 of a key; ours may have 512."""
    return hashlib.sha256(key.encode()).hexdigest()
