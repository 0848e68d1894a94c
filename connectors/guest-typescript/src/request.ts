/**
 * Requests, and the honest reading of what came back: took hold, did not, or nobody knows.
 *
 * A status of the 5xx kind, an answer that makes no sense, and a connection that broke are doubt, not failure: the upstream may have done it before
 * it stumbled.
 */
import type { HttpFailure, HttpResponse } from "./host.ts";
import { host } from "./host.ts";
import { decodeUtf8, encodeUtf8 } from "./utf8.ts";
import { Doubtful, refuse } from "./verdict.ts";

/** Makes sense of an answer's JSON; whatever it throws is doubt. `null` stands for an empty body with status 204. */
export type Reader<T> = (body: unknown, answer: Answer) => T;

/** A complete answer. */
export class Answer {
  readonly status: number;
  readonly body: Uint8Array;
  readonly #headers: Map<string, string>;

  constructor(response: HttpResponse) {
    this.status = response.status;
    this.body = response.body instanceof Uint8Array ? response.body : new Uint8Array(response.body);
    this.#headers = new Map(response.headers);
  }

  header(name: string): string | undefined {
    return this.#headers.get(name.toLowerCase());
  }

  text(): string {
    return decodeUtf8(this.body);
  }

  json(): unknown {
    return JSON.parse(this.text());
  }

  get isSuccess(): boolean {
    return this.status >= 200 && this.status <= 299;
  }

  /** For people: the status, and how the body begins. */
  summary(): string {
    return `the upstream said ${this.status}: ${this.text().slice(0, 200)}`;
  }

  /** `{"error": {"code": "..."}}`, `{"error": "..."}` or `{"code": "..."}`, where the upstream is kind enough. */
  code(): string {
    try {
      const { error, code } = (this.json() ?? {}) as { error?: string | { code?: unknown }; code?: unknown };
      for (const one of [typeof error === "object" ? error?.code : error, code]) if (typeof one === "string" && /^[\w.:-]{1,64}$/.test(one)) return one;
    } catch {
      // No JSON: then the status is the code.
    }
    return `http-${this.status}`;
  }

  /** The header's form in seconds; the form with a date is left to Tape's own backoff. */
  retryAfterMs(): number | null {
    const seconds = this.header("retry-after")?.trim() ?? "";
    return /^\d{1,9}$/.test(seconds) ? Number(seconds) * 1000 : null;
  }
}

/** A request that is being put together. Nothing leaves before `change`, `look`, `find` or `send`. */
export class Request {
  readonly method: string;
  #url: string;
  readonly #headers: [string, string][] = [];
  #body: Uint8Array | null = null;
  #timeoutMs: number | null = null;

  constructor(method: string, url: string) {
    this.method = method;
    this.#url = url;
  }

  get url(): string {
    return this.#url;
  }

  /** Adds `name=value`, both encoded. */
  query(name: string, value: string | number): this {
    this.#url += `${this.#url.includes("?") ? "&" : "?"}${segment(name)}=${segment(String(value))}`;
    return this;
  }

  /** The value may hold `{{secret:NAME}}`. */
  header(name: string, value: string): this {
    this.#headers.push([name, value]);
    return this;
  }

  json(body: unknown): this {
    this.#body = encodeUtf8(JSON.stringify(body));
    return this.header("content-type", "application/json");
  }

  form(fields: Record<string, string>): this {
    const pairs = Object.entries(fields).map(([name, value]) => `${segment(name)}=${segment(value)}`);
    this.#body = encodeUtf8(pairs.join("&"));
    return this.header("content-type", "application/x-www-form-urlencoded");
  }

  text(body: string, type: string): this {
    return this.bytes(encodeUtf8(body), type);
  }

  bytes(body: Uint8Array, type: string): this {
    this.#body = body;
    return this.header("content-type", type);
  }

  timeout(ms: number): this {
    this.#timeoutMs = ms;
    return this;
  }

