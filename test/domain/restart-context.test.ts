import { expect, it } from "vitest";
import { restartMessage } from "../../src/domain/restart-context.ts";

const AT = Date.UTC(2026, 0, 2, 3, 4, 5);

function textOf(context: Parameters<typeof restartMessage>[1]): string {
  const { params } = JSON.parse(restartMessage("m-1", context));
  return params.message.parts[0].text;
}

it("names the time, the last sign of life and the secrets, one fact a line", () => {
  expect(
    textOf({ reason: "died", restartedAt: AT, lastSeen: AT - 60_000, secretKeys: ["A_KEY", "B_KEY"] }).split("\n"),
  ).toEqual([
    "=== WORKSPACE RESTART CONTEXT ===",
    "The workspace was restarted, because its machine had stopped by itself.",
    "Restarted at: 2026-01-02T03:04:05Z",
    "Last heartbeat before it: 2026-01-02T03:03:05Z",
    "Secrets in the environment (names only): A_KEY, B_KEY",
    "What was under way may have been cut off: see the inbox and the delegations before beginning anew.",
    "=== END RESTART CONTEXT ===",
  ]);
});

it("says so where there is nothing to name", () => {
  const text = textOf({ reason: "asked", restartedAt: AT, lastSeen: null, secretKeys: [] });
  expect(text).toContain("Last heartbeat before it: none");
  expect(text).toContain("(names only): none");
});

it("is a message like any other, known by its metadata", () => {
  expect(
    JSON.parse(restartMessage("m-1", { reason: "asked", restartedAt: AT, lastSeen: null, secretKeys: null })),
  ).toMatchObject({
    jsonrpc: "2.0",
    id: "m-1",
    method: "message/send",
    params: { message: { role: "user", messageId: "m-1", metadata: { kind: "restart_context" } } },
  });
});
