/** The first import of every component: Tape's host, and what the engine lacks of the web's globals. */
import clock from "tape:connector/clock@1.0.0";
import config from "tape:connector/config@1.0.0";
import http from "tape:connector/http@1.0.0";
import log from "tape:connector/log@1.0.0";
import random from "tape:connector/random@1.0.0";

import { use } from "./host.ts";
import "./web.ts";

use({
  send: (request) => http.send(request),
  config: () => config.get(),
  log: (level, message, fields) => log.write(level, message, fields),
  nowMs: () => clock.nowMs(),
  randomBytes: (length) => new Uint8Array(random.bytes(length)),
});
