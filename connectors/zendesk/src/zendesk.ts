/** Zendesk's ticket API, as far as this connector speaks it. */
import { integer, list, object, optional, receipt, text } from "tape-guest";
import type { Of, Receipt } from "tape-guest";

export const Config = object({
  base_url: text({ why: "the account's address, https://ACCOUNT.zendesk.com", pattern: /https?:\/\/[^/?#]+\/?/, like: "https://acme.zendesk.com" }),
});

export const NewTicket = object({
  subject: text(),
  comment: text({ why: "the first message of the conversation" }),
  requester: optional(object({ name: text(), email: text({ pattern: /[^@\s]+@[^@\s]+/, like: "ada@example.com" }) })),
  priority: optional(text({ oneOf: ["low", "normal", "high", "urgent"] })),
  type: optional(text({ oneOf: ["problem", "incident", "question", "task"] })),
  tags: optional(list(text())),
});

const Ticket = object({ id: integer(), status: optional(text()), external_id: optional(text()) }, { open: true });
const One = object({ ticket: Ticket }, { open: true });
const Several = object({ tickets: list(Ticket), next_page: optional(text()) }, { open: true });

/** Zendesk refuses longer ones. */
const KEY_CHARS_MAX = 255;

/** The ticket as Zendesk wants it. Its external id is what finds it again. */
export function asTicket({ comment, ...rest }: Of<typeof NewTicket>, externalId: string) {
  return { ticket: { ...rest, comment: { body: comment }, external_id: externalId } };
}

/** Zendesk remembers a key for two hours: within them a repetition is the same ticket. */
export function idempotency(key: string): Record<string, string> {
  return key.length <= KEY_CHARS_MAX ? { "idempotency-key": key } : {};
}

export function created(body: unknown): Receipt {
  return asReceipt(One.read(body).ticket);
}

/** The tickets that carry `externalId`, the oldest first. */
export function found(body: unknown, externalId: string): Receipt[] {
  const { tickets, next_page } = Several.read(body);
  if (next_page !== undefined) throw new Error(`more than ${tickets.length} tickets carry ${externalId}`);
  // Zendesk compares external ids without regard to case.
  const ours = tickets.filter((ticket) => ticket.external_id === externalId);
  return ours.sort((one, other) => one.id - other.id).map(asReceipt);
}

function asReceipt({ id, status = "new" }: Of<typeof Ticket>): Receipt {
  return receipt(String(id), { id: String(id), status });
}
