import type { Agent, AgentOrder, Note } from "../../domain/agent.ts";
import { Refusal } from "../../domain/refusal.ts";
import type { Effect, Effects } from "../shared/effects.ts";

/** The agent of each workspace that has one. They stand together, so that a move is one turn and no two own one. */
export const AGENTS_SCHEMA = `
CREATE TABLE agents (
  workspace_id TEXT PRIMARY KEY,
  agent_id TEXT NOT NULL,
  model TEXT NOT NULL
) STRICT, WITHOUT ROWID;
`;

/** An order that was carried out; `oldModel` is that of the agent which was replaced. */
export interface AgentChanged {
  readonly agent: Agent;
  readonly oldModel: string | null;
}

/** Changes of agents: each writes rows together with the effects by which the workspaces concerned record it. */
export class Agents {
  readonly #sql: SqlStorage;
  readonly #effects: Effects;

  constructor(sql: SqlStorage, effects: Effects) {
    this.#sql = sql;
    this.#effects = effects;
  }

  /** Carries an order out inside the caller's turn; its workspaces are live. */
  change(order: AgentOrder, now: number): AgentChanged & { readonly effects: Effect[] } {
    const { workspaceId } = order;
    const before = this.#of(workspaceId);
    if (order.kind === "assign") {
      if (before) throw new Refusal("agent.exists");
      const agent = this.#put(workspaceId, { id: crypto.randomUUID(), model: order.model });
      return { agent, oldModel: null, effects: [this.#tell(workspaceId, "AGENT_ASSIGNED", agent, {}, now)] };
    }
    if (!before) throw new Refusal("agent.not_found");
    if (order.kind === "replace") {
      const agent = this.#put(workspaceId, { id: crypto.randomUUID(), model: order.model });
      const replaced = { old_model: before.model };
      const effects = [this.#tell(workspaceId, "AGENT_REPLACED", agent, replaced, now)];
      return { agent, oldModel: before.model, effects };
    }
    if (order.kind === "move" && this.#of(order.targetId)) throw new Refusal("agent.exists");
    this.forget(workspaceId);
    if (order.kind === "remove") {
      const effects = [this.#tell(workspaceId, "AGENT_REMOVED", before, {}, now)];
      return { agent: before, oldModel: null, effects };
    }
    this.#put(order.targetId, before);
    const effects = [
      this.#tell(workspaceId, "AGENT_MOVED", before, { target_workspace_id: order.targetId }, now),
      this.#tell(order.targetId, "AGENT_MOVED", before, { source_workspace_id: workspaceId }, now),
    ];
    return { agent: before, oldModel: null, effects };
  }

  /** An agent goes with its workspace; nobody is told. */
  forget(workspaceId: string): void {
    this.#sql.exec("DELETE FROM agents WHERE workspace_id = ?", workspaceId);
  }

  #of(workspaceId: string): Agent | null {
    const query = "SELECT agent_id AS id, model FROM agents WHERE workspace_id = ?";
    return this.#sql.exec<{ id: string; model: string }>(query, workspaceId).toArray()[0] ?? null;
  }

  #put(workspaceId: string, agent: Agent): Agent {
    const { id, model } = agent;
    this.#sql.exec(
      "INSERT OR REPLACE INTO agents (workspace_id, agent_id, model) VALUES (?, ?, ?)",
      workspaceId,
      id,
      model,
    );
    return agent;
  }

  #tell(receiver: string, event: string, { id, model }: Agent, more: Note["payload"], now: number): Effect {
    const note: Note = { event, payload: { agent_id: id, model, ...more } };
    return this.#effects.add(receiver, "noted", note, now);
  }
}
