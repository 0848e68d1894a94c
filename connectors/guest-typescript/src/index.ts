/**
 * For authors of connectors in TypeScript.
 *
 * Calls are synchronous: there is no `await` in a connector. Nothing is remembered from one call to the next. `Request` is the only way out.
 */
export type * from "./contract.ts";
export { defineConnector, operation, readConfig, readPayload, receipt } from "./connector.ts";
export type { Call, Definition, Operation } from "./connector.ts";
export { fetch } from "./fetch.ts";
export type { FetchInit } from "./fetch.ts";
export { log } from "./log.ts";
export { Answer, Request, del, get, patch, post, put, segment } from "./request.ts";
export type { Reader } from "./request.ts";
export { Malformed, anything, flag, integer, list, object, optional, text } from "./shape.ts";
export type { Of, Shape } from "./shape.ts";
export { Doubtful, Refused, invalid, refuse } from "./verdict.ts";
