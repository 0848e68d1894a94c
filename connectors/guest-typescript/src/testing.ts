/**
 * For tests of a connector without a component: an upstream in a few lines, effects to dispatch, and what was sent.
 *
 *     const api = upstream({ config: { base_url: "http://api" }, answer: () => reply(201, { id: "i-1" }) });
 *     assert.deepEqual(connector.dispatch(effect("create", { title: "a" })), { tag: "confirmed", val: ... });
 *     assert.equal(api.requests[0].json.title, "a");
 *
 * It shows what the connector makes of answers. What it makes of real connections that break is for `tape connector test` to show.
 */
import type { Effect, Obligation, Receipt } from "./contract.ts";
import type { HttpFailure, HttpRequest, HttpResponse, Level } from "./host.ts";
import { use } from "./host.ts";
import { decodeUtf8, encodeUtf8 } from "./utf8.ts";

/** A request as the upstream saw it. Secrets are still names: a connector never has their values. */
export interface Asked {
  method: string;
  url: string;
  /** Below the origin, without the query. */
  path: string;
  query: Record<string, string>;
  /** Names in lower case. */
  headers: Record<string, string>;
  text: string;
  /** The body, if it is JSON. */
  json: any;
}

export type Told = HttpResponse | HttpFailure;

export interface Upstream {
  requests: Asked[];
  log: { level: Level; message: string; fields: [string, string][] }[];
}

/** Puts an upstream in place of the host, until the next one. */
export function upstream(options: { config?: unknown; answer?: (asked: Asked, nth: number) => Told; nowMs?: number }): Upstream {
  const seen: Upstream = { requests: [], log: [] };
  let drawn = 0;
  use({
    send(request) {
      const asked = asAsked(request);
      seen.requests.push(asked);
      const told = options.answer?.(asked, seen.requests.length) ?? denied(`${asked.method} ${asked.url}: the test answers nothing`);
      if ("tag" in told) throw told;
      return told;
    },
    config: () => JSON.stringify(options.config ?? {}),
    log: (level, message, fields) => void seen.log.push({ level, message, fields }),
    nowMs: () => options.nowMs ?? 0,
    randomBytes: (length) => Uint8Array.from({ length }, () => (drawn = (drawn * 167 + 13) % 256)),
  });
  return seen;
}

/** An answer. */
export function reply(status: number, body?: unknown, headers: Record<string, string> = {}): HttpResponse {
  const isText = typeof body === "string";
  const text = body === undefined ? "" : isText ? body : JSON.stringify(body);
  const all = { "content-type": isText ? "text/plain" : "application/json", ...headers };
  return { status, headers: Object.entries(all).map(([name, value]) => [name.toLowerCase(), value]), body: encodeUtf8(text) };
}

/** It left, and no answer came: it may have happened. */
export const lost = (reason = "the connection was closed before the answer"): HttpFailure => ({ tag: "maybe-sent", val: reason });

/** It did not leave. */
export const notSent = (reason = "connection refused"): HttpFailure => ({ tag: "not-sent", val: reason });

/** The host did not let it out. */
export const denied = (reason = "the host is not granted"): HttpFailure => ({ tag: "denied", val: reason });

/** The first attempt, with business key `inv-7` and idempotency key `r-1/d-0/tool/0`. */
export function effect(operation: string, payload: unknown, changed: Partial<Effect> = {}): Effect {
  return {
    tenant: "default", app: "app", runId: "r-1", idempotencyKey: "r-1/d-0/tool/0", decisionIndex: 0, tool: "tool", operation, businessKey: "inv-7",
    attempt: 1, payload: JSON.stringify(payload), deadlineMs: 0, traceParent: null, context: [], ...changed,
  };
}

/** To undo `done`, which has that receipt. */
export function obligation(done: Effect, receipt: Receipt | null, changed: Partial<Obligation> = {}): Obligation {
  return { effect: done, receipt, kind: "", payload: "null", idempotencyKey: `compensate:${done.idempotencyKey}`, attempt: 1, context: [], ...changed };
}

function asAsked({ method, url, headers, body }: HttpRequest): Asked {
  const { pathname, searchParams } = new URL(url);
  const text = body === null ? "" : decodeUtf8(body);
  const lower = headers.map(([name, value]) => [name.toLowerCase(), value]);
  return { method, url, path: pathname, query: Object.fromEntries(searchParams), headers: Object.fromEntries(lower), text, json: asJson(text) };
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
