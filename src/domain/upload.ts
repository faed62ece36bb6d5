/** What one upload may contain; all three are variables of the deployment. */
export interface UploadLimits {
  readonly fileBytesMax: number;
  readonly requestBytesMax: number;
  readonly filesMax: number;
}

export const DEFAULT_UPLOAD_LIMITS: UploadLimits = {
  fileBytesMax: 25 * 1024 * 1024,
  requestBytesMax: 50 * 1024 * 1024,
  filesMax: 64,
};

/** How long files and their bytes stay, in milliseconds. */
export interface UploadLifetimes {
  /** Until a file that nobody acks expires. */
  readonly unackedMs: number;
  /** What a fetch leaves at least before the file expires. */
  readonly afterFetchMs: number;
  /** Between the end of a file and the deletion of its bytes, for downloads under way. */
  readonly bytesGraceMs: number;
  /** How long the bytes of an acked or attached file stay for the chat. */
  readonly retentionMs: number;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

export const DEFAULT_UPLOAD_LIFETIMES: UploadLifetimes = {
  unackedMs: 24 * HOUR_MS,
  afterFetchMs: HOUR_MS,
  bytesGraceMs: 15 * MINUTE_MS,
  retentionMs: 168 * HOUR_MS,
};

/** How often the intent of an upload is renewed while its bytes flow. */
export const INTENT_RENEWAL_MS = MINUTE_MS;
/** An intent not renewed for this long is dead: nothing can be committed under it and its key is deleted. */
export const INTENT_TTL_MS = 5 * MINUTE_MS;
/** A dead intent's key is deleted once more after this, in case bytes arrived behind the first deletion. */
export const DEAD_INTENT_REPEAT_MS = 24 * HOUR_MS;

/** One file of a stored multipart body: `length` bytes from `offset` of it, `sha256` in hex. */
export interface UploadFileFacts {
  readonly fileId: string;
  readonly uploadId: string;
  /** Sanitised, safe in any header. */
  readonly name: string;
  /** May be `""`. */
  readonly mimeType: string;
  readonly offset: number;
  readonly length: number;
  readonly sha256: string;
}

interface Common extends UploadFileFacts {
  readonly stagedAt: number;
  /** When a `/notify` made the file its user's; null while it is only the agent's. */
  readonly attachedAt: number | null;
}

/** A file waiting for its agent. Times are milliseconds since the epoch. */
export type UploadFile =
  | (Common & { readonly state: "staged"; readonly expiresAt: number })
  | (Common & { readonly state: "fetched"; readonly expiresAt: number; readonly fetchedAt: number })
  | (Common & { readonly state: "acked"; readonly fetchedAt: number | null; readonly ackedAt: number })
  | (Common & { readonly state: "expired"; readonly fetchedAt: number | null; readonly expiredAt: number });

export type UploadFileState = UploadFile["state"];
export const UPLOAD_FILE_STATES = ["staged", "fetched", "acked", "expired"] as const satisfies UploadFileState[];

export function stageFile(facts: UploadFileFacts, now: number, lifetimes = DEFAULT_UPLOAD_LIFETIMES): UploadFile {
  return {
    ...common({ ...facts, stagedAt: now, attachedAt: null }),
    state: "staged",
    expiresAt: now + lifetimes.unackedMs,
  };
}

/** Notes a fetch by the file's own agent. A file that is acked or expired by now comes back as such. */
export function fetchFile(file: UploadFile, now: number, lifetimes = DEFAULT_UPLOAD_LIFETIMES): UploadFile {
  const current = expireFile(file, now);
  if (!isLive(current)) return current;
  const expiresAt = Math.max(current.expiresAt, now + lifetimes.afterFetchMs);
  return { ...common(current), state: "fetched", expiresAt, fetchedAt: now };
}

/**
 * Takes the agent's word that it has the file; repeatable. `raced`: the file expired since its fetch, which is a
 * success too. Neither acked nor raced means that the file is gone for its agent.
 */
export function ackFile(file: UploadFile, now: number): { file: UploadFile; raced: boolean } {
  const current = expireFile(file, now);
  if (!isLive(current)) return { file: current, raced: current.state === "expired" && current.fetchedAt !== null };
  return { file: { ...common(current), state: "acked", fetchedAt: fetchedAtOf(current), ackedAt: now }, raced: false };
}

/** Hands the file over to its user: it stays for the retention, acked or not. An expired file is left as it is. */
export function attachFile(file: UploadFile, now: number, lifetimes = DEFAULT_UPLOAD_LIFETIMES): UploadFile {
  const current = expireFile(file, now);
  switch (current.state) {
    case "expired":
      return current;
    case "acked":
      return { ...current, attachedAt: now };
    case "staged":
    case "fetched":
      return { ...current, attachedAt: now, expiresAt: Math.max(current.expiresAt, now + lifetimes.retentionMs) };
  }
}

/** Ends a file whose time ran out; returns it untouched when nothing is due. */
export function expireFile(file: UploadFile, now: number): UploadFile {
  const due = dueAt(file);
  if (due === null || due > now) return file;
  return { ...common(file), state: "expired", fetchedAt: fetchedAtOf(file), expiredAt: now };
}

/** When the file ends by itself; null when it already has. */
export function dueAt(file: UploadFile): number | null {
  return isLive(file) ? file.expiresAt : null;
}

/** Whether the sender has to learn that nobody ever came for the file. */
export function expiredUnseen(file: UploadFile): boolean {
  return file.state === "expired" && file.fetchedAt === null && file.attachedAt === null;
}

/**
 * Who may still read the bytes: the agent until its ack, an admin, organisation or canvas credential until they are
 * deleted (`bytesDueAt` of the whole upload).
 */
export function readableBy(file: UploadFile, reader: "agent" | "user", now: number): boolean {
  const { state } = expireFile(file, now);
  return reader === "user" ? state !== "expired" : state === "staged" || state === "fetched";
}

/** When the stored body of an upload may be deleted, given all its files; null while one of them is live. */
export function bytesDueAt(files: readonly UploadFile[], lifetimes = DEFAULT_UPLOAD_LIFETIMES): number | null {
  let due = 0;
  for (const file of files) {
    if (isLive(file)) return null;
    due = Math.max(due, fileBytesDueAt(file, lifetimes));
  }
  return due;
}

type LiveFile = Extract<UploadFile, { state: "staged" | "fetched" }>;
type EndedFile = Exclude<UploadFile, LiveFile>;

function isLive(file: UploadFile): file is LiveFile {
  return file.state === "staged" || file.state === "fetched";
}

function fileBytesDueAt(file: EndedFile, { bytesGraceMs, retentionMs }: UploadLifetimes): number {
  if (file.state === "expired") return file.expiredAt + bytesGraceMs;
  return Math.max(file.ackedAt, file.attachedAt ?? 0) + Math.max(retentionMs, bytesGraceMs);
}

function fetchedAtOf(file: UploadFile): number | null {
  return file.state === "staged" ? null : file.fetchedAt;
}

/** Only what every state shares: a transition must not carry the old state's fields along. */
function common(file: Common): Common {
  const { fileId, uploadId, name, mimeType, offset, length, sha256, stagedAt, attachedAt } = file;
  return { fileId, uploadId, name, mimeType, offset, length, sha256, stagedAt, attachedAt };
}

const PENDING_SCHEME = "platform-pending:";

/** How a staged file is named in messages and answers: one colon, no slash after it. */
export function pendingUri(workspaceId: string, fileId: string): string {
  return `${PENDING_SCHEME}${workspaceId}/${fileId}`;
}

/** The file id in a pending URI of this workspace; null for anything else. */
export function fileIdOfPendingUri(workspaceId: string, uri: string): string | null {
  const prefix = pendingUri(workspaceId, "");
  const fileId = uri.startsWith(prefix) ? uri.slice(prefix.length) : "";
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(fileId) ? fileId : null;
}
