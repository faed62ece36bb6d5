import { Refusal } from "../../domain/refusal.ts";
import { looksLikeRowId } from "../../domain/row-id.ts";
import { isExternal } from "../../domain/runtime.ts";
import { pendingUri, readableBy, type UploadFile } from "../../domain/upload.ts";
import { log } from "../../log.ts";
import type { BlobStore } from "../../storage/blob-store.ts";
import { uploadKey } from "../../storage/keys.ts";
import type { FileAgent } from "../../uploads/agent-files.ts";
import type { StoredFile as StoredBytes } from "../../uploads/serve-upload.ts";
import type { Clock } from "../shared/alarm.ts";
import type { Core } from "./core.ts";
import { deliveryModeOf, type Profile } from "./profile-store.ts";
import type { StoredFile } from "./upload-store.ts";

/** One file of a stored multipart body, as the Worker found it. */
export interface ReceivedFile {
  readonly name: string;
  readonly mimeType: string;
  readonly offset: number;
  readonly length: number;
  readonly sha256: string;
}

/** Whether files rest here or are handed on, and to whom. */
export interface UploadTarget {
  readonly mode: "poll" | "push";
  readonly agent: FileAgent;
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

  /** Opens the intent of an upload, of a poll workspace only; the bytes for a push agent do not rest here. */
  open(uploadId: string, now: number): UploadTarget {
    const target = this.target();
    if (target.mode === "push") return target;
    this.#core.requireRoom();
    this.#core.uploads.open(uploadId, now);
    return target;
  }

  /** Where the files of this workspace go. */
  target(): UploadTarget {
    const { url, inboundSecret, runtime } = this.#requireLive();
    const mode = deliveryModeOf(this.#core.profile.get());
    // An agent that polls is never to have a callback URL, whatever it registered.
    if (mode === "poll") return { mode, agent: { url: null, inboundSecret, external: true } };
    const instanceId = this.#core.machines.at(url);
    const machine = instanceId === null ? {} : { instanceId };
    return { mode, agent: { url, inboundSecret, external: isExternal(runtime), ...machine } };
  }

  renew(uploadId: string, now: number): boolean {
    return this.#core.uploads.renew(uploadId, now);
  }

  /** Ends an open intent for good: nobody's bytes will be committed under it. `failed`: the store did not take them. */
  abandon(uploadId: string, failed: boolean, now: number): void {
    this.#core.uploads.abandon(uploadId, now);
    if (failed) this.#core.profile.count("upload_error");
  }

  /**
   * Stages all files of an upload with one inbox row each, or none: null when the intent is no longer open. An upload
   * that is committed is answered as before, also when the workspace was removed since.
   */
  commit(uploadId: string, files: readonly ReceivedFile[], now: number): StagedFile[] | null {
    const { uploads, inbox } = this.#core;
    const committed = uploads.committed(uploadId);
    if (committed.length > 0) return committed.map((file) => this.#told(file));
    const { workspaceId } = this.#requireLive();
    const upload = uploads.store(uploadId, now);
    if (upload === null) return null;
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
      const file = uploads.stage(seq, upload, activitySeq, { ...received, fileId, uploadId }, now);
      this.#log("upload.staged", file);
      return this.#told(file);
    });
  }

  /**
   * A file for its agent, or for an operator or person at the canvas. The agent's fetch is noted, unless it only
   * looks: then its time runs on as before.
   */
  fetch(fileId: string, reader: "agent" | "user", looks: boolean, now: number): StoredBytes {
    const { uploads, profile } = this.#core;
    this.#expire(now);
    const stored = this.#require(fileId);
    if (!readableBy(stored.file, reader, now)) throw new Refusal("upload.not_found");
    if (reader === "agent" && !looks) {
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
    return this.#core.uploads.dueAt();
  }

  /** Expires files and intents, then deletes bytes that nobody may read any more. */
  async run(now: number): Promise<void> {
    const { uploads, flush, profile } = this.#core;
    const abandoned = uploads.expireIntents(now);
    this.#expire(now);
    uploads.forgetSwept(now, flush.flushedThrough);
    const deletable = uploads.deletable(now);
    if (this.#blobs && deletable.length + abandoned.length > 0) {
      try {
        await this.#blobs.delete([...abandoned, ...deletable.map(({ key }) => key)]);
        for (const { upload } of deletable) uploads.swept(upload, now);
        log.info("upload.swept", { workspace_id: profile.get().workspaceId, uploads: deletable.length });
      } catch (error) {
        profile.count("upload_sweep_error");
        log.error("upload.sweep_failed", {
          workspace_id: profile.get().workspaceId,
          reason: String(error).slice(0, 120),
        });
      }
      profile.commit();
    }
    uploads.reconsider();
  }

  /** Ends what is due and tells the sender of a file that nobody ever fetched. */
  #expire(now: number): void {
    const { uploads, inbox, events, profile } = this.#core;
    const due = uploads.dueAt();
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

  #requireLive(): Profile {
    const profile = this.#core.profile.get();
    if (profile.removedAt === null) return profile;
    throw new Refusal("workspace.removed", { details: { id: profile.workspaceId } });
  }

  #told({ fileId, name, mimeType, length }: UploadFile): StagedFile {
    return { uri: pendingUri(this.#core.profile.get().workspaceId, fileId), name, mimeType, size: length };
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
      name: file.name,
    });
  }
}
