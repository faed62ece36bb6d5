import { sanitiseFilename } from "../../domain/filename.ts";
import { Refusal } from "../../domain/refusal.ts";
import { looksLikeRowId } from "../../domain/row-id.ts";
import { pendingUri, readableBy, type UploadFile } from "../../domain/upload.ts";
import { log } from "../../log.ts";
import type { BlobStore } from "../../storage/blob-store.ts";
import { uploadKey } from "../../storage/keys.ts";
import type { StoredFile as StoredBytes } from "../../uploads/serve-upload.ts";
import type { Clock } from "../shared/alarm.ts";
import type { Core } from "./core.ts";
import { deliveryModeOf } from "./profile-store.ts";
import type { StoredFile } from "./upload-store.ts";

/** One file of a stored multipart body, as the Worker found it. */
export interface ReceivedFile {
  readonly name: string;
  readonly mimeType: string;
  readonly offset: number;
  readonly length: number;
  readonly sha256: string;
}

/** What the uploader is told of a file, in the contract's keys. */
export interface StagedFile {
  readonly uri: string;
  readonly name: string;
  readonly mimeType: string;
  readonly size: number;
}

/** Chat uploads of a poll workspace: staged, fetched, acked, expired. All methods but the clock's run inside a turn. */
export class Files implements Clock {
  readonly name = "files";
  readonly #core: Core;
  readonly #blobs: BlobStore | null;

  constructor(core: Core, blobs: BlobStore | null) {
    this.#core = core;
    this.#blobs = blobs;
  }

  /** Opens the intent of an upload; poll workspaces only, the push branch is the Worker's. */
  open(uploadId: string, now: number): { mode: "poll" | "push" } {
    const { uploads, profile } = this.#core;
    const mode = deliveryModeOf(profile.get());
    if (mode === "poll") uploads.open(uploadId, now);
    return { mode };
  }

  renew(uploadId: string, now: number): boolean {
    return this.#core.uploads.renew(uploadId, now);
  }

  abandon(uploadId: string, now: number): void {
    this.#core.uploads.abandon(uploadId, now);
  }

  /** Stages all files of an upload with one inbox row each, or none: null when the intent is no longer open. */
  commit(uploadId: string, files: readonly ReceivedFile[], now: number): StagedFile[] | null {
    const { uploads, inbox, profile } = this.#core;
    const upload = uploads.store(uploadId, now);
    if (upload === null) return null;
    const { workspaceId } = profile.get();
    return files.map((received) => {
      const { seq, fileId } = uploads.nextFile();
      const uri = pendingUri(workspaceId, fileId);
      const { name, mimeType, length: size } = received;
      const activitySeq = inbox.append(
        {
          activityType: "a2a_receive",
          method: "chat_upload_receive",
          targetId: workspaceId,
          summary: `chat_upload_receive: ${name}`,
          requestBody: JSON.stringify({ file_id: fileId, name, mimeType, size, uri }),
          event: "logged",
          own: false,
        },
        now * 1000,
      );
      uploads.stage(seq, upload, activitySeq, { ...received, fileId, uploadId }, now);
      log.info("upload.staged", { workspace_id: workspaceId, file_id: fileId, size, name });
      return { uri, name, mimeType, size };
    });
  }

  /** A file for its agent, which notes the fetch, or for an operator or person at the canvas, which does not. */
  fetch(fileId: string, reader: "agent" | "user", now: number): StoredBytes {
    const { uploads, profile } = this.#core;
    this.#expire(now);
    const stored = this.#require(fileId);
    if (!readableBy(stored.file, reader, now)) throw new Refusal("upload.not_found");
    if (reader === "agent") {
      uploads.fetched(stored, now);
      this.#log("upload.fetched", stored.file);
    }
    const { uploadId, offset, length, sha256, name, mimeType } = stored.file;
    return { key: uploadKey(profile.get().workspaceId, uploadId), offset, length, sha256, name, mimeType };
  }

  /** The agent has the file. Repeatable; `raced` when it expired since it was fetched. */
  ack(fileId: string, now: number): { raced: boolean } {
    this.#expire(now);
    const stored = this.#require(fileId);
    const { file, raced } = this.#core.uploads.acked(stored, now);
    if (file.state !== "acked" && !raced) throw new Refusal("upload.not_found");
    if (file !== stored.file) this.#log("upload.acked", file);
    return { raced };
  }

  dueAt(): number | null {
    return this.#core.uploads.dueAt(this.#core.flush.flushedThrough);
  }

  /** Expires files and intents, then deletes bytes that nobody may read any more. */
  async run(now: number): Promise<void> {
    const { uploads, flush } = this.#core;
    uploads.expireIntents(now);
    this.#expire(now);
    const deletable = this.#blobs ? uploads.deletable(now, flush.flushedThrough) : [];
    if (this.#blobs && deletable.length > 0) {
      await this.#blobs.delete(deletable.map(({ key }) => key));
      for (const { upload } of deletable) uploads.forgetUpload(upload);
      log.info("upload.bytes_deleted", {
        workspace_id: this.#core.profile.get().workspaceId,
        uploads: deletable.length,
      });
    }
    uploads.reconsider();
  }

  /** Ends what is due and tells the sender of a file that nobody ever fetched. */
  #expire(now: number): void {
    const { uploads, inbox, events, profile } = this.#core;
    const due = uploads.dueAt(this.#core.flush.flushedThrough);
    if (due === null || due > now) return;
    const { workspaceId } = profile.get();
    for (const { stored, unseen } of uploads.expire(now)) {
      const { file } = stored;
      this.#log("upload.expired", file);
      if (!unseen) continue;
      const body = JSON.stringify({ file_id: file.fileId, name: file.name, size: file.length });
      inbox.append(
        {
          activityType: "error",
          method: "upload_expired",
          targetId: workspaceId,
          summary: `upload expired before the agent fetched it: ${file.name}`,
          requestBody: body,
          status: "error",
          errorDetail: "the file was never fetched",
          event: "logged",
          own: true,
        },
        now * 1000,
      );
      events.record("UPLOAD_EXPIRED", body, now * 1000);
    }
  }

  #require(fileId: string): StoredFile {
    const stored = this.#core.uploads.find(fileId);
    if (stored) return stored;
    // An id of this shape that is not ours is another workspace's, as far as anybody may know.
    const foreign = looksLikeRowId(fileId) && this.#core.ids("file").seqOf(fileId) === null;
    throw new Refusal(foreign ? "upload.foreign" : "upload.not_found");
  }

  #log(event: string, file: UploadFile): void {
    const { workspaceId } = this.#core.profile.get();
    log.info(event, {
      workspace_id: workspaceId,
      file_id: file.fileId,
      size: file.length,
      name: sanitiseFilename(file.name),
    });
  }
}
