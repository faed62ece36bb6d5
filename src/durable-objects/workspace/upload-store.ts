import type { RowIds } from "../../domain/row-id.ts";
import {
  ackFile,
  attachFile,
  bytesDueAt,
  DEAD_INTENT_REPEAT_MS,
  expiredUnseen,
  expireFile,
  fetchFile,
  INTENT_TTL_MS,
  stageFile,
  type UploadFile,
  type UploadFileFacts,
  type UploadLifetimes,
} from "../../domain/upload.ts";
import { uploadKey } from "../../storage/keys.ts";
import type { MirroredTable } from "../shared/flush.ts";
import { mirroredTable } from "../shared/mirrored.ts";

interface FileRow extends Record<string, SqlStorageValue> {
  seq: number;
  version: number;
  upload: number;
  activity_seq: number;
  body_offset: number;
  size: number;
  sha256: string;
  name: string;
  mime_type: string;
  state: UploadFile["state"];
  staged_at: number;
  attached_at: number | null;
  fetched_at: number | null;
  acked_at: number | null;
  expired_at: number | null;
  expires_at: number | null;
  swept_at: number | null;
  upload_id: string;
}

/** A file with the places where the object keeps it. */
export interface StoredFile {
  readonly seq: number;
  readonly upload: number;
  readonly activitySeq: number;
  readonly file: UploadFile;
}

const FILE = "SELECT files.*, uploads.upload_id FROM files JOIN uploads USING (upload)";
const SLICE = 50;
/** Rows of deleted bytes wait this long for the ledger to have them. */
const SWEPT_KEPT_MS = 60 * 60_000;

/** Uploads and their files: intents, states and what is due. The bytes are in R2, under the upload's key. */
export class UploadStore {
  readonly #sql: SqlStorage;
  readonly #nextVersion: () => number;
  readonly #ids: () => RowIds;
  readonly #workspaceId: () => string;
  readonly #lifetimes: UploadLifetimes;
  /** A lower bound of what is due; undefined until the rows have been looked at. */
  #due: number | null | undefined;

  constructor(
    sql: SqlStorage,
    nextVersion: () => number,
    ids: () => RowIds,
    workspaceId: () => string,
    lifetimes: UploadLifetimes,
  ) {
    this.#sql = sql;
    this.#nextVersion = nextVersion;
    this.#ids = ids;
    this.#workspaceId = workspaceId;
    this.#lifetimes = lifetimes;
  }

  /** Notes that bytes are about to be stored, or still flow, under an upload's key. */
  open(uploadId: string, now: number): void {
    this.#sql.exec("INSERT INTO uploads (upload_id, state, renewed_at) VALUES (?, 'open', ?)", uploadId, now);
    this.#dueBy(now + INTENT_TTL_MS);
  }

  /** False when the intent is no longer open. */
  renew(uploadId: string, now: number): boolean {
    const upload = this.#openUpload(uploadId, now);
    if (upload === null) return false;
    this.#sql.exec("UPDATE uploads SET renewed_at = ? WHERE upload = ?", now, upload);
    return true;
  }

  /** Turns an open intent into a stored upload; null when it is no longer open. Files follow with `stage`. */
  store(uploadId: string, now: number): number | null {
    const upload = this.#openUpload(uploadId, now);
    if (upload !== null)
      this.#sql.exec("UPDATE uploads SET state = 'stored', renewed_at = ? WHERE upload = ?", now, upload);
    return upload;
  }

