/**
 * What a connector can reach. In a component it is Tape's host; in a test of yours it is what `tape-guest/testing` puts there.
 */

/** A request as it leaves. */
export interface HttpRequest {
  method: string;
  url: string;
  headers: [string, string][];
  body: Uint8Array | null;
  timeoutMs: number | null;
}

/** A complete answer, whatever its status. */
export interface HttpResponse {
  status: number;
  /** Names in lower case. */
  headers: [string, string][];
  body: Uint8Array;
}

/** Why there is no answer. After `denied` and `not-sent` nothing happened upstream: the host states that as a fact. */
export interface HttpFailure {
  tag: "denied" | "not-sent" | "maybe-sent" | "too-large";
  val: string;
}

export type Level = "trace" | "debug" | "info" | "warn" | "error";

export interface Host {
  /** Throws an {@link HttpFailure}. */
  send(request: HttpRequest): HttpResponse;
  /** JSON text. */
  config(): string;
  log(level: Level, message: string, fields: [string, string][]): void;
  /** Unix milliseconds. */
  nowMs(): number;
  randomBytes(length: number): Uint8Array;
}

let current: Host | undefined;

/** Puts `host` in place, and returns what was there before. */
export function use(host: Host | undefined): Host | undefined {
  const before = current;
  current = host;
  return before;
}

export function host(): Host {
  if (current === undefined) {
    throw new Error("there is no host: a connector runs in a component, or in a test over `upstream(...)` of tape-guest/testing");
  }
  return current;
}
