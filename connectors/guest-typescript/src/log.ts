/** Lines for the people who run Tape, marked with run, effect and connector by the host. */
import type { Level } from "./host.ts";
import { host } from "./host.ts";

const write = (level: Level) => (message: string, fields: Record<string, string> = {}): void => host().log(level, message, Object.entries(fields));

export const log = { trace: write("trace"), debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
