/** UTF-8, which the engine lacks. What is no text becomes U+FFFD, as everywhere on the web. */

const REPLACEMENT = 0xfffd;

export function encodeUtf8(text: string): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];
  for (const char of text) {
    const given = char.codePointAt(0) ?? REPLACEMENT;
    const code = given >= 0xd800 && given <= 0xdfff ? REPLACEMENT : given;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), tail(code));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), tail(code >> 6), tail(code));
    else bytes.push(0xf0 | (code >> 18), tail(code >> 12), tail(code >> 6), tail(code));
  }
  return Uint8Array.from(bytes);
}

export function decodeUtf8(bytes: Uint8Array): string {
  const parts: string[] = [];
  let chars: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    const [code, length] = next(bytes, at);
    at += length;
    chars.push(code);
    if (chars.length === 4096) {
      parts.push(String.fromCodePoint(...chars));
      chars = [];
    }
  }
  return parts.join("") + String.fromCodePoint(...chars);
}

function tail(code: number): number {
  return 0x80 | (code & 0x3f);
}

/** The character that begins at `at`, and how many bytes it takes: of one that is broken, those up to the break. */
function next(bytes: Uint8Array, at: number): [number, number] {
  const lead = bytes[at] as number;
  if (lead < 0x80) return [lead, 1];
  const [tails, bits, low, high] =
    lead >= 0xc2 && lead <= 0xdf ? [1, lead & 0x1f, 0x80, 0xbf]
    : lead >= 0xe0 && lead <= 0xef ? [2, lead & 0x0f, lead === 0xe0 ? 0xa0 : 0x80, lead === 0xed ? 0x9f : 0xbf]
    : lead >= 0xf0 && lead <= 0xf4 ? [3, lead & 0x07, lead === 0xf0 ? 0x90 : 0x80, lead === 0xf4 ? 0x8f : 0xbf]
    : [0, 0, 0, 0];
  if (tails === 0) return [REPLACEMENT, 1];
  let code = bits;
  for (let nth = 1; nth <= tails; nth++) {
    const byte = bytes[at + nth] ?? 0;
    // Only the first of them has narrower bounds: no overlong forms, no surrogates, nothing beyond U+10FFFF.
    if (byte < (nth === 1 ? low : 0x80) || byte > (nth === 1 ? high : 0xbf)) return [REPLACEMENT, nth];
    code = (code << 6) | (byte & 0x3f);
  }
  return [code, tails + 1];
}
