"""{{name}}: creates items in an API that deduplicates nothing."""

import json

from tape_guest import Doubtful, Refused, Request, config, dispatched, need_operation, payload, segment
from wit_world import exports
from wit_world.exports.connector import (
    CompensateAnswer,
    CompensateAnswer_Failed,
    CompensateAnswer_Resolved,
    CompensateAnswer_Unknown,
    DispatchAnswer,
    Doubt,
    Effect,
    Obligation,
    ObserveAnswer,
    ObserveAnswer_Absent,
    ObserveAnswer_Duplicate,
    ObserveAnswer_Inconclusive,
    ObserveAnswer_Present,
    Receipt,
    StatusAnswer,
    StatusAnswer_Inconclusive,
)

DESCRIPTION = {
    "name": "{{name}}",
    "version": "0.1.0",
    "contract": "1.0.0",
    "summary": "Items in an API that deduplicates nothing",
    "operations": [
        {
            "name": "create",
            "summary": "One item",
            "semantics": "NON_IDEMPOTENT",
            "payload_schema": {"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}},
        }
    ],
    "supports": {"observe": True, "status_check": False, "compensate": True},
    "config_schema": {"type": "object", "required": ["base_url"], "properties": {"base_url": {"type": "string"}}},
    "asks": {
        "hosts": [{"host": "config:base_url", "why": "the API"}],
        "secrets": [{"name": "api-token", "why": "authorizes every request"}],
    },
}


class Connector(exports.Connector):
    def describe(self) -> str:
        """Who it is. Asked once, at load."""
        return json.dumps(DESCRIPTION)

    def dispatch(self, effect: Effect) -> DispatchAnswer:
        """Does it, once. 2xx is confirmed, 4xx failed, anything else unknown: never guess."""

        def create() -> Receipt:
            need_operation(effect, "create")
            item = {"title": payload(effect.payload, "title")["title"], "reference": reference(effect)}
            return request("POST", "/items", json=item).change(receipt)

        return dispatched(create)

    def status_check(self, effect: Effect, reference: str) -> StatusAnswer:
        """For APIs that can be asked about a request. This one cannot."""
        return StatusAnswer_Inconclusive(Doubt(reason="the API keeps no request ids", sent="", hint=""))

    def observe(self, effect: Effect) -> ObserveAnswer:
        """After a lost answer: what do the API's books say?"""
        try:
            receipts = found(effect)
        except Doubtful as doubtful:
            return ObserveAnswer_Inconclusive(doubtful.doubt)
        match receipts:
            case []:
                return ObserveAnswer_Absent()
            case [one]:
                return ObserveAnswer_Present(one)
            case _:
                return ObserveAnswer_Duplicate(receipts)

    def compensate(self, obligation: Obligation) -> CompensateAnswer:
        """Undoes it, once: looks first. What is not there needs no undoing."""
        named = obligation.receipt.external_ref if obligation.receipt else ""
        try:
            meant = [one for one in found(obligation.effect) if not named or one.external_ref == named]
            if not meant:
                return CompensateAnswer_Resolved(Receipt(external_ref=named, response='{"status": "nothing to undo"}'))
            path = f"/items/{segment(meant[0].external_ref)}"
            return CompensateAnswer_Resolved(request("DELETE", path).change(lambda _: meant[0]))
        except Refused as refused:
            return CompensateAnswer_Failed(refused.failure)
        except Doubtful as doubtful:
            return CompensateAnswer_Unknown(doubtful.doubt)


def request(method: str, path: str, *, query: dict[str, str] | None = None, json: object = None) -> Request:
    """A secret is named, never held: the host puts its value in on the way out."""
    url = config()["base_url"].rstrip("/") + path
    headers = {"authorization": "Bearer {{secret:api-token}}"}
    return Request(method, url, query=query or {}, headers=headers, json=json)


def found(effect: Effect) -> list[Receipt]:
    """The items that carry the effect's reference."""
    looked = request("GET", "/items", query={"reference": reference(effect)})
    return looked.look(lambda body: [receipt(item) for item in body["items"]])


def receipt(item: dict[str, str]) -> Receipt:
    return Receipt(external_ref=item["id"], response=json.dumps({"id": item["id"]}))


def reference(effect: Effect) -> str:
    """What the API's own books know the effect by."""
    return effect.business_key or effect.idempotency_key
