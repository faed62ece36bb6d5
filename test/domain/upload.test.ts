import { describe, expect, it } from "vitest";
import {
  ackFile,
  attachFile,
  bytesDueAt,
  DEFAULT_UPLOAD_LIFETIMES,
  DEFAULT_UPLOAD_LIMITS,
  dueAt,
  expiredUnseen,
  expireFile,
  fetchFile,
  fileIdOfPendingUri,
  pendingUri,
  readableBy,
  stageFile,
  UPLOAD_FILE_STATES,
} from "../../src/domain/upload.ts";

const { unackedMs, afterFetchMs, bytesGraceMs, retentionMs } = DEFAULT_UPLOAD_LIFETIMES;
const NOW = 1_800_000_000_000;
const END = NOW + unackedMs;

const aFile = (now = NOW) =>
  stageFile(
    {
      fileId: crypto.randomUUID(),
      uploadId: crypto.randomUUID(),
      name: "alpha.txt",
      mimeType: "text/plain",
      offset: 160,
      length: 5,
      sha256: "00",
    },
    now,
  );
const anAckedFile = (now = NOW) => ackFile(aFile(now), now).file;
const anExpiredFile = (now = NOW) => expireFile(aFile(now - unackedMs), now);

describe("an uploaded file", () => {
  it("expires a day after it was staged, not a millisecond earlier", () => {
    const file = aFile();
    expect(dueAt(file)).toBe(END);
    expect(expireFile(file, END - 1)).toBe(file);
    expect(expireFile(file, END)).toMatchObject({ state: "expired", fetchedAt: null, expiredAt: END });
  });

  it("lives at least an hour after its last fetch", () => {
    expect(fetchFile(aFile(), NOW + 1)).toMatchObject({ state: "fetched", fetchedAt: NOW + 1, expiresAt: END });
    const last = fetchFile(fetchFile(aFile(), NOW + 1), END - 1);
    expect(last).toMatchObject({ state: "fetched", fetchedAt: END - 1, expiresAt: END - 1 + afterFetchMs });
    expect(dueAt(last)).toBe(END - 1 + afterFetchMs);
  });

  it("cannot be fetched by its agent once it is acked or expired", () => {
    const acked = anAckedFile();
    expect(fetchFile(acked, NOW + 1)).toBe(acked);
    expect(fetchFile(aFile(), END)).toMatchObject({ state: "expired" });
  });

  it("is acked once, and again with the same answer", () => {
    const first = ackFile(fetchFile(aFile(), NOW + 1), NOW + 2);
    expect(first).toMatchObject({ file: { state: "acked", fetchedAt: NOW + 1, ackedAt: NOW + 2 }, raced: false });
    expect(ackFile(first.file, NOW + 3)).toEqual(first);
    expect(dueAt(first.file)).toBeNull();
  });

  it("may be acked without having been fetched", () => {
    expect(ackFile(aFile(), NOW)).toMatchObject({ file: { state: "acked", fetchedAt: null }, raced: false });
  });

  it("that expired since its fetch is acked as raced; one never fetched is gone", () => {
    const fetched = fetchFile(aFile(), NOW + 1);
    expect(ackFile(fetched, END)).toMatchObject({ file: { state: "expired" }, raced: true });
    expect(ackFile(aFile(), END)).toMatchObject({ file: { state: "expired" }, raced: false });
  });

  it("never leaves its final state", () => {
    for (const final of [anAckedFile(), anExpiredFile()]) {
      expect(expireFile(final, END * 2)).toBe(final);
      expect(fetchFile(final, END * 2)).toBe(final);
      expect(ackFile(final, END * 2).file).toBe(final);
    }
  });

  it("carries no field of the state it left", () => {
    expect(expireFile(aFile(), END)).not.toHaveProperty("expiresAt");
    expect(anAckedFile()).not.toHaveProperty("expiresAt");
  });

  it("tells its sender only when nobody ever came for it and it was not handed to the user", () => {
    expect(expiredUnseen(anExpiredFile())).toBe(true);
    expect(expiredUnseen(expireFile(fetchFile(aFile(), NOW), END))).toBe(false);
    expect(expiredUnseen(expireFile(attachFile(aFile(), NOW), NOW + retentionMs))).toBe(false);
    expect(expiredUnseen(aFile())).toBe(false);
  });

  it("is readable by its agent until the ack, by the user beyond it, by nobody once expired", () => {
    expect(readableBy(aFile(), "agent", NOW)).toBe(true);
    expect(readableBy(fetchFile(aFile(), NOW), "agent", NOW)).toBe(true);
    expect(readableBy(anAckedFile(), "agent", NOW)).toBe(false);
    expect(readableBy(anAckedFile(), "user", NOW)).toBe(true);
    expect(readableBy(aFile(), "user", END)).toBe(false);
    expect(readableBy(aFile(), "agent", END)).toBe(false);
  });

  it("that is attached to a message to the user stays for the retention", () => {
    expect(attachFile(aFile(), NOW)).toMatchObject({ state: "staged", attachedAt: NOW, expiresAt: NOW + retentionMs });
    expect(attachFile(fetchFile(aFile(), NOW), NOW)).toMatchObject({ state: "fetched", expiresAt: NOW + retentionMs });
    expect(attachFile(anAckedFile(), NOW + 5)).toMatchObject({ state: "acked", ackedAt: NOW, attachedAt: NOW + 5 });
    expect(attachFile(anExpiredFile(), NOW)).toMatchObject({ state: "expired", attachedAt: null });
  });
});

describe("the stored bytes of an upload", () => {
  it("stay while one of its files is live", () => {
    expect(bytesDueAt([anAckedFile(), aFile()])).toBeNull();
  });

  it("go fifteen minutes after the last file expired", () => {
    expect(bytesDueAt([anExpiredFile(NOW), anExpiredFile(NOW + 7)])).toBe(NOW + 7 + bytesGraceMs);
  });

  it("stay for the retention after the last ack or attachment", () => {
    expect(bytesDueAt([anAckedFile(NOW), anExpiredFile(NOW + 7)])).toBe(NOW + retentionMs);
    expect(bytesDueAt([attachFile(anAckedFile(NOW), NOW + 9)])).toBe(NOW + 9 + retentionMs);
  });

  it("outlive downloads under way even without a retention", () => {
    const lifetimes = { ...DEFAULT_UPLOAD_LIFETIMES, retentionMs: 0 };
    expect(bytesDueAt([anAckedFile()], lifetimes)).toBe(NOW + bytesGraceMs);
  });
});

describe("a pending URI", () => {
  const workspaceId = crypto.randomUUID();
  const fileId = crypto.randomUUID();

  it("has one colon, no slash after it, and is read back", () => {
    expect(pendingUri(workspaceId, fileId)).toBe(`platform-pending:${workspaceId}/${fileId}`);
    expect(fileIdOfPendingUri(workspaceId, pendingUri(workspaceId, fileId))).toBe(fileId);
  });

  it("of another workspace, or of anything but a file id, is none", () => {
    expect(fileIdOfPendingUri(crypto.randomUUID(), pendingUri(workspaceId, fileId))).toBeNull();
    expect(fileIdOfPendingUri(workspaceId, pendingUri(workspaceId, "../x"))).toBeNull();
  });
});

it("limits are those that every client of today can take", () => {
  expect(DEFAULT_UPLOAD_LIMITS).toEqual({ fileBytesMax: 26_214_400, requestBytesMax: 52_428_800, filesMax: 64 });
  expect(UPLOAD_FILE_STATES).toEqual(["staged", "fetched", "acked", "expired"]);
});
