/** Fields of a log line. Names that could carry a secret or a user's words are refused by the type. */
export type LogFields = Record<string, string | number | boolean | null | undefined> & {
  readonly [Forbidden in "token" | "secret" | "authorization" | "body" | "content" | "text" | "prompt"]?: never;
};

type Level = "info" | "warn" | "error";

function write(level: Level, event: string, fields: LogFields): void {
  const line = JSON.stringify({ level, event, at: new Date().toISOString(), ...fields });
  if (level === "info") console.log(line);
  else if (level === "warn") console.warn(line);
  else console.error(line);
}

/** Structured JSON logs: one line an event, `event` is a dotted past-tense name such as `upload.staged`. */
export const log = {
  info: (event: string, fields: LogFields = {}) => write("info", event, fields),
  warn: (event: string, fields: LogFields = {}) => write("warn", event, fields),
  error: (event: string, fields: LogFields = {}) => write("error", event, fields),
};
