// The interfaces of tape:connector@1.0.0, as the engine shows them.

declare module "tape:connector/http@1.0.0" {
  import type { HttpRequest, HttpResponse } from "./host.ts";
  const http: { send(request: HttpRequest): HttpResponse };
  export default http;
}

declare module "tape:connector/config@1.0.0" {
  const config: { get(): string };
  export default config;
}

declare module "tape:connector/log@1.0.0" {
  import type { Level } from "./host.ts";
  const log: { write(level: Level, message: string, fields: [string, string][]): void };
  export default log;
}

declare module "tape:connector/clock@1.0.0" {
  const clock: { nowMs(): number; monotonicNs(): number };
  export default clock;
}

declare module "tape:connector/random@1.0.0" {
  const random: { bytes(length: number): Uint8Array };
  export default random;
}
