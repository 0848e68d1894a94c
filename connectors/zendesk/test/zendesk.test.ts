import assert from "node:assert/strict";
import { test } from "node:test";

import { effect, lost, obligation, reply, upstream } from "tape-guest/testing";
import type { Told } from "tape-guest/testing";

import { connector } from "../src/connector.ts";

const config = { base_url: "https://acme.zendesk.com" };
const TICKET = { subject: "The wire bounced", comment: "Please look." };

const told = (answer: (nth: number) => Told) => upstream({ config, answer: (_, nth) => answer(nth) });

test("a ticket carries key, business key and a token that it does not hold", () => {
  const zendesk = told(() => reply(201, { ticket: { id: 35436, status: "new" } }));
  const answer = connector.dispatch(effect("create", { ...TICKET, tags: ["finance"] }));
  assert.deepEqual(answer, { tag: "confirmed", val: { externalRef: "35436", response: '{"id":"35436","status":"new"}' } });
  const [asked] = zendesk.requests;
  assert.equal(asked?.headers["authorization"], "Bearer {{secret:zendesk-token}}");
  assert.equal(asked?.headers["idempotency-key"], "r-1/d-0/tool/0");
  assert.deepEqual(asked?.json, {
    ticket: { subject: "The wire bounced", comment: { body: "Please look." }, tags: ["finance"], external_id: "inv-7" },
  });
});

test("a key that is too long for Zendesk stays at home", () => {
  const zendesk = told(() => reply(201, { ticket: { id: 1 } }));
  connector.dispatch(effect("create", TICKET, { idempotencyKey: "k".repeat(256) }));
  assert.equal(zendesk.requests[0]?.headers["idempotency-key"], undefined);
});

test("a payload that makes no sense never leaves", () => {
  const zendesk = told(() => reply(201));
  for (const [payload, words] of [
    [{ subject: "a" }, "`comment`: is missing"],
    [{ ...TICKET, priority: "whenever" }, 'priority`: "whenever" is none of low, normal, high, urgent'],
    [{ ...TICKET, requester: { name: "Ada", email: "ada" } }, 'like "ada@example.com"'],
    [{ ...TICKET, subjet: "a" }, "`subjet`: there is no such field"],
  ] as const) {
    const answer = connector.dispatch(effect("create", payload));
    assert.equal(answer.tag, "failed");
    assert.ok(answer.tag === "failed" && answer.val.kind === "invalid" && answer.val.message.includes(words), JSON.stringify(answer));
  }
  assert.equal(zendesk.requests.length, 0);
});

test("Zendesk's own code stands in the failure", () => {
  told(() => reply(422, { error: "RecordInvalid", description: "Record validation errors" }));
  const answer = connector.dispatch(effect("create", TICKET));
  assert.ok(answer.tag === "failed" && answer.val.code === "RecordInvalid" && answer.val.kind === "rejected", JSON.stringify(answer));
});

test("the books are counted, and case matters", () => {
  const tickets = [{ id: 9, external_id: "inv-7" }, { id: 8, external_id: "INV-7" }, { id: 7, external_id: "inv-7" }];
  const observe = (some: typeof tickets) => {
    told(() => reply(200, { tickets: some, next_page: null }));
    return connector.observe(effect("create", TICKET));
  };
  assert.equal(observe([]).tag, "absent");
  assert.equal(observe(tickets.slice(0, 2)).tag, "present");
  const both = observe(tickets);
  assert.deepEqual(both.tag === "duplicate" && both.val.map((one) => one.externalRef), ["7", "9"]);
});

test("books with another page do not tell", () => {
  told(() => reply(200, { tickets: [], next_page: "https://acme.zendesk.com/api/v2/tickets.json?page=2" }));
  assert.equal(connector.observe(effect("create", TICKET)).tag, "inconclusive");
});

test("undoing looks first", () => {
  const done = effect("create", TICKET);
  const receipt = { externalRef: "7", response: "{}" };
  const gone = told(() => reply(404, { error: "RecordNotFound" }));
  assert.equal(connector.compensate(obligation(done, receipt)).tag, "resolved");
  assert.deepEqual(gone.requests.map((one) => one.method), ["GET"]);
  const there = told((nth) => (nth === 1 ? reply(200, { ticket: { id: 7 } }) : reply(204)));
  assert.equal(connector.compensate(obligation(done, receipt)).tag, "resolved");
  assert.deepEqual(there.requests.map((one) => `${one.method} ${one.path}`), ["GET /api/v2/tickets/7.json", "DELETE /api/v2/tickets/7.json"]);
  told((nth) => (nth === 1 ? reply(200, { ticket: { id: 7 } }) : lost()));
  assert.equal(connector.compensate(obligation(done, receipt)).tag, "unknown");
});
