import { describe, expect, it } from "vitest";
import { attachmentsOf } from "../../src/domain/row-attachments.ts";

function withParts(...parts: unknown[]): string {
  return JSON.stringify({ id: "r", request_body: { params: { message: { parts } } } });
}

describe("the files of a message", () => {
  it("are its file parts by kind or type, nested or inline, whatever the case of the mime key", () => {
    const row = withParts(
      { kind: "text", text: "see" },
      { kind: "file", file: { uri: "u1", name: "a.txt", mimeType: "text/plain", size: 3 } },
      { type: "image", uri: "u2", mime_type: "image/png" },
      { kind: "audio", file: { name: "c.ogg" } },
      { kind: "video", file: "no object", name: "d.mp4" },
    );
    expect(attachmentsOf(row)).toEqual([
      { kind: "file", uri: "u1", mime_type: "text/plain", name: "a.txt" },
      { kind: "image", uri: "u2", mime_type: "image/png" },
      { kind: "audio", name: "c.ogg" },
      { kind: "video", name: "d.mp4" },
    ]);
  });

  it("need a uri or a name, and a kind that is one of files", () => {
    const row = withParts(
      { kind: "file" },
      { kind: "file", file: { uri: "", name: 7 } },
      { kind: "data", uri: "u" },
      { uri: "u" },
      null,
      "x",
    );
    expect(attachmentsOf(row)).toEqual([]);
  });

  it("are none where there is no message, no list of parts, or no body at all", () => {
    for (const request_body of [
      { params: { message: { parts: "x" } } },
      { params: {} },
      { task: "t" },
      [],
      "text",
      7,
    ]) {
      expect(attachmentsOf(JSON.stringify({ id: "r", request_body })), JSON.stringify(request_body)).toEqual([]);
    }
    expect(attachmentsOf('{"id":"r"}')).toEqual([]);
  });
});

describe("the file of an upload's manifest", () => {
  it("has its kind from its mime type", () => {
    const manifest = (mimeType?: string) =>
      attachmentsOf(
        JSON.stringify({ request_body: { file_id: "f", uri: "platform-pending:w/f", name: "n", mimeType, size: 1 } }),
      );
    expect(manifest("image/png")).toEqual([
      { kind: "image", uri: "platform-pending:w/f", mime_type: "image/png", name: "n" },
    ]);
    expect(manifest("application/pdf")[0]?.kind).toBe("file");
    expect(manifest()).toEqual([{ kind: "file", uri: "platform-pending:w/f", name: "n" }]);
  });
});
