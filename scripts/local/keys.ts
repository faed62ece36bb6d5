import { randomBytes } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";

const KEY_NAMES = ["TOKEN_KEY", "CURSOR_KEY", "SECRETS_KEY"] as const;
const KEY_BYTES = 32;

export type Keys = Record<(typeof KEY_NAMES)[number], string>;

/** The keys of this data directory, made at the first start. Losing the file makes every token, cursor and secret void. */
export function keysOf(dataDir: string): Keys {
  const path = join(dataDir, "keys.json");
  const stored: Partial<Keys> = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : {};
  const keys: Keys = {
    TOKEN_KEY: stored.TOKEN_KEY ?? newKey(),
    CURSOR_KEY: stored.CURSOR_KEY ?? newKey(),
    SECRETS_KEY: stored.SECRETS_KEY ?? newKey(),
  };
  if (KEY_NAMES.some((name) => stored[name] === undefined)) writeWhole(path, `${JSON.stringify(keys, null, 2)}\n`);
  return keys;
}

function newKey(): string {
  return randomBytes(KEY_BYTES).toString("base64");
}

/** The old file or the new one is there at any moment, never half of it. */
function writeWhole(path: string, text: string): void {
  const draft = `${path}.new`;
  const file = openSync(draft, "w", 0o600);
  writeSync(file, text);
  fsyncSync(file);
  closeSync(file);
  renameSync(draft, path);
}
