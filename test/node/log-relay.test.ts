import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { expect, it } from "vitest";
import { LogRelay } from "../../scripts/local/log-relay.ts";

const MEBIBYTE = 1024 * 1024;

it("keeps a bounded part for a reader who does not read, and then says how much is missing", async () => {
  const pipe = new PassThrough();
  const relay = new LogRelay(pipe);
  const line = "x".repeat(1023);
  for (let count = 0; count < 5_000; count++) relay.write(line);
  expect(pipe.writableLength).toBeLessThan(1.1 * MEBIBYTE);

  const reading = text(pipe);
  await new Promise((resolve) => pipe.once("drain", resolve));
  relay.write("after");
  pipe.end();
  const lines = (await reading).trimEnd().split("\n");
  const kept = lines.filter((one) => one === line).length;
  expect(kept).toBeGreaterThan(1_000);
  expect(lines.slice(kept)).toEqual([`${5_000 - kept} log lines were dropped because nobody read them.`, "after"]);
});

it("goes on when the reader is gone", () => {
  const pipe = new PassThrough();
  const relay = new LogRelay(pipe);
  pipe.destroy(new Error("EPIPE"));
  expect(() => relay.write("nobody hears this")).not.toThrow();
});
