import assert from "node:assert/strict";
import { test } from "node:test";

import { Malformed, anything, flag, integer, list, object, optional, text } from "tape-guest";
import type { Of } from "tape-guest";

const Order = object({
  id: text({ pattern: /[a-z]+-\d+/, like: "o-7" }),
  lines: list(object({ sku: text(), count: integer({ min: 1, max: 9 }) })),
  express: optional(flag()),
  note: optional(anything()),
});

test("what fits is read, and its type is known", () => {
  const order: Of<typeof Order> = Order.read({ id: "o-7", lines: [{ sku: "a", count: 1 }], express: null });
  const count: number | undefined = order.lines[0]?.count;
  assert.deepEqual([order, count], [{ id: "o-7", lines: [{ sku: "a", count: 1 }] }, 1]);
});

test("what does not fit is named with path, value and cure", () => {
  const said = (value: unknown) => {
    try {
      return Order.read(value);
    } catch (error) {
      assert.ok(error instanceof Malformed);
      return error.message;
    }
  };
  assert.equal(said([]), "expected an object, got []");
  assert.equal(said({ lines: [] }), "`id`: is missing");
  assert.equal(said({ id: "7", lines: [] }), '`id`: "7" does not fit; write it like "o-7"');
  assert.equal(said({ id: "xo-7 ", lines: [] }), '`id`: "xo-7 " does not fit; write it like "o-7"');
  assert.equal(said({ id: "o-7", lines: [{ sku: "a", count: 10 }] }), "`lines[0].count`: 10 is not between 1 and 9");
  assert.equal(said({ id: "o-7", lines: [{ sku: "a", count: 1.5 }] }), "`lines[0].count`: expected a whole number, got 1.5");
  assert.equal(said({ id: "o-7", lines: {} }), "`lines`: expected a list, got {}");
  assert.equal(said({ id: "o-7", lines: [], express: "yes" }), '`express`: expected true or false, got "yes"');
  assert.equal(said({ id: "o-7", lines: [], expres: true }), "`expres`: there is no such field; there are id, lines, express, note");
});

test("an open object passes over what it does not know", () => {
  assert.deepEqual(object({ id: text() }, { open: true }).read({ id: "a", more: 1 }), { id: "a" });
});

test("the JSON Schema says the same", () => {
  assert.deepEqual(Order.schema, {
    type: "object",
    properties: {
      id: { type: "string", pattern: "^(?:[a-z]+-\\d+)$" },
      lines: {
        type: "array",
        items: {
          type: "object", additionalProperties: false, required: ["sku", "count"],
          properties: { sku: { type: "string" }, count: { type: "integer", minimum: 1, maximum: 9 } },
        },
      },
      express: { type: "boolean" },
      note: {},
    },
    required: ["id", "lines"],
    additionalProperties: false,
  });
});
