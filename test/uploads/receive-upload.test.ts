import { Buffer } from "node:buffer";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { Refusal } from "../../src/domain/refusal.ts";
import { DEFAULT_UPLOAD_LIMITS, INTENT_RENEWAL_MS } from "../../src/domain/upload.ts";
import { PART_BYTES } from "../../src/storage/blob-store.ts";
import { READ_BYTES, receiveUpload } from "../../src/uploads/receive-upload.ts";
import { serveUpload } from "../../src/uploads/serve-upload.ts";
import { bytesOf, digestOf, randomBytes } from "../storage/blobs.ts";
import { BOUNDARY, fileHeaders, multipartBody, type Part } from "./bodies.ts";
import { anUpload, type RecordingDeps, recordingDeps } from "./recording-deps.ts";

const CONTENT_TYPE = `multipart/form-data; boundary=${BOUNDARY}`;
const MIB = 1024 * 1024;
const aFile = (content: string | Uint8Array, name = "a.txt"): Part => ({ headers: fileHeaders(name), content });
const filesOf = (count: number) => Array.from({ length: count }, (_, index) => aFile(`${index}`, `${index}.txt`));

const receive = (deps: RecordingDeps, parts: readonly Part[], workspaceId: string = crypto.randomUUID()) =>
  receiveUpload(workspaceId, anUpload(multipartBody(parts), CONTENT_TYPE), deps);

/** What the agent would download: every committed file, served from the store. */
async function download(deps: RecordingDeps): Promise<Uint8Array[]> {
  const [upload] = deps.committed;
  const files = (upload?.files ?? []).map((file) => ({ ...file, key: upload?.key ?? "" }));
  const request = new Request("http://posthouse.test/content");
  return Promise.all(files.map(async (file) => bytesOf((await serveUpload(request, file, deps.blobs)).body)));
}

async function expectNothingLeft(deps: RecordingDeps, workspaceId: string): Promise<void> {
  expect(deps.committed).toEqual([]);
  expect([...deps.openIntents]).toEqual([]);
  expect(await deps.blobs.get(deps.keyOf(workspaceId))).toBeNull();
}

function linesOf(level: "info" | "warn"): Record<string, unknown>[] {
  const lines: Record<string, unknown>[] = [];
  const spy = vi.spyOn(console, level === "info" ? "log" : "warn").mockImplementation((line) => {
    lines.push(JSON.parse(line));
  });
  onTestFinished(() => spy.mockRestore());
  return lines;
}

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
});

describe("an upload", () => {
  it("answers what the object says of its files, which are in the order of the body", async () => {
    const deps = recordingDeps();
    const parts = [aFile("alpha", "../hello world!.pdf"), { headers: 'Content-Disposition: form-data; name="note"' }];
    const { files } = await receive(deps, [...parts, aFile("", "b.txt")]);
    expect(files).toBe(deps.committed[0]?.told);
    expect(files).toMatchObject([
      { name: "hello_world_.pdf", mimeType: "text/plain", size: 5 },
      { name: "b.txt", mimeType: "text/plain", size: 0 },
    ]);
  });

  it("of 24 MiB comes back byte for byte, and no more than 64 KiB of it were ever held", async () => {
    const [deps, lines, bytes] = [recordingDeps(), linesOf("info"), randomBytes(24 * MIB)];
    await receive(deps, [aFile(bytes, "binary")]);
    const [served = new Uint8Array(0)] = await download(deps);
    expect(served.length).toBe(bytes.length);
    expect(digestOf(served)).toBe(digestOf(bytes));
    const stored = lines.find(({ event }) => event === "upload.stored");
    expect(stored?.held_bytes_max).toBeLessThanOrEqual(65_536);
  });

  it("keeps two files apart, and lines that look like a boundary inside them", async () => {
    const deps = recordingDeps();
    const contents = [`one\r\n--${BOUNDARY}x\r\n`, `\r\n--${BOUNDARY.slice(1)}--\r\n`, "", `x--${BOUNDARY}--`];
    await receive(
      deps,
      contents.map((content) => aFile(content)),
    );
    expect((await download(deps)).map((bytes) => Buffer.from(bytes).toString())).toEqual(contents);
  });

  it("of ten files is one put, one intent and one commit", async () => {
    const deps = recordingDeps();
    expect((await receive(deps, filesOf(10))).files).toHaveLength(10);
    expect(deps.bucketCalls).toEqual(["put"]);
    expect(deps.calls).toEqual(["openIntent", "commit"]);
  });

  it("logs how much was stored and never what", async () => {
    const [deps, lines] = [recordingDeps(), linesOf("info")];
    await receive(deps, [aFile("a secret", "my file.txt")]);
    expect(lines).toMatchObject([
      { event: "upload.stored", size: multipartBody([aFile("a secret", "my file.txt")]).length },
    ]);
    expect(JSON.stringify(lines)).not.toContain("secret");
  });

  it("of a slow client renews its intent once a minute", async () => {
    let halves = 0;
    const now = () => {
      halves += 1;
      return (halves * INTENT_RENEWAL_MS) / 2;
    };
    const deps = recordingDeps({ now });
    await receive(deps, [aFile(randomBytes(4 * READ_BYTES - 1_000))]);
    expect(deps.calls).toEqual(["openIntent", "renewIntent", "renewIntent", "commit"]);
  });
});