  /** The files of an upload that is committed; none while it is open or after it was given up. */
  committed(uploadId: string): UploadFile[] {
    return this.#sql
      .exec<FileRow>(`${FILE} WHERE uploads.upload_id = ? ORDER BY files.seq`, uploadId)
      .toArray()
      .map((row) => this.#stored(row).file);
  }

  /** Gives up an intent; its key is deleted by the caller now and once more a day later. */
  abandon(uploadId: string, now: number): void {
    const upload = this.#openUpload(uploadId, now);
    if (upload !== null) this.#kill(upload, now);
  }

  /** The id that the next file will have. */
  nextFile(): { seq: number; fileId: string } {
    const seq = this.#nextVersion();
    return { seq, fileId: this.#ids().idOf(seq) };
  }

  stage(seq: number, upload: number, activitySeq: number, facts: UploadFileFacts, now: number): UploadFile {
    const file = stageFile(facts, now, this.#lifetimes);
    this.#sql.exec(
      `INSERT INTO files (seq, version, upload, activity_seq, body_offset, size, sha256, name, mime_type, state, staged_at,
         expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      seq,
      seq,
      upload,
      activitySeq,
      facts.offset,
      facts.length,
      facts.sha256,
      facts.name,
      facts.mimeType,
      file.state,
      now,
      file.state === "staged" ? file.expiresAt : null,
    );
    this.#dueBy(now + this.#lifetimes.unackedMs);
    return file;
  }

  /** The file of an id; null for an id that is none of ours or whose bytes are gone. */
  find(fileId: string): StoredFile | null {
    const seq = this.#ids().seqOf(fileId);
    if (seq === null) return null;
    const row = this.#sql.exec<FileRow>(`${FILE} WHERE files.seq = ? AND swept_at IS NULL`, seq).toArray()[0];
    return row ? this.#stored(row) : null;
  }

  fetched(stored: StoredFile, now: number): UploadFile {
    return this.#write(stored, fetchFile(stored.file, now, this.#lifetimes), now);
  }

  acked(stored: StoredFile, now: number): { file: UploadFile; raced: boolean } {
    const { file, raced } = ackFile(stored.file, now);
    return { file: this.#write(stored, file, now), raced };
  }

  attached(stored: StoredFile, now: number): UploadFile {
    return this.#write(stored, attachFile(stored.file, now, this.#lifetimes), now);
  }

  /** Ends files whose time ran out, a slice of them. `unseen` tells which ones the sender should hear of. */
  expire(now: number): { stored: StoredFile; unseen: boolean }[] {
    return this.#sql
      .exec<FileRow>(`${FILE} WHERE expires_at <= ? LIMIT ?`, now, SLICE)
      .toArray()
      .map((row) => {
        const stored = this.#stored(row);
        const file = this.#write(stored, expireFile(stored.file, now), now);
        return { stored: { ...stored, file }, unseen: expiredUnseen(file) };
      });
  }

  /** Gives up intents that nobody renewed; answers their keys. */
  expireIntents(now: number): string[] {
    const dead = this.#sql
      .exec<{ upload: number; upload_id: string }>(
        "SELECT upload, upload_id FROM uploads WHERE state = 'open' AND renewed_at <= ?",
        now - INTENT_TTL_MS,
      )
      .toArray();
    for (const { upload } of dead) this.#kill(upload, now);
    return dead.map(({ upload_id }) => uploadKey(this.#workspaceId(), upload_id));
  }

  /** Uploads whose bytes may go: the last of their files has ended long enough ago, or a dead intent is a day old. */
  deletable(now: number): { upload: number; key: string }[] {
    const due: { upload: number; key: string }[] = [];
    const uploads = this.#sql
      .exec<{ upload: number; upload_id: string; state: string; renewed_at: number }>(
        "SELECT upload, upload_id, state, renewed_at FROM uploads WHERE state IN ('dead', 'stored')",
      )
      .toArray();
    for (const { upload, upload_id, state, renewed_at } of uploads) {
      if (due.length === SLICE) break;
      const at = state === "dead" ? renewed_at + DEAD_INTENT_REPEAT_MS : this.#bytesDueAt(upload);
      if (at !== null && at <= now) due.push({ upload, key: uploadKey(this.#workspaceId(), upload_id) });
    }
    return due;
  }

  /** Notes that the bytes of an upload are gone. Its files' rows stay until the ledger knows. */
  swept(upload: number, now: number): void {
    const files = this.#sql.exec<{ seq: number }>("SELECT seq FROM files WHERE upload = ?", upload).toArray();
    for (const { seq } of files) {
      this.#sql.exec("UPDATE files SET swept_at = ?, version = ? WHERE seq = ?", now, this.#nextVersion(), seq);
    }
    if (files.length === 0) this.#sql.exec("DELETE FROM uploads WHERE upload = ?", upload);
    else this.#sql.exec("UPDATE uploads SET state = 'swept', renewed_at = ? WHERE upload = ?", now, upload);
  }

  /** Ends every upload, whatever it waits for: intents are dead, files have expired, and their bytes are gone. */
  endAll(now: number): void {
    const files = this.#sql.exec<{ seq: number }>("SELECT seq FROM files WHERE swept_at IS NULL").toArray();
    for (const { seq } of files) {
      this.#sql.exec(
        `UPDATE files SET version = ?1, swept_at = ?2, expires_at = NULL,
           expired_at = CASE WHEN state IN ('staged', 'fetched') THEN ?2 ELSE expired_at END,
           state = CASE WHEN state IN ('staged', 'fetched') THEN 'expired' ELSE state END WHERE seq = ?3`,
        this.#nextVersion(),
        now,
        seq,
      );
    }
    this.#sql.exec("UPDATE uploads SET state = 'swept', renewed_at = ? WHERE state <> 'swept'", now);
    this.reconsider();
  }

  /** Forgets swept uploads that the ledger knows. */
  forgetSwept(now: number, flushedThrough: number): void {
    const uploads = this.#sql
      .exec<{ upload: number }>(
        `SELECT upload FROM uploads WHERE state = 'swept' AND renewed_at <= ?1
         AND NOT EXISTS (SELECT 1 FROM files WHERE files.upload = uploads.upload AND version > ?2) LIMIT ?3`,
        now - SWEPT_KEPT_MS,
        flushedThrough,
        SLICE,
      )
      .toArray();
    for (const { upload } of uploads) {
      this.#sql.exec("DELETE FROM files WHERE upload = ?", upload);
      this.#sql.exec("DELETE FROM uploads WHERE upload = ?", upload);
    }
  }

  /** When anything here is due, or an earlier time: what is found then says when to look again. */
  dueAt(): number | null {
    if (this.#due === undefined) this.#due = this.#computeDue();
    return this.#due;
  }

  /** Looks at the rows again at the next `dueAt`. */
  reconsider(): void {
    this.#due = undefined;
  }

  mirror(): MirroredTable {
    return mirroredTable<FileRow>(this.#sql, {
      ledger: "pending_uploads",
      table: "files",
      size: "400",
      toLedger: (row) => {
        const uploadId = this.#uploadId(row.upload);
        return {
          file_id: this.#ids().idOf(row.seq),
          workspace_id: this.#workspaceId(),
          upload_id: uploadId,
          filename: row.name,
          mimetype: row.mime_type,
          size_bytes: row.size,
          sha256: row.sha256,
          state: row.state,
          blob_key: uploadKey(this.#workspaceId(), uploadId),
          body_offset: row.body_offset,
          activity_seq: row.activity_seq,
          attached_at: row.attached_at === null ? null : row.attached_at * 1000,
          created_at: row.staged_at * 1000,
          fetched_at: row.fetched_at === null ? null : row.fetched_at * 1000,
          acked_at: row.acked_at === null ? null : row.acked_at * 1000,
          expires_at: (row.expires_at ?? row.expired_at ?? row.staged_at + this.#lifetimes.unackedMs) * 1000,
          swept_at: row.swept_at === null ? null : row.swept_at * 1000,
          version: row.version,
        };
      },
    });
  }

  #uploadId(upload: number): string {
    return this.#sql.exec<{ upload_id: string }>("SELECT upload_id FROM uploads WHERE upload = ?", upload).one()
      .upload_id;
  }

  #openUpload(uploadId: string, now: number): number | null {
    const row = this.#sql
      .exec<{ upload: number }>(
        "SELECT upload FROM uploads WHERE upload_id = ? AND state = 'open' AND renewed_at > ? ORDER BY upload DESC",
        uploadId,
        now - INTENT_TTL_MS,
      )
      .toArray()[0];
    return row?.upload ?? null;
  }

  #kill(upload: number, now: number): void {
    this.#sql.exec("UPDATE uploads SET state = 'dead', renewed_at = ? WHERE upload = ?", now, upload);
    this.#dueBy(now + DEAD_INTENT_REPEAT_MS);
  }

  #write(stored: StoredFile, file: UploadFile, now: number): UploadFile {
    if (file === stored.file) return file;
    const expiresAt = "expiresAt" in file ? file.expiresAt : null;
    this.#sql.exec(
      `UPDATE files SET version = ?, state = ?, attached_at = ?, fetched_at = ?, acked_at = ?, expired_at = ?, expires_at = ?
       WHERE seq = ?`,
      this.#nextVersion(),
      file.state,
      file.attachedAt,
      "fetchedAt" in file ? file.fetchedAt : null,
      "ackedAt" in file ? file.ackedAt : null,
      "expiredAt" in file ? file.expiredAt : null,
      expiresAt,
      stored.seq,
    );
    this.#dueBy(expiresAt ?? now + this.#lifetimes.bytesGraceMs);
    return file;
  }

  #bytesDueAt(upload: number): number | null {
    const rows = this.#sql.exec<FileRow>(`${FILE} WHERE upload = ?`, upload).toArray();
    return bytesDueAt(
      rows.map((row) => this.#stored(row).file),
      this.#lifetimes,
    );
  }

  #computeDue(): number | null {
    const { intent, dead, swept, file } = this.#sql
      .exec<{ intent: number | null; dead: number | null; swept: number | null; file: number | null }>(
        `SELECT (SELECT min(renewed_at) FROM uploads WHERE state = 'open') AS intent,
                (SELECT min(renewed_at) FROM uploads WHERE state = 'dead') AS dead,
                (SELECT max(renewed_at) FROM uploads WHERE state = 'swept') AS swept,
                (SELECT min(expires_at) FROM files) AS file`,
      )
      .one();
    const dues = this.#sql
      .exec<{ upload: number }>("SELECT upload FROM uploads WHERE state = 'stored'")
      .toArray()
      .map(({ upload }) => this.#bytesDueAt(upload));
    dues.push(
      intent && intent + INTENT_TTL_MS,
      dead && dead + DEAD_INTENT_REPEAT_MS,
      swept && swept + SWEPT_KEPT_MS,
      file,
    );
    const known = dues.filter((due) => due !== null);
    return known.length === 0 ? null : Math.min(...known);
  }

  #dueBy(at: number): void {
    if (this.#due === undefined) return;
    this.#due = this.#due === null ? at : Math.min(this.#due, at);
  }

  #stored(row: FileRow): StoredFile {
    const common = {
      fileId: this.#ids().idOf(row.seq),
      uploadId: row.upload_id,
      name: row.name,
      mimeType: row.mime_type,
      offset: row.body_offset,
      length: row.size,
      sha256: row.sha256,
      stagedAt: row.staged_at,
      attachedAt: row.attached_at,
    };
    return { seq: row.seq, upload: row.upload, activitySeq: row.activity_seq, file: fileOf(row, common) };
  }
}

function fileOf(
  row: FileRow,
  common: Omit<Extract<UploadFile, { state: "staged" }>, "state" | "expiresAt">,
): UploadFile {
  switch (row.state) {
    case "staged":
      return { ...common, state: "staged", expiresAt: row.expires_at ?? row.staged_at };
    case "fetched":
      return {
        ...common,
        state: "fetched",
        expiresAt: row.expires_at ?? row.staged_at,
        fetchedAt: row.fetched_at ?? row.staged_at,
      };
    case "acked":
      return { ...common, state: "acked", fetchedAt: row.fetched_at, ackedAt: row.acked_at ?? row.staged_at };
    case "expired":
      return { ...common, state: "expired", fetchedAt: row.fetched_at, expiredAt: row.expired_at ?? row.staged_at };
  }
}
