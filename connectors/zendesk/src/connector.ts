/**
 * Tickets in Zendesk.
 *
 * Zendesk deduplicates by a key, but forgets it after two hours; what it never forgets is a ticket's external id. So the key travels along, and a lost
 * answer is looked for by the external id.
 */
import { Request, defineConnector, operation, receipt, segment } from "tape-guest";
import type { Of } from "tape-guest";

import { Config, NewTicket, asTicket, created, found, idempotency } from "./zendesk.ts";

export const connector = defineConnector({
  name: "zendesk",
  version: "1.0.0",
  summary: "Tickets in Zendesk",
  config: Config,
  asks: {
    hosts: [{ host: "config:base_url", methods: ["GET", "POST", "DELETE"], why: "the account's own address" }],
    secrets: [{ name: "zendesk-token", why: "an OAuth access token that may read and write tickets" }],
  },
  operations: {
    create: operation(Config, {
      summary: "One ticket",
      semantics: "NON_IDEMPOTENT",
      payload: NewTicket,

      dispatch({ config, payload, reference, effect }) {
        const request = api(config, "POST", "/tickets.json").json(asTicket(payload, reference));
        for (const [name, value] of Object.entries(idempotency(effect.idempotencyKey))) request.header(name, value);
        return request.change(created);
      },

      observe: ({ config, reference }) => lookup(config, reference),

      compensate({ config, reference }, { receipt: done }) {
        const id = done?.externalRef || lookup(config, reference)[0]?.externalRef;
        if (id === undefined) return receipt("", { status: "there is no such ticket: nothing to delete" });
        const gone = receipt(id, { id, status: "deleted" });
        const path = `/tickets/${segment(id)}.json`;
        if (api(config, "GET", path).find(() => true)) api(config, "DELETE", path).remove();
        return gone;
      },
    }),
  },
});

function lookup(config: Of<typeof Config>, externalId: string) {
  return api(config, "GET", "/tickets.json").query("external_id", externalId).look((body) => found(body, externalId));
}

function api(config: Of<typeof Config>, method: string, path: string): Request {
  return new Request(method, `${config.base_url.replace(/\/$/, "")}/api/v2${path}`).header("authorization", "Bearer {{secret:zendesk-token}}");
}
