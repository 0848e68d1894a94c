import assert from "node:assert/strict";
import { test } from "node:test";

import { upstream } from "tape-guest/testing";

import { decodeUtf8, encodeUtf8 } from "../src/utf8.ts";
import { Utf8Decoder } from "../src/web.ts";

const node = new TextDecoder("utf-8", { ignoreBOM: true });

test("UTF-8 is what Node makes of it, broken bytes included", () => {
  for (const text of ["", "plain", "Überweisung", "払い戻し", "🧾 and 𝄞", "\ud83e alone", "x".repeat(10_000)]) {
    assert.deepEqual(encodeUtf8(text), new TextEncoder().encode(text), text);
  }
  let state = 7;
  const byte = () => (state = (state * 1103515245 + 12345) & 0x7fffffff) >> 16 & 0xff;
  // Lead bytes are made frequent, so that sequences are long enough to break late.
  const odd = () => [byte(), 0xc3, 0xe0, 0xed, 0xf0, 0xf4, 0x80, 0x9f, 0xa0, 0xbf][byte() % 10] as number;
  for (let round = 0; round < 5_000; round++) {
    const bytes = Uint8Array.from({ length: byte() % 12 }, odd);
    assert.equal(decodeUtf8(bytes), node.decode(bytes), bytes.toString());
  }
});

test("a strict decoder refuses broken bytes, and lets U+FFFD itself pass", () => {
  const strict = new Utf8Decoder("utf-8", { fatal: true });
  assert.throws(() => strict.decode(Uint8Array.of(0xff)), TypeError);
  assert.equal(strict.decode(encodeUtf8("\ufffd")), "\ufffd");
  assert.equal(new Utf8Decoder().decode(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61)), "a");
  assert.throws(() => new Utf8Decoder("latin1"), RangeError);
});

test("random numbers come from the host", () => {
  upstream({});
  const drawn = Array.from({ length: 100 }, () => Math.random());
  assert.ok(drawn.every((one) => one >= 0 && one < 1) && new Set(drawn).size > 1);
});
