import { expect, it } from "vitest";
import { DEFAULT_RATE_LIMIT, RATE_WINDOW_MS, RateWindow } from "../../src/domain/rate-limit.ts";

const NOW = 1_000_000;

it("admits six hundred requests a minute unless told otherwise, and not one more", () => {
  const window = new RateWindow();
  expect(window.take(NOW)).toEqual({ limit: 600, remaining: 599, reset: 60, exceeded: false });
  for (let taken = 1; taken < DEFAULT_RATE_LIMIT; taken += 1) window.take(NOW);
  expect(window.take(NOW + 100)).toEqual({ limit: 600, remaining: 0, reset: 60, exceeded: true });
});

it("starts a new window when the old one has ended", () => {
  const window = new RateWindow(1);
  window.take(NOW);
  expect(window.take(NOW + RATE_WINDOW_MS - 1)).toMatchObject({ reset: 1, exceeded: true });
  expect(window.take(NOW + RATE_WINDOW_MS)).toMatchObject({ remaining: 0, reset: 60, exceeded: false });
});

it("does not stay shut when the clock was set back", () => {
  const window = new RateWindow(1);
  window.take(NOW);
  expect(window.take(NOW - 1)).toMatchObject({ reset: 60, exceeded: false });
});
