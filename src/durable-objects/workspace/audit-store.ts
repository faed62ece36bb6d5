import type { RowIds } from "../../domain/row-id.ts";
import type { MirroredTable } from "../shared/flush.ts";
import { mirroredTable, sizeOf } from "../shared/mirrored.ts";

/** Who did what to what of this workspace, and why. `detail` is the JSON text of an object. */
export interface AuditEntry {
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly reason: string | null;
  readonly detail: string;
}

interface AuditRow extends Record<string, SqlStorageValue> {
  seq: number;
  version: number;
  actor: string;
  action: string;
  subject: string;
  reason: string | null;
  detail: string;
  created_at: number;
}

/** The audit trail of a workspace, which only grows. */
export class AuditStore {
  readonly #sql: SqlStorage;
  readonly #nextVersion: () => number;
  readonly #ids: () => RowIds;
  readonly #workspaceId: () => string;

  constructor(sql: SqlStorage, nextVersion: () => number, ids: () => RowIds, workspaceId: () => string) {
    this.#sql = sql;
    this.#nextVersion = nextVersion;
    this.#ids = ids;
    this.#workspaceId = workspaceId;
  }

  add({ actor, action, subject, reason, detail }: AuditEntry, nowUs: number): void {
    const seq = this.#nextVersion();
    this.#sql.exec(
      "INSERT INTO audit (seq, version, actor, action, subject, reason, detail, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      seq,
      seq,
      actor,
      action,
      subject,
      reason,
      detail,
      nowUs,
    );
  }

  mirror(): MirroredTable {
    return mirroredTable<AuditRow>(this.#sql, {
      ledger: "audit_log",
      table: "audit",
      size: sizeOf("detail", "reason", "actor", "action", "subject"),
      toLedger: (row) => ({
        id: this.#ids().idOf(row.seq),
        workspace_id: this.#workspaceId(),
        actor: row.actor,
        action: row.action,
        subject: row.subject,
        reason: row.reason,
        detail: row.detail,
        created_at: row.created_at,
        version: row.version,
      }),
    });
  }
}
