import assert from "node:assert/strict";
import { test } from "node:test";

import { Doubtful, Refused, fetch, get, post, segment } from "tape-guest";
import { denied, lost, notSent, reply, upstream } from "tape-guest/testing";
import type { Told } from "tape-guest/testing";

function changed(told: Told): unknown {
  upstream({ answer: () => told });
  try {
    return post("http://bank/wires").json({}).change((body) => (body as { id: string }).id.toUpperCase());
  } catch (error) {
    return error;
  }
}

test("only an understood success is done", () => {
  assert.equal(changed(reply(201, { id: "w-1" })), "W-1");
  for (const told of [reply(201, {}), reply(200, "<html>"), reply(200), reply(204)]) {
    const error = changed(told);
    assert.ok(error instanceof Doubtful && error.message.includes("makes no sense"), String(error));
  }
});

test("a refusal is a failure with the upstream's code", () => {
  const failure = (told: Told) => {
    const error = changed(told);
    assert.ok(error instanceof Refused, String(error));
    return error.failure;
  };
  assert.equal(failure(reply(422, { error: { code: "no-funds" } })).code, "no-funds");
  assert.equal(failure(reply(422, { error: "RecordInvalid" })).code, "RecordInvalid");
  assert.equal(failure(reply(422, { error: "a whole sentence" })).code, "http-422");
  assert.equal(failure(reply(400, "no JSON")).code, "http-400");
  assert.equal(failure(reply(400, "null")).code, "http-400");
  assert.equal(failure(reply(403)).kind, "unauthorized");
  assert.equal(failure(reply(302)).kind, "invalid");
  const limited = failure(reply(429, "", { "Retry-After": "3" }));
  assert.deepEqual([limited.kind, limited.retryable, limited.retryAfterMs], ["rate-limited", true, 3000]);
  assert.equal(failure(reply(429, "", { "retry-after": "Wed, 21 Oct 2026 07:28:00 GMT" })).retryAfterMs, null);
});

test("a stumbling upstream and a lost answer are doubt", () => {
  for (const told of [...[408, 425, 500, 502, 503, 504].map((status) => reply(status, {})), lost()]) {
    assert.ok(changed(told) instanceof Doubtful, JSON.stringify(told));
  }
});

test("what did not leave may be sent again, what is not granted may not", () => {
  const [refused, forbidden] = [changed(notSent()), changed(denied())];
  assert.ok(refused instanceof Refused && refused.failure.retryable && refused.failure.kind === "unavailable");
  assert.ok(forbidden instanceof Refused && !forbidden.failure.retryable && forbidden.failure.code === "denied");
});

test("a question that fails is doubt, and 404 is an answer only where one thing was asked for", () => {
  const asks = [() => get("http://bank/w").look(() => 1), () => get("http://bank/w").find(() => 1)];
  for (const told of [reply(500), reply(429), notSent(), denied(), lost(), reply(200, "<html>")]) {
    upstream({ answer: () => told });
    for (const ask of asks) assert.throws(ask, Doubtful);
  }
  upstream({ answer: () => reply(404) });
  assert.throws(asks[0] as () => void, Doubtful);
  assert.equal(get("http://bank/w/1").find(() => 1), undefined);
});

test("what is removed may be gone already", () => {
  const removed = (told: Told) => {
    upstream({ answer: () => told });
    return post("http://bank/w/1/reverse").remove();
  };
  assert.equal(removed(reply(204)), true);
  assert.equal(removed(reply(404)), false);
  assert.throws(() => removed(reply(500)), Doubtful);
  assert.throws(() => removed(reply(403)), Refused);
});

test("what goes into a url is encoded, and bodies are what they say", () => {
  const bank = upstream({ answer: () => reply(200, {}) });
  get("http://bank/wires").query("reference", "a b&c=d/é!'()*").query("n", 1).look(() => 0);
  assert.equal(bank.requests[0]?.url, "http://bank/wires?reference=a%20b%26c%3Dd%2F%C3%A9%21%27%28%29%2A&n=1");
  assert.equal(segment("../x"), "..%2Fx");
  post("http://bank").form({ a: "1 2", "b[c]": "ü" }).change(() => 0);
  assert.deepEqual([bank.requests[1]?.text, bank.requests[1]?.headers["content-type"]], ["a=1%202&b%5Bc%5D=%C3%BC", "application/x-www-form-urlencoded"]);
  assert.equal(fetch(new URL("http://bank/x"), { method: "post", headers: { "Content-Type": "text/csv" }, body: "a;b" }).status, 200);
  assert.deepEqual([bank.requests[2]?.method, bank.requests[2]?.text, bank.requests[2]?.headers["content-type"]], ["POST", "a;b", "text/csv"]);
});
