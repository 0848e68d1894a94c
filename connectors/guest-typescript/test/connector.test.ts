import assert from "node:assert/strict";
import { test } from "node:test";

import { Doubtful, defineConnector, invalid, log, object, operation, receipt, text } from "tape-guest";
import type { Operation } from "tape-guest";
import { effect, obligation, upstream } from "tape-guest/testing";

const Config = object({ base_url: text() });
const Payload = object({ title: text() });

type Given = Parameters<typeof operation<{ base_url: string }, { title: string }>>[1];

function made(functions: Partial<Given>) {
  upstream({ config: { base_url: "http://api" } });
  const create: Operation<{ base_url: string }, never> = operation(Config, {
    summary: "One item", semantics: "NON_IDEMPOTENT", payload: Payload, dispatch: () => receipt("i-1", { id: "i-1" }), ...functions,
  });
  return defineConnector({ name: "items", version: "1.0.0", summary: "Items", config: Config, operations: { create } });
}

const item = effect("create", { title: "a" });

test("describe is made from the same definition", () => {
  const described = JSON.parse(made({ observe: () => [] }).describe());
  assert.deepEqual(described.supports, { observe: true, status_check: false, compensate: false });
  assert.deepEqual(described.operations[0].payload_schema, {
    type: "object", properties: { title: { type: "string" } }, required: ["title"], additionalProperties: false,
  });
  assert.deepEqual([described.contract, described.offline, described.config_schema.required], ["1.0.0", false, ["base_url"]]);
});

test("functions get payload, configuration and reference", () => {
  const seen: unknown[] = [];
  const connector = made({ dispatch: (call) => (seen.push(call.payload.title, call.config.base_url, call.reference), receipt("x", null)) });
  connector.dispatch(item);
  connector.dispatch({ ...item, businessKey: null });
  assert.deepEqual(seen, ["a", "http://api", "inv-7", "a", "http://api", "r-1/d-0/tool/0"]);
});

test("a call that makes no sense is a failure of kind invalid", () => {
  const code = (changed: Parameters<typeof effect>[2]) => {
    const answer = made({}).dispatch({ ...item, ...changed });
    return answer.tag === "failed" && answer.val.kind === "invalid" ? answer.val.code : answer;
  };
  assert.equal(code({ operation: "destroy" }), "unknown-operation");
  assert.equal(code({ operation: "toString" }), "unknown-operation");
  assert.equal(code({ payload: "{" }), "bad-payload");
  assert.equal(code({ payload: "[]" }), "bad-payload");
  const connector = made({});
  upstream({ config: {} });
  const answer = connector.dispatch(item);
  assert.ok(answer.tag === "failed" && answer.val.code === "bad-config" && answer.val.message.includes("`base_url`: is missing"));
});

test("a defect of the connector is doubt, never an answer", () => {
  const broken = (): never => (undefined as never as { x: never }).x;
  const connector = made({ dispatch: broken, observe: broken, statusCheck: broken, compensate: broken });
  const answers = [connector.dispatch(item), connector.observe(item), connector.statusCheck(item, "x"), connector.compensate(obligation(item, null))];
  assert.deepEqual(answers.map((answer) => answer.tag), ["unknown", "inconclusive", "inconclusive", "unknown"]);
  assert.ok(answers.every((answer) => JSON.stringify(answer).includes("the connector failed: TypeError")));
});

test("every verdict has its answer", () => {
  const one = receipt("i-1", {});
  const observed = (found: typeof one[]) => made({ observe: () => found }).observe(item).tag;
  assert.deepEqual([observed([]), observed([one]), observed([one, one])], ["absent", "present", "duplicate"]);
  const checked = (found: ReturnType<NonNullable<Given["statusCheck"]>>) => made({ statusCheck: () => found }).statusCheck(item, "x");
  assert.deepEqual(checked(one), { tag: "committed", val: one });
  assert.deepEqual(checked("not-committed"), { tag: "not-committed" });
  assert.deepEqual(checked({ inProgressMs: 500 }), { tag: "in-progress", val: 500 });
  const doubtful = made({ observe: () => { throw new Doubtful("the books are closed", { hint: "ask on Monday" }); } }).observe(item);
  assert.deepEqual(doubtful, { tag: "inconclusive", val: { reason: "the books are closed", sent: "", hint: "ask on Monday" } });
  const refused = made({ compensate: () => { throw invalid("too-late", "it has been shipped"); } }).compensate(obligation(item, one));
  assert.ok(refused.tag === "failed" && refused.val.code === "too-late");
  assert.equal(made({}).compensate(obligation(item, one)).tag, "failed");
  assert.equal(made({}).observe(item).tag, "inconclusive");
});

test("lines go to the host with their fields", () => {
  const { log: lines } = upstream({});
  log.warn("slow", { ms: "300" });
  assert.deepEqual(lines, [{ level: "warn", message: "slow", fields: [["ms", "300"]] }]);
});
