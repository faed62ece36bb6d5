import { expect, it } from "vitest";
import { actorOf } from "../../src/domain/access.ts";

it("records name a workspace and a user by their ids, an operator by its kind, a token of the organisation by its own id", () => {
  expect(actorOf({ kind: "token", digest: "d" }, "w")).toBe("w");
  expect(actorOf({ kind: "organisation", id: "t" }, "w")).toBe("organisation:t");
  expect(actorOf({ kind: "admin" }, "w")).toBe("admin");
  expect(actorOf({ kind: "canvas" }, "w")).toBe("canvas");
  expect(actorOf({ kind: "canvas", userId: "user_1" }, "w")).toBe("canvas:user_1");
});
