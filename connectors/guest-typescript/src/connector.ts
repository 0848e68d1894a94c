/** From an author's functions to what a component exports. */
import type { CompensateAnswer, DispatchAnswer, Effect, Exports, Obligation, ObserveAnswer, Receipt, StatusAnswer } from "./contract.ts";
import { host } from "./host.ts";
import type { Of, Shape } from "./shape.ts";
import { Malformed } from "./shape.ts";
import { Doubtful, Refused, invalid } from "./verdict.ts";

export interface Operation<C, P> {
  summary: string;
  /** Whether the upstream deduplicates by the idempotency key. */
  semantics: "NON_IDEMPOTENT" | "IDEMPOTENT" | "OBSERVE_ONLY";
  /** The payload: type, check and JSON Schema. */
  payload: Shape<P>;
  /** Do it, once. Throw `Refused` or `Doubtful`; any other error is doubt. */
  dispatch(call: Call<C, P>): Receipt;
  /** What the upstream's books say: all receipts that are found, the one to keep first. Throw `Doubtful` if they do not tell. */
  observe?(call: Call<C, P>): Receipt[];
  /** Did this very request commit? `reference` is the upstream's id where one is known, else the idempotency key. */
  statusCheck?(call: Call<C, P>, reference: string): Receipt | "not-committed" | { inProgressMs: number };
  /** Undo it, once. Look first: what is not there needs no undoing. */
  compensate?(call: Call<C, P>, obligation: Obligation): Receipt;
}

/** What every function of an operation is given. */
export interface Call<C, P> {
  effect: Effect;
  payload: P;
  config: C;
  /** The business key, or without one the idempotency key: what the upstream's books are to know the effect by. */
  reference: string;
}

export interface Definition<C> {
  name: string;
  /** Semver. */
  version: string;
  summary: string;
  config: Shape<C>;
  /** True if operations need no request at all. */
  offline?: boolean;
  /** `methods` are those of a host, in upper case; none means GET and HEAD. */
  asks?: { hosts?: { host: string; methods?: string[]; why: string }[]; secrets?: { name: string; why: string }[] };
  operations: Record<string, Operation<C, never>>;
}

/** Gives an operation its types: `operation(Config, { payload: Payload, ... })`. */
export function operation<C, P>(_config: Shape<C>, definition: Operation<C, P>): Operation<C, never> {
  return definition as unknown as Operation<C, never>;
}

/** A receipt: the upstream's id, and what the agent's tool returns. */
export function receipt(externalRef: string, response: unknown): Receipt {
  return { externalRef, response: JSON.stringify(response) };
}

/** The deployment's configuration. Throws `Refused` with the key that makes no sense. */
export function readConfig<C>(shape: Shape<C>): C {
  return read("bad-config", "the configuration", host().config(), shape);
}

/** An effect's or obligation's payload. Throws `Refused` with the key that makes no sense. */
export function readPayload<P>(shape: Shape<P>, json: string): P {
  return read("bad-payload", "the payload", json, shape);
}

/** What the component exports: `export const connector = defineConnector({ ... })`. */
export function defineConnector<C>(definition: Definition<C>): Exports {
  const call = (effect: Effect): [Operation<C, unknown>, Call<C, unknown>] => {
    const { operations } = definition;
    const found = Object.hasOwn(operations, effect.operation) ? (operations[effect.operation] as unknown as Operation<C, unknown>) : undefined;
    if (found === undefined) {
      throw invalid("unknown-operation", `there is no operation \`${effect.operation}\`, only ${Object.keys(operations).join(", ")}`);
    }
    const payload = readPayload(found.payload, effect.payload);
    return [found, { effect, payload, config: readConfig(definition.config), reference: effect.businessKey ?? effect.idempotencyKey }];
  };
  return {
    describe: () => JSON.stringify(description(definition)),
    dispatch: (effect) => dispatched(() => {
      const [operation, given] = call(effect);
      return operation.dispatch(given);
    }),
    statusCheck: (effect, reference) => checked(() => {
      const [operation, given] = call(effect);
      if (!operation.statusCheck) throw new Doubtful(`\`${effect.operation}\` cannot be asked about a request`);
      return operation.statusCheck(given, reference);
    }),
    observe: (effect) => observed(() => {
      const [operation, given] = call(effect);
      if (!operation.observe) throw new Doubtful(`\`${effect.operation}\` cannot be looked up`);
      return operation.observe(given);
    }),
    compensate: (obligation) => compensated(() => {
      const [operation, given] = call(obligation.effect);
      if (!operation.compensate) throw invalid("not-undoable", `\`${obligation.effect.operation}\` cannot be undone`);
      return operation.compensate(given, obligation);
    }),
  };
}

function description<C>({ name, version, summary, config, offline = false, asks = {}, operations }: Definition<C>): unknown {
  const all = Object.entries(operations);
  const some = (key: "observe" | "statusCheck" | "compensate") => all.some(([, operation]) => operation[key] !== undefined);
  return {
    name, version, contract: "1.0.0", summary, offline,
    operations: all.map(([name, { summary, semantics, payload }]) => ({ name, summary, semantics, payload_schema: payload.schema })),
    supports: { observe: some("observe"), status_check: some("statusCheck"), compensate: some("compensate") },
    config_schema: config.schema,
    asks: { hosts: asks.hosts ?? [], secrets: asks.secrets ?? [] },
  };
}

function dispatched(act: () => Receipt): DispatchAnswer {
  try {
    return { tag: "confirmed", val: act() };
  } catch (error) {
    return error instanceof Refused ? { tag: "failed", val: error.failure } : { tag: "unknown", val: doubtOf(error) };
  }
}

function compensated(act: () => Receipt): CompensateAnswer {
  try {
    return { tag: "resolved", val: act() };
  } catch (error) {
    return error instanceof Refused ? { tag: "failed", val: error.failure } : { tag: "unknown", val: doubtOf(error) };
  }
}

function observed(look: () => Receipt[]): ObserveAnswer {
  try {
    const found = look();
    const [first] = found;
    if (first === undefined) return { tag: "absent" };
    return found.length === 1 ? { tag: "present", val: first } : { tag: "duplicate", val: found };
  } catch (error) {
    return { tag: "inconclusive", val: doubtOf(error) };
  }
}

function checked(look: () => Receipt | "not-committed" | { inProgressMs: number }): StatusAnswer {
  try {
    const found = look();
    if (found === "not-committed") return { tag: "not-committed" };
    return "inProgressMs" in found ? { tag: "in-progress", val: found.inProgressMs } : { tag: "committed", val: found };
  } catch (error) {
    return { tag: "inconclusive", val: doubtOf(error) };
  }
}

/** An error that is nobody's verdict is a defect of the connector: whether anything happened is then for the host to say. */
function doubtOf(error: unknown) {
  if (error instanceof Doubtful) return error.doubt;
  if (error instanceof Refused) return new Doubtful(error.message).doubt;
  const told = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return new Doubtful(`the connector failed: ${told}`, { hint: error instanceof Error ? (error.stack ?? "") : "" }).doubt;
}

function read<T>(code: string, what: string, json: string, shape: Shape<T>): T {
  try {
    return shape.read(JSON.parse(json));
  } catch (error) {
    if (error instanceof Malformed || error instanceof SyntaxError) throw invalid(code, `${what}: ${error.message}`);
    throw error;
  }
}

export type { Of };
