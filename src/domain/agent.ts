import * as z from "zod";
import { isStorableText } from "./text.ts";
import { canonicalWorkspaceId } from "./workspace-id.ts";

/**
 * The agent that a workspace has been given by name: an id and a model, at most one for a workspace. Nothing is started
 * or stopped with it.
 */
export interface Agent {
  readonly id: string;
  readonly model: string;
}

/** What is wanted of the agent of the workspace `workspaceId`. */
export type AgentOrder =
  | { readonly kind: "assign"; readonly workspaceId: string; readonly model: string }
  | { readonly kind: "replace"; readonly workspaceId: string; readonly model: string }
  | { readonly kind: "remove"; readonly workspaceId: string }
  | { readonly kind: "move"; readonly workspaceId: string; readonly targetId: string };

/** What a workspace's history keeps of a change that was made elsewhere. */
export interface Note {
  readonly event: string;
  readonly payload: Readonly<Record<string, string>>;
}

const MODEL_BYTES_MAX = 100;
const encoder = new TextEncoder();

/** The body that assigns an agent, or replaces it. */
export const ASSIGN_AGENT = z.object({
  model: z
    .string()
    .min(1)
    .refine((model) => isStorableText(model) && !/[\r\n]/.test(model))
    .refine((model) => encoder.encode(model).length <= MODEL_BYTES_MAX),
});

/** The body that moves an agent to another workspace. */
export const MOVE_AGENT = z.object({
  target_workspace_id: z.string().refine((id) => canonicalWorkspaceId(id) !== null),
});