  /**
   * Sends a request that is to change something. `done` makes sense of a 2xx answer.
   *
   * Throws `Refused` (it did not take hold) or `Doubtful` (it may have).
   */
  change<T>(done: Reader<T>): T {
    return understood(accepted(this.send()), done);
  }

  /** Sends a request that takes something away: true if it did, false if the upstream says 404, so that there was nothing. Throws as `change` does. */
  remove(): boolean {
    const answer = this.send();
    if (answer.status === 404) return false;
    accepted(answer);
    return true;
  }

  /** Sends a request that only looks. Throws `Doubtful` for whatever `found` does not understand. */
  look<T>(found: Reader<T>): T {
    const answer = this.#ask();
    if (answer.isSuccess) return understood(answer, found);
    throw new Doubtful(answer.summary());
  }

  /** Looks for one thing by its id: undefined if the upstream says 404. */
  find<T>(found: Reader<T>): T | undefined {
    const answer = this.#ask();
    if (answer.status === 404) return undefined;
    if (answer.isSuccess) return understood(answer, found);
    throw new Doubtful(answer.summary());
  }

  /** Sends it and waits for the whole answer, whatever its status. Throws `Refused` or `Doubtful` where there is none. */
  send(): Answer {
    const failure = this.#exchange();
    if (failure instanceof Answer) return failure;
    if (failure.tag === "denied") throw refuse("unauthorized", "denied", failure.val);
    if (failure.tag === "not-sent") throw refuse("unavailable", "not-sent", failure.val, { retryable: true });
    throw new Doubtful(failure.val);
  }

  #ask(): Answer {
    const answer = this.#exchange();
    if (answer instanceof Answer) return answer;
    throw new Doubtful(answer.val);
  }

  #exchange(): Answer | HttpFailure {
    const request = { method: this.method, url: this.#url, headers: this.#headers, body: this.#body, timeoutMs: this.#timeoutMs };
    try {
      return new Answer(host().send(request));
    } catch (thrown) {
      const failure = failureOf(thrown);
      if (failure === undefined) throw thrown;
      return failure;
    }
  }
}

/** Reads; must not change anything upstream. */
export const get = (url: string): Request => new Request("GET", url);
export const post = (url: string): Request => new Request("POST", url);
export const put = (url: string): Request => new Request("PUT", url);
export const patch = (url: string): Request => new Request("PATCH", url);
export const del = (url: string): Request => new Request("DELETE", url);

/** `value` as one segment of a path, or as a name or value of a query. */
export function segment(value: string): string {
  return encodeURIComponent(value).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** The answer to a request that was to change something, if it is a success. Throws the failure or the doubt that it is otherwise. */
function accepted(answer: Answer): Answer {
  if (answer.isSuccess) return answer;
  const { status } = answer;
  const refused = (kind: Parameters<typeof refuse>[0], retryable = false) =>
    refuse(kind, answer.code(), answer.summary(), { retryable, retryAfterMs: retryable ? answer.retryAfterMs() : null });
  if (status === 401 || status === 403) throw refused("unauthorized");
  if (status === 429) throw refused("rate-limited", true);
  if (status >= 300 && status <= 399) throw refused("invalid");
  // 408 and 425: the upstream stopped waiting for the request, or never began.
  if (status >= 400 && status <= 499 && status !== 408 && status !== 425) throw refused("rejected");
  throw new Doubtful(answer.summary());
}

function understood<T>(answer: Answer, reader: Reader<T>): T {
  try {
    return reader(answer.body.length === 0 && answer.status === 204 ? null : answer.json(), answer);
  } catch (error) {
    if (error instanceof Doubtful) throw error;
    throw new Doubtful(`the upstream said ${answer.status}, but its answer makes no sense: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The engine throws the error of a `result` as it is, or as the payload of an Error. */
function failureOf(thrown: unknown): HttpFailure | undefined {
  for (const one of [thrown, (thrown as { payload?: unknown } | null)?.payload]) {
    const { tag, val } = (one ?? {}) as Partial<HttpFailure>;
    if (typeof tag === "string" && typeof val === "string") return { tag, val };
  }
  return undefined;
}
