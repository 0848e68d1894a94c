/** Not shipped: what a component has of the web's globals, tried inside one. */
import { defineConnector, object, operation, receipt, text } from "tape-guest";

const Config = object({});

export const connector = defineConnector({
  name: "globals",
  version: "1.0.0",
  summary: "What a component has of the web's globals",
  config: Config,
  offline: true,
  operations: {
    try: operation(Config, {
      summary: "Tries them",
      semantics: "IDEMPOTENT",
      payload: object({ what: text() }),
      dispatch({ payload: { what } }) {
        const tries: Record<string, () => unknown> = { url, encoding, random, clone, waiting };
        console.warn("trying", what, { at: 1 }, new Error("no error"));
        return receipt("", (tries[what] ?? (() => "unknown"))());
      },
    }),
  },
});

function url() {
  const url = new URL("../c?x=1&y=a%20b#top", "https://user@example.com:8443/a/b/");
  url.searchParams.append("z", "ü");
  return { href: url.href, host: url.host, y: url.searchParams.get("y"), params: new URLSearchParams({ a: "b c" }).toString() };
}

function encoding() {
  const bytes = new TextEncoder().encode("é🧾");
  return { bytes: Array.from(bytes), text: new TextDecoder().decode(bytes), base64: btoa("abc") };
}

function random() {
  const [one, other] = [crypto.randomUUID(), crypto.randomUUID()];
  const drawn = crypto.getRandomValues(new Uint32Array(8));
  return { uuid: /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(one), differ: one !== other, some: drawn.some((n) => n > 0), number: Math.random() };
}

function clone() {
  return structuredClone({ when: new Date(0), set: new Set([1]) }).set.has(1);
}

function waiting() {
  const said = (act: () => unknown) => {
    try {
      return act();
    } catch (error) {
      return (error as Error).message;
    }
  };
  return { fetch: said(() => fetch("https://example.com")), timer: said(() => setTimeout(() => undefined, 1)) };
}
