"""The client of a Tape server: every call of services Tape and Admin, over one channel."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import grpc

from tape.v1.methods import AdminMethods, TapeMethods

DEFAULT_URL = "tape://127.0.0.1:7878"
DEFAULT_PORT = 7878
_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    # A server that is gone without a word is noticed, also on a stream that is quiet for hours.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A restarted server is found again at once, not after gRPC's own two minutes.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
)


class AdminClient(AdminMethods):
    """What operators do: start, list and dump runs, cancel, compensate, redrive, resolve, retry."""


class TapeClient(TapeMethods):
    """A connection to one Tape server.

    `url` is `tape://host[:port]` (plaintext) or `tapes://host[:port]` (TLS and a bearer token); the environment's
    `TAPE_URL`, then `tape://127.0.0.1:7878`, stand in for it. Every method takes keywords only, repeats itself while
    the server is unavailable for up to `patience_s` seconds (with one request id, so that nothing happens twice), and
    raises a class of `tape.errors` otherwise. `token` is a string, or a function that returns a fresh one; without it
    `tapes://` uses TAPE_TOKEN, or a Google ID token for the host when google-auth is installed.
    """

    admin: AdminClient

    def __init__(
        self,
        url: str | None = None,
        *,
        patience_s: float = 60.0,
        token: str | Callable[[], str] | None = None,
        root_certificates: bytes | None = None,
    ) -> None:
        self.url = url or os.environ.get("TAPE_URL") or DEFAULT_URL
        target, secure = parse_url(self.url)
        if secure:
            tls = grpc.ssl_channel_credentials(root_certificates)
            bearer = token or os.environ.get("TAPE_TOKEN") or _google_id_token(f"https://{target.rpartition(':')[0]}")
            if bearer is not None:
                tls = grpc.composite_channel_credentials(tls, grpc.metadata_call_credentials(_Bearer(bearer)))
            channel = grpc.aio.secure_channel(target, tls, options=_OPTIONS)
        else:
            channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        super().__init__(channel, patience_s=patience_s, metadata=())
        self.admin = AdminClient(channel, patience_s=patience_s, metadata=())

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel, for services that have no methods here."""
        return self._channel

    async def close(self) -> None:
        """Close the channel. Calls that are still running are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> TapeClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def parse_url(url: str) -> tuple[str, bool]:
    """`tape://host:port` as gRPC's target, and whether it is TLS.

    Raises ValueError for any other scheme, or without a host.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("tape", "tapes") or not parts.hostname:
        raise ValueError(f"{url!r} is not a Tape URL: tape://host[:port] or tapes://host[:port]")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    secure = parts.scheme == "tapes"
    return f"{host}:{parts.port or (443 if secure else DEFAULT_PORT)}", secure


class _Bearer(grpc.AuthMetadataPlugin):
    def __init__(self, token: str | Callable[[], str]) -> None:
        self._token = token

    def __call__(self, context: Any, callback: Any) -> None:
        try:
            value = self._token if isinstance(self._token, str) else self._token()
        except Exception as error:  # gRPC wants to be told, whatever it is
            callback((), error)
        else:
            callback((("authorization", f"Bearer {value}"),), None)


def _google_id_token(audience: str) -> Callable[[], str] | None:
    try:
        from google.auth.transport.requests import Request
        from google.oauth2 import id_token
    except ImportError:
        return None

    def fetch() -> str:
        return str(id_token.fetch_id_token(Request(), audience))

    return fetch
