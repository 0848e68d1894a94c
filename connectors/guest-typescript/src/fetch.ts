/** `fetch` for those who are used to it. It returns the answer itself: a connector has nobody who would wait for a promise. */
import type { Answer } from "./request.ts";
import { Request } from "./request.ts";

export interface FetchInit {
  method?: string;
  /** Values may hold `{{secret:NAME}}`. */
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  timeoutMs?: number;
}

/** Throws `Refused` or `Doubtful` where there is no complete answer. A status is no error: `Request.change` reads it honestly, you then have to. */
export function fetch(url: string | { toString(): string }, init: FetchInit = {}): Answer {
  const request = new Request(init.method?.toUpperCase() ?? "GET", url.toString());
  const headers = Object.entries(init.headers ?? {});
  const type = headers.find(([name]) => name.toLowerCase() === "content-type")?.[1] ?? "text/plain;charset=UTF-8";
  for (const [name, value] of headers) if (name.toLowerCase() !== "content-type") request.header(name, value);
  if (typeof init.body === "string") request.text(init.body, type);
  else if (init.body) request.bytes(init.body, type);
  if (init.timeoutMs !== undefined) request.timeout(init.timeoutMs);
  return request.send();
}
