import { describe, expect, it } from "vitest";
import { cronMatches } from "../../scripts/local/cron.ts";

describe("a cron expression", () => {
  it.each([
    ["* * * * *", "2026-11-23T08:53:00Z", true],
    ["17 3 * * *", "2026-11-23T03:17:00Z", true],
    ["17 3 * * *", "2026-11-23T03:18:00Z", false],
    ["17 3 * * *", "2026-11-23T04:17:00Z", false],
    ["*/5 * * * *", "2026-11-23T08:55:00Z", true],
    ["*/5 * * * *", "2026-11-23T08:56:00Z", false],
    ["3/10 * * * *", "2026-11-23T08:53:00Z", true],
    ["0 9-17 * * *", "2026-11-23T17:00:00Z", true],
    ["0 9-17 * * *", "2026-11-23T18:00:00Z", false],
    ["0 0 1,15 * *", "2026-11-15T00:00:00Z", true],
    ["0 0 1,15 * *", "2026-11-16T00:00:00Z", false],
    ["0 0 * 11 *", "2026-11-16T00:00:00Z", true],
    ["0 0 * * 2", "2026-11-23T00:00:00Z", true],
    ["0 0 * * 1", "2026-11-23T00:00:00Z", false],
    ["0 0 1 * 2", "2026-11-23T00:00:00Z", true],
    ["0 0 1 * 2", "2026-11-24T00:00:00Z", false],
  ])("%s at %s: %s", (expression, at, expected) => {
    expect(cronMatches(expression, new Date(at))).toBe(expected);
  });

  it.each(["* * * *", "60 * * * *", "* * * * 0", "5-1 * * * *", "*/0 * * * *", "@daily", "* * * * MON"])(
    "is refused when it is not understood: %s",
    (expression) => {
      expect(() => cronMatches(expression, new Date(0))).toThrow("cron");
    },
  );
});
