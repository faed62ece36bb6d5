import { expect, it } from "vitest";
import { actorOf } from "../../src/domain/access.ts";

it("records name a workspace by its id, an operator by its kind, and a token of the organisation by its own id", () => {
  expect(actorOf({ kind: "token", digest: "d" }, "w")).toBe("w");
  expect(actorOf({ kind: "organisation", id: "t" }, "w")).toBe("organisation:t");
  expect(actorOf({ kind: "admin" }, "w")).toBe("admin");
  expect(actorOf({ kind: "canvas" }, "w")).toBe("canvas");
});
