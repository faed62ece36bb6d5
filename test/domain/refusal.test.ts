import { describe, expect, it } from "vitest";
import { REFUSALS, Refusal, settle, unwrap } from "../../src/domain/refusal.ts";

describe("the catalogue of refusals", () => {
  it("says of each one what is wrong and what to do, under a stable dotted code", () => {
    for (const [code, { status, error, hint }] of Object.entries(REFUSALS)) {
      expect(code).toMatch(/^[a-z0-9]+([._][a-z0-9_]+)*$/);
      expect(status).toBeGreaterThanOrEqual(400);
      expect(error, code).not.toBe("");
      expect(hint, code).not.toBe("");
    }
  });

  it("has no 401 for what is the platform's own fault", () => {
    for (const [code, { status }] of Object.entries(REFUSALS)) {
      if (/^(internal|overloaded|platform|schema)|key_missing/.test(code))
        expect(status, code).toBeGreaterThanOrEqual(500);
    }
  });
});

describe("a refusal", () => {
  it("carries the catalogue's text, or the one with a value in it", () => {
    expect(new Refusal("workspace.not_found").message).toBe("workspace not found");
    expect(new Refusal("registry.url_scheme", { error: 'got "ftp"' }).message).toBe('got "ftp"');
  });

  it("crosses an object's boundary as a value and is thrown again as it was", async () => {
    const outcome = await settle(() => {
      throw new Refusal("inbox.full", { retryAfter: 60, details: { unread: 1 } });
    });
    expect(structuredClone(outcome)).toEqual(outcome);
    expect(() => unwrap(outcome)).toThrow(REFUSALS["inbox.full"].error);
    expect(outcome).toEqual({ ok: false, code: "inbox.full", options: { retryAfter: 60, details: { unread: 1 } } });
  });

  it("is not made of a crash, which stays one", async () => {
    await expect(settle(() => Promise.reject(new TypeError("bug")))).rejects.toThrow(TypeError);
    expect(unwrap(await settle(async () => 7))).toBe(7);
  });
});
