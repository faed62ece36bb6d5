import { describe, expect, it } from "vitest";
import { reasonOf } from "../../src/provisioners/reason.ts";

describe("a reason", () => {
  it("is one line without control characters", () => {
    expect(reasonOf(" no\r\n  room\u0007 left\t", [])).toBe("no room left");
  });

  it("has 512 characters at most and is never cut inside one", () => {
    expect(reasonOf("é".repeat(600), [])).toBe("é".repeat(512));
    expect([...reasonOf("😀".repeat(600), [])]).toHaveLength(512);
  });

  it("names no secret, however often and wherever it stands", () => {
    expect(reasonOf("hunter22 and xhunter22x", ["hunter22"])).toBe("[secret] and x[secret]x");
  });

  it("names nothing of a secret that contains another one", () => {
    expect(reasonOf("postgres://u:hunter22@db", ["hunter22", "postgres://u:hunter22@db"])).toBe("[secret]");
  });

  it("names no line of a secret of many lines, nor its form in JSON", () => {
    const key = "BEGIN KEY\r\nabcdef0123\nEND KEY";
    expect(reasonOf("line abcdef0123 is bad", [key])).toBe("line [secret] is bad");
    expect(reasonOf('{"value":"quo\\"ted1"}', ['quo"ted1'])).toBe('{"value":"[secret]"}');
  });

  it("stays readable where a value is too short to be secret", () => {
    expect(reasonOf("status 1: true", ["1", "true", ""])).toBe("status 1: true");
  });

  it("is struck before it is cut, so that no part of a secret is left at its end", () => {
    expect(reasonOf(`${"x".repeat(508)}hunter22`, ["hunter22"])).not.toContain("hunt");
  });
});