describe("an upload without a length", () => {
  const unsized = (body: Uint8Array) => anUpload(body, CONTENT_TYPE, { declaredBytes: null });

  it("is stored in equal parts and comes back byte for byte", async () => {
    const [deps, bytes] = [recordingDeps(), randomBytes(2 * PART_BYTES)];
    await receiveUpload(crypto.randomUUID(), unsized(multipartBody([aFile("first"), aFile(bytes)])), deps);
    expect((await download(deps)).map(digestOf)).toEqual([digestOf(Buffer.from("first")), digestOf(bytes)]);
    expect(deps.bucketCalls[0]).toBe("createMultipartUpload");
  });

  it("is refused as soon as it is over the request's cap", async () => {
    const [deps, workspaceId] = [recordingDeps({ limits: { ...DEFAULT_UPLOAD_LIMITS, requestBytesMax: 1_000 } }), "w"];
    const upload = receiveUpload(workspaceId, unsized(multipartBody([aFile(randomBytes(100_000))])), deps);
    await expect(upload).rejects.toMatchObject({
      code: "upload.request_too_large",
      options: { details: { max: 1_000 } },
    });
    await expectNothingLeft(deps, workspaceId);
  });

  it("runs twice at once in an isolate and not a third time", async () => {
    const held = Promise.withResolvers<void>();
    const waiting = recordingDeps({ openIntent: () => held.promise });
    const body = multipartBody([aFile("x")]);
    const running = [1, 2].map(() => receiveUpload(crypto.randomUUID(), unsized(body), waiting));
    const third = receiveUpload(crypto.randomUUID(), unsized(body), waiting);
    await expect(third).rejects.toMatchObject({ code: "upload.busy", options: { retryAfter: 5 } });
    held.reject(new Error("object away"));
    expect((await Promise.allSettled(running)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    await receiveUpload(crypto.randomUUID(), unsized(body), recordingDeps());
  });
});

describe("two uploads without a length whose clients sent no more", () => {
  it("do not keep a third from running", async () => {
    const body = multipartBody([aFile(randomBytes(1_000))]);
    const stalled = () => anUpload(body, CONTENT_TYPE, { declaredBytes: null, stallsAfter: 500 });
    const deps = recordingDeps({ idleMs: 1 });
    const uploads = [1, 2].map(() => receiveUpload(crypto.randomUUID(), stalled(), deps));
    await Promise.allSettled(uploads);
    const third = anUpload(body, CONTENT_TYPE, { declaredBytes: null });
    expect((await receiveUpload(crypto.randomUUID(), third, deps)).files).toHaveLength(1);
  });
});

describe("an upload that is refused leaves no key, no open intent and no file:", () => {
  const cut = (body: Uint8Array) => body.slice(0, body.length - 4);

  it.each([
    ["its final boundary is missing", cut(multipartBody([aFile("alpha")])), "upload.malformed"],
    ["it has another boundary", multipartBody([aFile("alpha")], "other"), "upload.malformed"],
    ["it has no files field", multipartBody([{ headers: fileHeaders("a", "text/plain", "file") }]), "upload.no_files"],
    ["it has 65 files", multipartBody(filesOf(65)), "upload.too_many_files"],
    [
      "65 files win over a large one",
      multipartBody([aFile(randomBytes(300)), ...filesOf(65)]),
      "upload.too_many_files",
    ],
    [
      "a file is over the cap, beside an empty one",
      multipartBody([aFile(""), aFile(randomBytes(300))]),
      "upload.file_too_large",
    ],
    ["a broken body wins over a large file", cut(multipartBody([aFile(randomBytes(300))])), "upload.malformed"],
  ])("%s", async (_, body, code) => {
    const [deps, workspaceId] = [recordingDeps({ limits: { ...DEFAULT_UPLOAD_LIMITS, fileBytesMax: 200 } }), "w"];
    await expect(receiveUpload(workspaceId, anUpload(body, CONTENT_TYPE), deps)).rejects.toMatchObject({ code });
    await expectNothingLeft(deps, workspaceId);
    expect(deps.calls).toEqual(["openIntent", "abandon"]);
  });

  it("a file of 25 MiB and one byte, whose true size and own name are told", async () => {
    const [deps, workspaceId] = [recordingDeps(), crypto.randomUUID()];
    const size = 25 * MIB + 1;
    const upload = receive(deps, [aFile(new Uint8Array(size), "C:/tmp/große Datei.bin")], workspaceId);
    await expect(upload).rejects.toMatchObject({
      code: "upload.file_too_large",
      options: { details: { filename: "große Datei.bin", size, max: 26_214_400 } },
    });
    await expectNothingLeft(deps, workspaceId);
  });

  it("the text names the limit of files that is in force", async () => {
    const deps = recordingDeps({ limits: { ...DEFAULT_UPLOAD_LIMITS, filesMax: 2 } });
    await expect(receive(deps, filesOf(3))).rejects.toThrow("too many files (limit 2)");
  });

  it("the client is gone in the middle", async () => {
    const [deps, workspaceId] = [recordingDeps(), crypto.randomUUID()];
    const body = multipartBody([aFile(randomBytes(MIB))]);
    const upload = receiveUpload(workspaceId, anUpload(body, CONTENT_TYPE, { breaksAfter: 500_000 }), deps);
    await expect(upload).rejects.toMatchObject({ code: "upload.unreadable" });
    await expectNothingLeft(deps, workspaceId);
  });

  it.each([
    ["with its length told", undefined],
    ["without a length", null],
  ])("no byte came for too long, %s", async (_, declaredBytes) => {
    const [deps, workspaceId] = [recordingDeps({ idleMs: 1 }), crypto.randomUUID()];
    const body = multipartBody([aFile(randomBytes(1_000))]);
    const stalled = { stallsAfter: 500, ...(declaredBytes === undefined ? {} : { declaredBytes }) };
    const upload = receiveUpload(workspaceId, anUpload(body, CONTENT_TYPE, stalled), deps);
    await expect(upload).rejects.toMatchObject({ code: "upload.unreadable" });
    await expectNothingLeft(deps, workspaceId);
  });

  it.each([
    ["more", -1, "upload.malformed"],
    ["fewer", 1, "upload.unreadable"],
  ])("it has %s bytes than its Content-Length says", async (_, difference, code) => {
    const [deps, workspaceId] = [recordingDeps(), crypto.randomUUID()];
    const body = multipartBody([aFile("x")]);
    const request = anUpload(body, CONTENT_TYPE, { declaredBytes: body.length + difference });
    await expect(receiveUpload(workspaceId, request, deps)).rejects.toMatchObject({ code });
    await expectNothingLeft(deps, workspaceId);
  });

  it.each([
    [
      "refuses to commit",
      { commit: async () => Promise.reject(new Refusal("workspace.removed")) },
      "workspace.removed",
    ],
    ["has given up the intent before the commit", { commit: async () => null }, "upload.storage_failed"],
    ["has given up the intent while bytes flow", { renewIntent: async () => false }, "upload.storage_failed"],
  ])("the object %s", async (_, changed, code) => {
    let now = 0;
    const clock = () => {
      now += INTENT_RENEWAL_MS;
      return now;
    };
    const [deps, workspaceId] = [recordingDeps({ ...changed, now: clock }), crypto.randomUUID()];
    await expect(receive(deps, [aFile("x")], workspaceId)).rejects.toMatchObject({ code });
    await expectNothingLeft(deps, workspaceId);
  });

  it("the store does not take the bytes", async () => {
    const deps = recordingDeps();
    const [workspaceId, lines] = ["w".repeat(2_000), linesOf("warn")];
    vi.spyOn(console, "error").mockImplementation(() => {});
    onTestFinished(() => void vi.restoreAllMocks());
    await expect(receive(deps, [aFile(randomBytes(MIB))], workspaceId)).rejects.toMatchObject({
      code: "upload.storage_failed",
    });
    expect([deps.committed, [...deps.openIntents]]).toEqual([[], []]);
    expect(lines).toHaveLength(1);
  });
});

describe("an upload is refused before a byte is read and without an intent:", () => {
  it.each([
    ["it is no multipart", "application/json", 10, "upload.malformed"],
    ["it has no boundary", "multipart/form-data", 10, "upload.malformed"],
    ["it is over the request's cap", CONTENT_TYPE, 50 * MIB + 1, "upload.request_too_large"],
  ])("%s", async (_, contentType, declaredBytes, code) => {
    const deps = recordingDeps();
    const request = anUpload(new Uint8Array(10), contentType, { declaredBytes });
    await expect(receiveUpload(crypto.randomUUID(), request, deps)).rejects.toMatchObject({ code });
    expect([deps.calls, deps.bucketCalls, request.bodyUsed]).toEqual([[], [], false]);
  });

  it("it has no body", async () => {
    const request = new Request("http://posthouse.test", { method: "POST", headers: { "content-type": CONTENT_TYPE } });
    await expect(receiveUpload(crypto.randomUUID(), request, recordingDeps())).rejects.toMatchObject({
      code: "upload.malformed",
    });
  });
});

describe("an upload whose object is hard to reach", () => {
  const away = async () => Promise.reject(new Error("object away"));

  it("is asked for again and staged once when only the answer of its commit was lost", async () => {
    const deps = recordingDeps();
    let lost = 0;
    const commit: typeof deps.commit = async (...call) => {
      const told = await deps.commit(...call);
      if (lost > 0) return told;
      lost += 1;
      throw new Error("answer lost");
    };
    expect((await receive({ ...deps, commit }, [aFile("alpha")])).files).toBe(deps.committed[0]?.told);
    expect(deps.committed).toHaveLength(1);
    expect((await download(deps)).map((bytes) => bytes.length)).toEqual([5]);
  });

  it("keeps its bytes when nobody can say whether it was committed", async () => {
    const [deps, workspaceId, lines] = [recordingDeps(), crypto.randomUUID(), linesOf("warn")];
    await expect(receive({ ...deps, commit: away }, [aFile("x")], workspaceId)).rejects.toThrow("object away");
    expect(await deps.blobs.get(deps.keyOf(workspaceId))).not.toBeNull();
    expect(deps.calls).toEqual(["openIntent"]);
    expect(lines).toMatchObject([{ event: "upload.outcome_unknown", workspace_id: workspaceId }]);
  });

  it("leaves a refused upload to its intent when that cannot be ended", async () => {
    const [deps, workspaceId, lines] = [recordingDeps(), crypto.randomUUID(), linesOf("warn")];
    await expect(receive({ ...deps, abandon: away }, [], workspaceId)).rejects.toMatchObject({
      code: "upload.no_files",
    });
    expect(await deps.blobs.get(deps.keyOf(workspaceId))).toBeNull();
    expect(lines).toMatchObject([{ event: "upload.left_to_its_intent", workspace_id: workspaceId }]);
  });
});
