/**
 * How a connector says no, and how it says "I do not know". Throw them: `defineConnector` turns them into answers.
 */
import type { Doubt, Failure, FailureKind } from "./contract.ts";

/** A definite no: it did not take hold. */
export class Refused extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.name = "Refused";
    this.failure = failure;
  }
}

/** Nobody knows whether it took hold. */
export class Doubtful extends Error {
  readonly doubt: Doubt;

  constructor(reason: string, more: Partial<Doubt> = {}) {
    super(reason);
    this.name = "Doubtful";
    this.doubt = { reason, sent: "", hint: "", ...more };
  }
}

/** A definite no, to throw. */
export function refuse(
  kind: FailureKind,
  code: string,
  message: string,
  { retryable = false, retryAfterMs = null }: { retryable?: boolean; retryAfterMs?: number | null } = {},
): Refused {
  return new Refused({ kind, code, message, retryable, retryAfterMs });
}

/** The call itself is malformed, and no repetition cures it. */
export function invalid(code: string, message: string): Refused {
  return refuse("invalid", code, message);
}
