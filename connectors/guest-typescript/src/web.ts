/**
 * What the web has and the engine has not: console, TextEncoder, TextDecoder, URL, URLSearchParams, structuredClone, crypto's random numbers, and a
 * Math.random that differs from call to call. What cannot work says so: a call is synchronous, so there is nobody to wait for a promise or a timer.
 */
import "core-js/actual/structured-clone.js";
import "core-js/actual/url-search-params/index.js";
import "core-js/actual/url/index.js";

import type { Level } from "./host.ts";
import { host } from "./host.ts";
import { decodeUtf8, encodeUtf8 } from "./utf8.ts";

const RANDOM_BYTES_MAX = 65536;

class Utf8Encoder {
  readonly encoding = "utf-8";

  encode(text = ""): Uint8Array<ArrayBuffer> {
    return encodeUtf8(text);
  }
}

class Utf8Decoder {
  readonly encoding = "utf-8";
  readonly #fatal: boolean;

  constructor(label = "utf-8", { fatal = false }: { fatal?: boolean } = {}) {
    if (!/^utf-?8$/i.test(label.trim())) throw new RangeError(`TextDecoder knows utf-8, not ${label}`);
    this.#fatal = fatal;
  }

  decode(bytes: ArrayBuffer | ArrayBufferView = new Uint8Array()): string {
    const view = ArrayBuffer.isView(bytes) ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) : new Uint8Array(bytes);
    const text = decodeUtf8(view);
    if (this.#fatal && text.includes("\ufffd") && !sameBytes(encodeUtf8(text), view)) throw new TypeError("the bytes are no UTF-8");
    return text.startsWith("\ufeff") ? text.slice(1) : text;
  }
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

function getRandomValues<T extends ArrayBufferView>(into: T): T {
  if (into.byteLength > RANDOM_BYTES_MAX) throw new RangeError(`at most ${RANDOM_BYTES_MAX} random bytes at once`);
  new Uint8Array(into.buffer, into.byteOffset, into.byteLength).set(host().randomBytes(into.byteLength));
  return into;
}

function randomUUID(): string {
  const bytes = host().randomBytes(16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** The engine starts from one snapshot, so its own Math.random gives the same numbers in every call. */
function random(): number {
  const [high = 0, low = 0] = getRandomValues(new Uint32Array(2));
  return ((high >>> 5) * 67108864 + (low >>> 6)) / 9007199254740992;
}

const print = (level: Level) => (...parts: unknown[]): void => host().log(level, parts.map(worded).join(" "), []);

function worded(part: unknown): string {
  if (typeof part === "string") return part;
  if (part instanceof Error) return `${part.name}: ${part.message}`;
  try {
    return JSON.stringify(part) ?? String(part);
  } catch {
    return String(part);
  }
}

const impossible = (name: string, cure: string) => (): never => {
  throw new Error(`${name} does not work in a connector, whose calls are synchronous. ${cure}`);
};

const console = { trace: print("trace"), debug: print("debug"), log: print("info"), info: print("info"), warn: print("warn"), error: print("error") };

const wanted: Record<string, unknown> = {
  console,
  TextEncoder: Utf8Encoder,
  TextDecoder: Utf8Decoder,
  crypto: { getRandomValues, randomUUID },
  fetch: impossible("the global fetch", 'Use `import { fetch } from "tape-guest"`, which returns the answer itself.'),
  setTimeout: impossible("setTimeout", "Answer with a retryable failure, or `in-progress`: Tape comes back."),
  setInterval: impossible("setInterval", "Answer with a retryable failure, or `in-progress`: Tape comes back."),
};
for (const [name, value] of Object.entries(wanted)) {
  if (!(name in globalThis)) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}
Math.random = random;

export { Utf8Decoder, Utf8Encoder };
