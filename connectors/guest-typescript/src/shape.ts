/**
 * One description of a JSON value, used three times: as its TypeScript type, as the check of what comes in, and as the JSON Schema in `describe`.
 *
 *     const Payload = object({ title: text(), tags: optional(list(text())) });
 *     type Payload = Of<typeof Payload>; // { title: string; tags?: string[] }
 */

/** Something that makes no sense, with the path at which it stands. */
export class Malformed extends Error {
  constructor(path: string, problem: string) {
    super(path === "" ? problem : `\`${path}\`: ${problem}`);
    this.name = "Malformed";
  }
}

export interface Shape<T> {
  /** JSON Schema. */
  readonly schema: Record<string, unknown>;
  readonly isOptional?: boolean;
  /** `value`, of which only what is described is left. Throws {@link Malformed}. */
  read(value: unknown, path?: string): T;
}

/** The type that a shape describes. */
export type Of<S> = S extends Shape<infer T> ? T : never;

type OptionalKeys<F> = { [K in keyof F]: F[K] extends { readonly isOptional: true } ? K : never }[keyof F];
type Fields<F> = { [K in Exclude<keyof F, OptionalKeys<F>>]: Of<F[K]> } & { [K in OptionalKeys<F>]?: Of<F[K]> };

/** A text. `pattern` is a regular expression that it must match as a whole; `like` shows one that does. */
export function text(options: { why?: string; pattern?: RegExp; like?: string; oneOf?: readonly string[] } = {}): Shape<string> {
  const { why, pattern, like, oneOf } = options;
  const schema: Record<string, unknown> = { type: "string" };
  if (why !== undefined) schema["description"] = why;
  if (pattern !== undefined) schema["pattern"] = `^(?:${pattern.source})$`;
  if (oneOf !== undefined) schema["enum"] = oneOf;
  const whole = pattern && new RegExp(`^(?:${pattern.source})$`, pattern.flags);
  return {
    schema,
    read(value, path = "") {
      if (typeof value !== "string") throw new Malformed(path, `expected a text, got ${shown(value)}`);
      if (whole && !whole.test(value)) throw new Malformed(path, `${shown(value)} does not fit${like === undefined ? "" : `; write it like ${shown(like)}`}`);
      if (oneOf && !oneOf.includes(value)) throw new Malformed(path, `${shown(value)} is none of ${oneOf.join(", ")}`);
      return value;
    },
  };
}

/** A whole number that JavaScript holds exactly. Money and larger ones are texts. */
export function integer(options: { why?: string; min?: number; max?: number } = {}): Shape<number> {
  const { why, min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = options;
  const schema: Record<string, unknown> = { type: "integer" };
  if (why !== undefined) schema["description"] = why;
  if (options.min !== undefined) schema["minimum"] = min;
  if (options.max !== undefined) schema["maximum"] = max;
  return {
    schema,
    read(value, path = "") {
      if (typeof value !== "number" || !Number.isSafeInteger(value)) throw new Malformed(path, `expected a whole number, got ${shown(value)}`);
      if (value < min || value > max) throw new Malformed(path, `${value} is not between ${min} and ${max}`);
      return value;
    },
  };
}

export function flag(options: { why?: string } = {}): Shape<boolean> {
  return {
    schema: options.why === undefined ? { type: "boolean" } : { type: "boolean", description: options.why },
    read(value, path = "") {
      if (typeof value !== "boolean") throw new Malformed(path, `expected true or false, got ${shown(value)}`);
      return value;
    },
  };
}

/** Any JSON value. */
export function anything(): Shape<unknown> {
  return { schema: {}, read: (value) => value };
}

export function list<T>(item: Shape<T>, options: { why?: string } = {}): Shape<T[]> {
  const schema = { type: "array", items: item.schema, ...(options.why === undefined ? {} : { description: options.why }) };
  return {
    schema,
    read(value, path = "") {
      if (!Array.isArray(value)) throw new Malformed(path, `expected a list, got ${shown(value)}`);
      return value.map((one, at) => item.read(one, `${path}[${at}]`));
    },
  };
}

/** May be missing, or null. */
export function optional<T>(shape: Shape<T>): Shape<T | undefined> & { readonly isOptional: true } {
  return {
    schema: shape.schema,
    isOptional: true,
    read: (value, path) => (value === undefined || value === null ? undefined : shape.read(value, path)),
  };
}

/** An object with these fields. Others are refused, so that a typing error is found; with `open` they are passed over, as in an upstream's answers. */
export function object<F extends Record<string, Shape<unknown>>>(fields: F, options: { open?: boolean } = {}): Shape<Fields<F>> {
  const entries = Object.entries(fields);
  const required = entries.filter(([, field]) => !field.isOptional).map(([name]) => name);
  const schema: Record<string, unknown> = { type: "object", properties: Object.fromEntries(entries.map(([name, field]) => [name, field.schema])) };
  if (required.length > 0) schema["required"] = required;
  if (!options.open) schema["additionalProperties"] = false;
  return {
    schema,
    read(value, path = "") {
      if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Malformed(path, `expected an object, got ${shown(value)}`);
      const given = value as Record<string, unknown>;
      if (!options.open) {
        const stranger = Object.keys(given).find((name) => !(name in fields));
        if (stranger !== undefined) throw new Malformed(below(path, stranger), `there is no such field; there are ${Object.keys(fields).join(", ")}`);
      }
      const read: Record<string, unknown> = {};
      for (const [name, field] of entries) {
        if (!field.isOptional && given[name] === undefined) throw new Malformed(below(path, name), "is missing");
        const one = field.read(given[name], below(path, name));
        if (one !== undefined) read[name] = one;
      }
      return read as Fields<F>;
    },
  };
}

function below(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

function shown(value: unknown): string {
  const json = JSON.stringify(value) ?? "nothing";
  return json.length > 60 ? `${json.slice(0, 60)}...` : json;
}
