/**
 * What passes between Tape and a connector. The WIT package `tape:connector@1.0.0` is the reference; names are in camelCase here, what is optional
 * there is null here, and a variant is `{ tag, val }`.
 */

/** One attempt at one effect. */
export interface Effect {
  tenant: string;
  app: string;
  runId: string;
  /** The same over all attempts, and never used for another effect. At most 512 bytes. */
  idempotencyKey: string;
  /** From 0. */
  decisionIndex: number;
  /** The agent's tool that asked, for logs. */
  tool: string;
  operation: string;
  /** What the upstream's own books know it by. */
  businessKey: string | null;
  /** Counts dispatches, from 1. */
  attempt: number;
  /** JSON text, at most 4 MiB. Money and large integers are strings in it. */
  payload: string;
  /** Unix milliseconds after which the answer is no longer wanted. */
  deadlineMs: number;
  traceParent: string | null;
  context: [string, string][];
}

/** An effect that took hold and is to be undone. */
export interface Obligation {
  effect: Effect;
  /** Null if it was confirmed without one: look it up by the business key. */
  receipt: Receipt | null;
  /** How, in the connector's own words. Empty: its only way. */
  kind: string;
  /** JSON text. */
  payload: string;
  /** `compensate:<the effect's key>`. */
  idempotencyKey: string;
  /** From 1. */
  attempt: number;
  context: [string, string][];
}

/** The upstream's word that something took hold. */
export interface Receipt {
  /** The upstream's own id of it; empty where it gives none. */
  externalRef: string;
  /** What the agent's tool returns: JSON text. */
  response: string;
}

export type FailureKind = "rejected" | "unauthorized" | "rate-limited" | "unavailable" | "invalid";

/** A definite no: it did not take hold. */
export interface Failure {
  kind: FailureKind;
  /** Stable enough to match on. */
  code: string;
  message: string;
  /** Whether the very same call may succeed later. */
  retryable: boolean;
  retryAfterMs: number | null;
}

/** "I do not know whether it happened." */
export interface Doubt {
  reason: string;
  /** What had left by then, for people. May be empty. */
  sent: string;
  /** How it may be settled, for people. May be empty. */
  hint: string;
}

export type DispatchAnswer = { tag: "confirmed"; val: Receipt } | { tag: "failed"; val: Failure } | { tag: "unknown"; val: Doubt };

export type StatusAnswer =
  | { tag: "committed"; val: Receipt }
  | { tag: "not-committed" }
  | { tag: "in-progress"; val: number }
  | { tag: "inconclusive"; val: Doubt };

export type ObserveAnswer =
  | { tag: "present"; val: Receipt }
  | { tag: "absent" }
  | { tag: "duplicate"; val: Receipt[] }
  | { tag: "inconclusive"; val: Doubt };

export type CompensateAnswer = { tag: "resolved"; val: Receipt } | { tag: "failed"; val: Failure } | { tag: "unknown"; val: Doubt };

/** What the component exports as `connector`. */
export interface Exports {
  describe(): string;
  dispatch(effect: Effect): DispatchAnswer;
  statusCheck(effect: Effect, reference: string): StatusAnswer;
  observe(effect: Effect): ObserveAnswer;
  compensate(obligation: Obligation): CompensateAnswer;
}
