"""A dataclass is the shape of a JSON object, and says three things at once: its Python type, what is checked, and its JSON Schema.

    @dataclass
    class NewItem:
        title: str
        count: Annotated[int, Rule(least=1)] = 1
        tags: list[str] = field(default_factory=list)

A field without a default is required. Known are str, int, float, bool, list, dict with str keys, Literal, `X | None`, dataclasses and Any.
"""

import json
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


class Malformed(ValueError):
    """Something that makes no sense, with the path at which it stands."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"`{path}`: {problem}" if path else problem)


@dataclass(frozen=True)
class Rule:
    """What a field must hold beyond its type: `Annotated[str, Rule(pattern=r"\\d+", like="2500")]`."""

    why: str = ""
    """For people: the schema's description."""
    pattern: str = ""
    """A regular expression that a text matches as a whole."""
    like: str = ""
    """Shown to whoever gets it wrong."""
    least: int | None = None
    most: int | None = None


def read(shape: type[T], text: str | bytes, *, is_open: bool = False) -> T:
    """`text` as the dataclass `shape`. A field that is not known is refused, so that a typing error is found; with `is_open` it is passed over, as in
    an upstream's answers.

    Raises Malformed."""
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise Malformed("", f"it is no JSON: {error}") from error
    return cast(T, _read(shape, value, "", is_open))


def schema(shape: object) -> dict[str, Any]:
    """The JSON Schema of a dataclass, or of a field's type."""
    shape, rule = _plain(shape)
    described = _schema(shape)
    given = {"description": rule.why, "pattern": f"^(?:{rule.pattern})$" if rule.pattern else "", "minimum": rule.least, "maximum": rule.most}
    return described | {key: value for key, value in given.items() if value not in ("", None)}


_NAMES: dict[object, tuple[str, str]] = {
    str: ("string", "a text"),
    bool: ("boolean", "true or false"),
    int: ("integer", "a whole number"),
    float: ("number", "a number"),
}


def _schema(shape: object) -> dict[str, Any]:
    origin, arguments = get_origin(shape), get_args(shape)
    if shape in _NAMES:
        return {"type": _NAMES[shape][0]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": schema(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema(arguments[1])}
    if isinstance(shape, type) and is_dataclass(shape):
        known = _fields(shape)
        described: dict[str, Any] = {"type": "object", "properties": {name: schema(one) for name, (one, _) in known.items()}}
        required = [name for name, (_, is_required) in known.items() if is_required]
        return described | ({"required": required} if required else {}) | {"additionalProperties": False}
    if shape is Any:
        return {}
    raise TypeError(f"{shape} cannot stand in JSON")


def _read(shape: object, value: object, path: str, is_open: bool) -> object:
    shape, rule = _plain(shape)
    origin, arguments = get_origin(shape), get_args(shape)
    if shape in _NAMES:
        return _scalar(cast(type, shape), rule, value, path)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool) != any(value is one for one in arguments if isinstance(one, bool)):
            raise Malformed(path, f"{_shown(value)} is none of {', '.join(map(str, arguments))}")
        return value
    if origin is list:
        if not isinstance(value, list):
            raise Malformed(path, f"expected a list, got {_shown(value)}")
        return [_read(arguments[0], one, f"{path}[{at}]", is_open) for at, one in enumerate(cast(list[object], value))]
    if origin is dict:
        return {name: _read(arguments[1], one, _below(path, name), is_open) for name, one in _object(value, path).items()}
    if isinstance(shape, type) and is_dataclass(shape):
        return _dataclass(shape, _object(value, path), path, is_open)
    return value


def _scalar(shape: type, rule: Rule, value: object, path: str) -> object:
    # JSON's true is no number, although Python's True is.
    fits = isinstance(value, (int, float) if shape is float else shape) and (shape is bool or not isinstance(value, bool))
    if not fits:
        raise Malformed(path, f"expected {_NAMES[shape][1]}, got {_shown(value)}")
    if rule.pattern and not re.fullmatch(rule.pattern, cast(str, value)):
        raise Malformed(path, f"{_shown(value)} does not fit" + (f"; write it like {_shown(rule.like)}" if rule.like else ""))
    if rule.least is not None and cast(int, value) < rule.least:
        raise Malformed(path, f"{value} is less than {rule.least}")
    if rule.most is not None and cast(int, value) > rule.most:
        raise Malformed(path, f"{value} is more than {rule.most}")
    return value


def _dataclass(shape: type, given: Mapping[str, object], path: str, is_open: bool) -> object:
    known = _fields(shape)
    if not is_open:
        for name in given:
            if name not in known:
                raise Malformed(_below(path, name), f"there is no such field; there are {', '.join(known)}")
    values: dict[str, object] = {}
    for name, (one, is_required) in known.items():
        if given.get(name) is None and not is_required:
            continue
        if name not in given:
            raise Malformed(_below(path, name), "is missing")
        values[name] = _read(one, given[name], _below(path, name), is_open)
    return shape(**values)


def _object(value: object, path: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise Malformed(path, f"expected an object, got {_shown(value)}")
    return cast(dict[str, object], value)


@cache
def _fields(shape: type) -> dict[str, tuple[object, bool]]:
    """Name to type, and whether it is required."""
    hints = get_type_hints(shape, include_extras=True)
    known: dict[str, tuple[object, bool]] = {}
    for one in fields(shape):
        known[one.name] = (hints[one.name], one.default is MISSING and one.default_factory is MISSING)
    return known


def _plain(shape: object) -> tuple[object, Rule]:
    """Without `| None` and Annotated; the rule that stood there."""
    rule = Rule()
    while True:
        if get_origin(shape) is Annotated:
            shape, *notes = get_args(shape)
            rule = next((note for note in notes if isinstance(note, Rule)), rule)
        elif get_origin(shape) in (Union, types.UnionType):
            some = [one for one in get_args(shape) if one is not type(None)]
            if len(some) != 1:
                raise TypeError(f"{shape}: of unions, only `X | None` can stand in JSON")
            shape = some[0]
        else:
            return shape, rule


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}..."
