import { describe, expect, it } from "vitest";
import { normaliseMimeType } from "../../src/domain/mime-type.ts";

describe("a media type", () => {
  it.each([
    ["text/plain", "text/plain"],
    ["Text/HTML; charset=utf-8", "Text/HTML"],
    ["  image/png ;x", "image/png"],
    ["image/svg+xml", "image/svg+xml"],
    ["", ""],
    [" ; charset=utf-8", ""],
    ["text", "application/octet-stream"],
    ["/plain", "application/octet-stream"],
    ["text/", "application/octet-stream"],
    ["a/b/c", "application/octet-stream"],
    ["text/pl ain", "application/octet-stream"],
    ["text/plain\r\nx-evil: 1", "application/octet-stream"],
    ["text/plaîn", "application/octet-stream"],
    ["text/\u007f", "application/octet-stream"],
    [`a/${"b".repeat(253)}`, `a/${"b".repeat(253)}`],
    [`a/${"b".repeat(254)}`, "application/octet-stream"],
  ])("%j is stored as %j", (given, stored) => {
    expect(normaliseMimeType(given)).toBe(stored);
  });
});
