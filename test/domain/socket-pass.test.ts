import { describe, expect, it } from "vitest";
import { issuePass, type PassScope, readPass, standsForToken } from "../../src/domain/socket-pass.ts";

const NOW = Date.UTC(2026, 10, 23);
const SCOPE: PassScope = { purpose: "cookie", organisation: "acme", origin: "https://canvas.example" };
const PASS = { credential: "digest", expiresAt: NOW + 1_000, nonce: "" };
const ACCEPTED = { credentials: ["other", "digest"], keys: ["new key", "old key"] };

describe("a pass", () => {
  it("is good until it expires, for one of the accepted credentials, under the current or the previous key", () => {
    for (const key of ACCEPTED.keys) {
      const text = issuePass(SCOPE, PASS, key);
      expect(readPass(text, SCOPE, ACCEPTED, NOW)).toEqual(PASS);
      expect(readPass(text, SCOPE, ACCEPTED, NOW + 1_000)).toBeNull();
    }
    const nonce = crypto.randomUUID();
    const ticket: PassScope = { ...SCOPE, purpose: "ticket", origin: "" };
    expect(readPass(issuePass(ticket, { ...PASS, nonce }, "new key"), ticket, ACCEPTED, NOW)).toEqual({
      ...PASS,
      nonce,
    });
  });

  it.each([
    ["another purpose", { ...SCOPE, purpose: "ticket" }, ACCEPTED],
    ["another organisation", { ...SCOPE, organisation: "other" }, ACCEPTED],
    ["another page", { ...SCOPE, origin: "https://evil.example" }, ACCEPTED],
    ["a credential that is no longer accepted", SCOPE, { ...ACCEPTED, credentials: ["other"] }],
    ["a key that is gone", SCOPE, { ...ACCEPTED, keys: ["newer key"] }],
    ["a platform without credentials", SCOPE, { credentials: [], keys: [] }],
  ] as const)("is no good for %s", (_, scope, accepted) => {
    expect(readPass(issuePass(SCOPE, PASS, "new key"), scope, accepted, NOW)).toBeNull();
  });

  it("names the organisation's token that it stands for, under its seal, for the Directory to judge", () => {
    const [credential, other] = [crypto.randomUUID(), crypto.randomUUID()];
    const pass = { ...PASS, credential, nonce: crypto.randomUUID() };
    const text = issuePass(SCOPE, pass, "new key");
    expect(readPass(text, SCOPE, ACCEPTED, NOW)).toEqual(pass);
    expect(readPass(text.replace(credential, other), SCOPE, ACCEPTED, NOW)).toBeNull();
    expect(readPass(text.replace(`${credential}.`, ""), SCOPE, ACCEPTED, NOW)).toBeNull();
    expect([credential, "0".repeat(64), "open"].map(standsForToken)).toEqual([true, false, false]);
  });

  it("is no good when anything in it was changed", () => {
    const text = issuePass(SCOPE, PASS, "new key");
    const [expiry = "", nonce = "", seal = ""] = text.split(".");
    const later = (NOW + 999_000).toString(36);
    const turned = seal.startsWith("A") ? `B${seal.slice(1)}` : `A${seal.slice(1)}`;
    for (const forged of [
      "",
      "x",
      `${later}.${nonce}.${seal}`,
      `${expiry}.n.${seal}`,
      `${expiry}.${nonce}.${turned}`,
    ]) {
      expect(readPass(forged, SCOPE, ACCEPTED, NOW)).toBeNull();
    }
  });
});
