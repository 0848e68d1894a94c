/** What the API is asked, and what its answers mean. */
import { Request, list, object, receipt, text } from "tape-guest";
import type { Of, Receipt } from "tape-guest";

/** Type, check and JSON Schema in one. */
export const Config = object({ base_url: text() });
export const NewItem = object({ title: text() });

/** The API's answers may hold more than we know. */
const Item = object({ id: text() }, { open: true });
const Page = object({ items: list(Item) }, { open: true });

/** A secret is named, never held: the host puts its value in on the way out. */
export function request(config: Of<typeof Config>, method: string, path: string): Request {
  return new Request(method, config.base_url.replace(/\/$/, "") + path).header("authorization", "Bearer {{secret:api-token}}");
}

export function created(body: unknown): Receipt {
  return asReceipt(Item.read(body));
}

export function found(body: unknown): Receipt[] {
  return Page.read(body).items.map(asReceipt);
}

/** What the agent's tool returns stands in the second part. */
function asReceipt({ id }: Of<typeof Item>): Receipt {
  return receipt(id, { id });
}
