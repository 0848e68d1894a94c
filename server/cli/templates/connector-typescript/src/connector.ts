/** {{name}}: creates items in an API that deduplicates nothing. */
import { defineConnector, operation, receipt, segment } from "tape-guest";
import type { Of } from "tape-guest";

import { Config, NewItem, created, found, request } from "./api.ts";

export const connector = defineConnector({
  name: "{{name}}",
  version: "0.1.0",
  summary: "Items in an API that deduplicates nothing",
  config: Config,
  asks: {
    hosts: [{ host: "config:base_url", methods: ["GET", "POST", "DELETE"], why: "the API" }],
    secrets: [{ name: "api-token", why: "authorizes every request" }],
  },
  operations: {
    create: operation(Config, {
      summary: "One item",
      semantics: "NON_IDEMPOTENT",
      payload: NewItem,

      /** Does it, once. 2xx is confirmed, 4xx failed, anything else unknown: never guess. */
      dispatch: ({ config, payload, reference }) => request(config, "POST", "/items").json({ title: payload.title, reference }).change(created),

      /** After a lost answer: what do the API's books say? */
      observe: ({ config, reference }) => lookup(config, reference),

      /** Undoes it, once: looks first. What is not there needs no undoing. */
      compensate({ config, reference }, { receipt: done }) {
        const item = lookup(config, reference).find((one) => !done || one.externalRef === done.externalRef);
        if (!item) return receipt(done?.externalRef ?? "", { status: "nothing to undo" });
        request(config, "DELETE", `/items/${segment(item.externalRef)}`).remove();
        return item;
      },
    }),
  },
});

/** The items that carry the reference. */
function lookup(config: Of<typeof Config>, reference: string) {
  return request(config, "GET", "/items").query("reference", reference).look(found);
}
