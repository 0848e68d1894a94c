// Plain functions in Node, without a component: npm test
import assert from "node:assert/strict";
import { test } from "node:test";

import { effect, lost, reply, upstream } from "tape-guest/testing";

import { connector } from "../src/connector.ts";

const config = { base_url: "https://api.example.com" };
const item = effect("create", { title: "a new item" });

test("an item carries the business key as its reference", () => {
  const api = upstream({ config, answer: () => reply(201, { id: "i-1" }) });
  assert.deepEqual(connector.dispatch(item), { tag: "confirmed", val: { externalRef: "i-1", response: '{"id":"i-1"}' } });
  assert.deepEqual(api.requests[0]?.json, { title: "a new item", reference: "inv-7" });
});

test("a lost answer is unknown", () => {
  upstream({ config, answer: () => lost() });
  assert.equal(connector.dispatch(item).tag, "unknown");
});

test("the books are counted", () => {
  const observed = (items: object[]) => {
    upstream({ config, answer: () => reply(200, { items }) });
    return connector.observe(item).tag;
  };
  assert.deepEqual([observed([]), observed([{ id: "i-1" }]), observed([{ id: "i-1" }, { id: "i-2" }])], ["absent", "present", "duplicate"]);
});
