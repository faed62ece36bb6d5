import { spawnSync } from "node:child_process";
import { randomBytes, randomInt } from "node:crypto";
import { expect, it } from "vitest";
import { sanitiseFilenameBytes } from "../../src/domain/filename.ts";

const CASES = 20_000;
const ALPHABET = [...'aZ09._-/\\ \u0000"%\n', "é", "日", "😀", "\u00a0", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", ".tar"].map(
  (piece) => Buffer.from(piece),
);

/** The table of the contract, transcribed once more and independently; names arrive as hex, one JSON array. */
const ORACLE = `
import json, sys

def characters(raw):
    at = 0
    while at < len(raw):
        for width in (1, 2, 3, 4):
            try:
                character = raw[at:at + width].decode("utf-8", "strict")
                if len(character) == 1 and at + width <= len(raw):
                    yield character
                    at += width
                    break
            except UnicodeDecodeError:
                pass
        else:
            yield "\\ufffd"
            at += 1

def sanitise(raw):
    if raw == b"":
        base = b"."
    else:
        stripped = raw.rstrip(b"/")
        base = stripped.rsplit(b"/", 1)[-1] if stripped else b"/"
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    name = "".join(c if c in allowed else "_" for c in characters(base))
    if len(name) > 100:
        stem, dot, tail = name.rpartition(".")
        extension = dot + tail if dot and len(tail) + 1 <= 16 else ""
        name = name[:100 - len(extension)] + extension
    return "file" if name in ("", ".", "..") else name

json.dump([sanitise(bytes.fromhex(case)) for case in json.load(sys.stdin)], sys.stdout)
`;

function aName(): Buffer {
  const pieces = Array.from({ length: randomInt(0, 14) }, () =>
    randomInt(0, 8) === 0 ? randomBytes(randomInt(1, 5)) : (ALPHABET[randomInt(0, ALPHABET.length)] ?? Buffer.alloc(0)),
  );
  return Buffer.concat(pieces);
}

const hasPython = spawnSync("python3", ["--version"]).status === 0;

it.skipIf(!hasPython)(
  `stores ${CASES} random names as an independent transcription of the contract does (skipped where python3 is absent)`,
  () => {
    const names = Array.from({ length: CASES }, aName);
    const oracle = spawnSync("python3", ["-c", ORACLE], {
      input: JSON.stringify(names.map((name) => name.toString("hex"))),
      encoding: "utf8",
      maxBuffer: 64 * 1024 * 1024,
    });
    expect(oracle.stderr).toBe("");
    const expected: unknown = JSON.parse(oracle.stdout);
    expect(names.map((name) => sanitiseFilenameBytes(name))).toEqual(expected);
  },
);
