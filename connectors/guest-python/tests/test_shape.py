import unittest
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from tape_guest import Malformed, Rule, read, schema


@dataclass
class Line:
    sku: str
    count: Annotated[int, Rule(least=1, most=9)]


@dataclass
class Order:
    id: Annotated[str, Rule(pattern=r"[a-z]+-\d+", like="o-7")]
    lines: list[Line]
    express: bool | None = None
    kind: Annotated[Literal["new", "old"], Rule(why="which")] = "new"
    note: Any = None
    limits: dict[str, float] = field(default_factory=dict[str, float])


class Shape(unittest.TestCase):
    def test_what_fits_is_read(self) -> None:
        order = read(Order, '{"id": "o-7", "lines": [{"sku": "a", "count": 1}], "express": null, "note": [1], "limits": {"x": 3}}')
        self.assertEqual(order, Order("o-7", [Line("a", 1)], note=[1], limits={"x": 3}))

    def test_what_does_not_fit_is_named_with_path_value_and_cure(self) -> None:
        line = '{"id": "o-7", "lines": [{"sku": "a", "count": %s}]}'
        for text, words in (
            ("[]", "expected an object, got []"),
            ('{"lines": []}', "`id`: is missing"),
            ('{"id": null, "lines": []}', "`id`: expected a text, got null"),
            ('{"id": "7", "lines": []}', '`id`: "7" does not fit; write it like "o-7"'),
            ('{"id": "xo-7 ", "lines": []}', '`id`: "xo-7 " does not fit; write it like "o-7"'),
            ('{"id": "o-7", "lines": {}}', "`lines`: expected a list, got {}"),
            ('{"id": "o-7", "lines": [], "kind": "odd"}', '`kind`: "odd" is none of new, old'),
            ('{"id": "o-7", "lines": [], "knd": "new"}', "`knd`: there is no such field; there are id, lines, express, kind, note, limits"),
            (line % "10", "`lines[0].count`: 10 is more than 9"),
            (line % "0", "`lines[0].count`: 0 is less than 1"),
            (line % "1.5", "`lines[0].count`: expected a whole number, got 1.5"),
            (line % "true", "`lines[0].count`: expected a whole number, got true"),
            ('{"id": "o-7", "lines": [], "express": "yes"}', '`express`: expected true or false, got "yes"'),
            ('{"id": "o-7", "lines": [], "limits": {"a": 1, "b": "two"}}', '`limits.b`: expected a number, got "two"'),
        ):
            with self.subTest(text), self.assertRaises(Malformed) as raised:
                read(Order, text)
            self.assertEqual(str(raised.exception), words)
        with self.assertRaisesRegex(Malformed, "it is no JSON"):
            read(Order, "{")

    def test_an_open_one_passes_over_what_it_does_not_know(self) -> None:
        self.assertEqual(read(Line, '{"sku": "a", "count": 1, "more": 1}', is_open=True), Line("a", 1))

    def test_the_json_schema_says_the_same(self) -> None:
        line = {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1, "maximum": 9}}
        self.assertEqual(
            schema(Order),
            {
                "type": "object",
                "required": ["id", "lines"],
                "additionalProperties": False,
                "properties": {
                    "id": {"type": "string", "pattern": r"^(?:[a-z]+-\d+)$"},
                    "lines": {
                        "type": "array",
                        "items": {"type": "object", "required": ["sku", "count"], "additionalProperties": False, "properties": line},
                    },
                    "express": {"type": "boolean"},
                    "kind": {"enum": ["new", "old"], "description": "which"},
                    "note": {},
                    "limits": {"type": "object", "additionalProperties": {"type": "number"}},
                },
            },
        )

    def test_what_cannot_stand_in_json_is_a_defect_that_is_named(self) -> None:
        for shape in (set[str], int | str, bytes):
            with self.assertRaises(TypeError):
                schema(shape)
