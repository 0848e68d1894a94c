"""Mail through the HTTP API of a provider: Postmark or Resend.

The two settle a lost answer each in its own way, so what this connector is depends on its configuration.
"""

from mail import Config, Mail
from postmark import Postmark
from resend import Resend
from tape_guest import Operation, define


def operations(config: Config) -> dict[str, Operation[Config, Mail]]:
    return {"send": Postmark() if config.provider == "postmark" else Resend()}


Connector = define(
    name="email",
    version="1.0.0",
    summary="Mail through Postmark or Resend",
    config=Config,
    operations=operations,
    hosts={
        "https://api.postmarkapp.com": "Postmark, if it is the provider",
        "https://api.resend.com": "Resend, if it is the provider",
        "config:base_url": "instead, where the configuration names another (a sandbox, a proxy)",
    },
    methods=("GET", "POST"),
    secrets={"email-token": "Postmark's server token, or Resend's API key with sending access"},
)
