import { expect, it } from "vitest";
import { BackOff } from "../../scripts/local/back-off.ts";

it("doubles from a second to half a minute, and starts over after a quiet minute", () => {
  const backOff = new BackOff();
  let now = 0;
  const delays = Array.from({ length: 8 }, () => {
    const delay = backOff.nextMs(now);
    now += delay + 10;
    return delay;
  });
  expect(delays).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  now += 60_000;
  expect(backOff.nextMs(now)).toBe(1_000);
});
