import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { digestOf, equalSecret, mintToken, readToken, TOKEN_RANDOM_BYTES } from "../../src/domain/credential.ts";

const KEY = "current";
const aUuid = fc.uuid();
const randomBytes = fc.uint8Array({ minLength: TOKEN_RANDOM_BYTES, maxLength: TOKEN_RANDOM_BYTES });
const aPrefix = fc.constantFrom("mol_" as const, "molo_" as const);

describe("a token", () => {
  it("tells whose it is, whatever the bytes in it", () => {
    fc.assert(
      fc.property(aPrefix, aUuid, randomBytes, (prefix, uuid, bytes) => {
        const token = mintToken(prefix, uuid, bytes, KEY);
        expect(token).toHaveLength(prefix.length + 65 + 6);
        expect(readToken(token, [KEY])).toEqual({
          kind: prefix === "mol_" ? "workspace" : "org",
          id: uuid,
          prefix: token.slice(prefix.length + 22, prefix.length + 30),
        });
      }),
    );
  });

  it.each(["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"])("holds %s", (uuid) => {
    const token = mintToken("mol_", uuid, new Uint8Array(TOKEN_RANDOM_BYTES), KEY);
    expect(readToken(token, [KEY])).toMatchObject({ id: uuid, prefix: "00000000" });
  });

  it("shows a prefix that its random bytes decide", () => {
    const uuid = "11111111-1111-4111-8111-111111111111";
    const full = new Uint8Array(TOKEN_RANDOM_BYTES).fill(255);
    expect(readToken(mintToken("mol_", uuid, full, KEY), [KEY])?.prefix).not.toBe("00000000");
  });

  it("is still read under the previous key, and under no other", () => {
    const token = mintToken("mol_", "11111111-1111-4111-8111-111111111111", new Uint8Array(TOKEN_RANDOM_BYTES), "old");
    expect(readToken(token, [KEY, "old"])?.kind).toBe("workspace");
    expect(readToken(token, [KEY])).toBeNull();
    expect(readToken(token, [])).toBeNull();
  });

  it("is never vouched for by an empty key", () => {
    const token = mintToken("mol_", "11111111-1111-4111-8111-111111111111", new Uint8Array(TOKEN_RANDOM_BYTES), "");
    expect(readToken(token, [KEY, ""])).toBeNull();
  });

  it("is refused when any one of its characters is another", () => {
    const token = mintToken("molo_", "11111111-1111-4111-8111-111111111111", new Uint8Array(TOKEN_RANDOM_BYTES), KEY);
    for (let at = 0; at < token.length; at += 1) {
      const other = token.charAt(at) === "a" ? "b" : "a";
      expect(readToken(token.slice(0, at) + other + token.slice(at + 1), [KEY]), `at ${at}`).toBeNull();
    }
  });

  it.each(["", "mol_", "mol_short", `mol_${"a".repeat(72)}`, ` mol_${"a".repeat(71)}`, `mal_${"a".repeat(71)}`])(
    "is not what %j is",
    (text) => {
      expect(readToken(text, [KEY])).toBeNull();
    },
  );

  it("cannot be minted for a name that is no uuid, nor from too few bytes", () => {
    expect(() => mintToken("mol_", "me", new Uint8Array(TOKEN_RANDOM_BYTES), KEY)).toThrow(TypeError);
    expect(() => mintToken("mol_", "11111111-1111-4111-8111-111111111111", new Uint8Array(31), KEY)).toThrow(
      RangeError,
    );
  });
});

it("stores a token as SHA-256 in hexadecimal", () => {
  expect(digestOf("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
});

it("compares secrets of any length", () => {
  expect(equalSecret("open sesame", "open sesame")).toBe(true);
  expect(equalSecret("open sesame", "open")).toBe(false);
  expect(equalSecret("", "")).toBe(true);
});
