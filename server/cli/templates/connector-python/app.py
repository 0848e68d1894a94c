"""{{name}}: creates items in an API that deduplicates nothing."""

from dataclasses import dataclass

from tape_guest import Call, Obligation, Operation, Receipt, Request, define, receipt, segment


@dataclass
class Config:
    """A dataclass is type, check and JSON Schema in one; a field without a default is required."""

    base_url: str


@dataclass
class NewItem:
    title: str


@dataclass
class Item:
    """As the API shows it, which may show more."""

    id: str

    def receipt(self) -> Receipt:
        """What the agent's tool returns is the second part."""
        return receipt(self.id, {"id": self.id})


@dataclass
class Page:
    items: list[Item]


class Create(Operation[Config, NewItem]):
    summary = "One item"
    semantics = "NON_IDEMPOTENT"
    payload = NewItem

    def dispatch(self, call: Call[Config, NewItem]) -> Receipt:
        """Does it, once. 2xx is confirmed, 4xx failed, anything else unknown: never guess."""
        item = {"title": call.payload.title, "reference": call.reference}
        return request(call, "POST", "/items", json=item).change(Item).receipt()

    def observe(self, call: Call[Config, NewItem]) -> list[Receipt]:
        """After a lost answer: what do the API's books say?"""
        return [item.receipt() for item in found(call)]

    def compensate(self, call: Call[Config, NewItem], obligation: Obligation) -> Receipt:
        """Undoes it, once: looks first. What is not there needs no undoing."""
        named = obligation.receipt.external_ref if obligation.receipt else ""
        for item in found(call):
            if named in ("", item.id):
                request(call, "DELETE", f"/items/{segment(item.id)}").remove()
                return item.receipt()
        return receipt(named, {"status": "nothing to undo"})


def found(call: Call[Config, NewItem]) -> list[Item]:
    """The items that carry the effect's reference."""
    looked = request(call, "GET", "/items")
    looked.query = {"reference": call.reference}
    return looked.look(Page).items


def request(call: Call[Config, NewItem], method: str, path: str, *, json: object = None) -> Request:
    """A secret is named, never held: the host puts its value in on the way out."""
    url = call.config.base_url.rstrip("/") + path
    return Request(method, url, headers={"authorization": "Bearer {{secret:api-token}}"}, json=json)


Connector = define(
    name="{{name}}",
    version="0.1.0",
    summary="Items in an API that deduplicates nothing",
    config=Config,
    operations={"create": Create()},
    hosts={"config:base_url": "the API"},
    methods=("GET", "POST", "DELETE"),
    secrets={"api-token": "authorizes every request"},
)
