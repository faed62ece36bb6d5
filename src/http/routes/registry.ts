import { Hono } from "hono";
import * as z from "zod";
import { pushUrlPolicy } from "../../config.ts";
import { digestOf } from "../../domain/credential.ts";
import { Refusal } from "../../domain/refusal.ts";
import { EXTERNAL_RUNTIME } from "../../domain/runtime.ts";
import { cutCodePoints } from "../../domain/text.ts";
import { checkPushUrl } from "../../domain/url-guard.ts";
import { canonicalWorkspaceId, type WorkspaceId } from "../../domain/workspace-id.ts";
import type { RegistrationInput } from "../../durable-objects/workspace/presence.ts";
import { json, jsonText } from "../answers.ts";
import { ask, settled } from "../ask.ts";
import { jsonBody, memberAsWritten } from "../body.ts";
import { workspaceAccess } from "../caller.ts";
import { type AppContext, type AppEnv, directoryOf, workspaceOf } from "../context.ts";
import { mint, mintInboundSecret } from "../mint.ts";
import { platformUrl } from "../platform-url.ts";

const URL_CHARS_MAX = 2_048;
/** A card is copied into creation and events; the largest one seen in the wild has some KiB. */
const CARD_CHARS_MAX = 256 * 1024;
const TEXT_CODE_POINTS_MAX = 4_096;

/** What a heartbeat says in words: cut where it is long, because a refused beat would take its agent offline. */
const words = z.string().transform((text) => cutCodePoints(text, TEXT_CODE_POINTS_MAX));

const REGISTER = z.object({
  id: z.string().min(1),
  url: z.string().max(URL_CHARS_MAX).nullish(),
  agent_card: z.unknown().refine((card) => card !== undefined),
  delivery_mode: z.string().nullish(),
});

const HEARTBEAT = z.object({
  workspace_id: z.string().min(1),
  error_rate: z.number().nullish(),
  sample_error: words.nullish(),
  active_tasks: z.int().nullish(),
  uptime_seconds: z.int().nullish(),
  current_task: words.nullish(),
  monthly_spend: z.int().nullish(),
  runtime_state: words.nullish(),
  runtime_metadata: z.object({ capabilities: z.record(z.string(), z.boolean()).nullish() }).nullish(),
});

const UPDATE_CARD = z.object({
  workspace_id: z.string().min(1),
  agent_card: z.unknown().refine((card) => card !== undefined),
});

const CHECK_ACCESS = z.object({ caller_id: z.string().min(1), target_id: z.string().min(1) });

/** Where agents register, beat, and find each other. */
export const registryRoutes = new Hono<AppEnv>()
  .post("/register", async (c) => {
    const body = await jsonBody(c, REGISTER);
    const deliveryMode = deliveryModeWord(body.delivery_mode);
    const id = bodyWorkspaceId(body.id);
    const registration: RegistrationInput = {
      url: body.url ?? "",
      agentCard: agentCardOf(body.text),
      deliveryMode,
    };
    return register(c, id, registration);
  })
  .post("/heartbeat", async (c) => {
    const body = await jsonBody(c, HEARTBEAT);
    const id = bodyWorkspaceId(body.workspace_id);
    const beat = {
      errorRate: body.error_rate ?? 0,
      sampleError: body.sample_error ?? "",
      activeTasks: body.active_tasks ?? 0,
      uptimeSeconds: body.uptime_seconds ?? 0,
      currentTask: body.current_task ?? "",
      monthlySpend: body.monthly_spend ?? 0,
      runtimeState: body.runtime_state ?? "",
      capabilities: body.runtime_metadata?.capabilities ?? {},
    };
    const { inboundSecret } = await ask(c, workspaceOf(c, id).heartbeat({ access: ownToken(c, id), beat }));
    return json({ status: "ok", platform_inbound_secret: inboundSecret });
  })
  .post("/update-card", async (c) => {
    const body = await jsonBody(c, UPDATE_CARD);
    const id = bodyWorkspaceId(body.workspace_id);
    const agentCard = agentCardOf(body.text);
    await ask(c, workspaceOf(c, id).updateCard({ access: ownToken(c, id), agentCard }));
    return json({ status: "updated" });
  })
  .get("/discover/:id", async (c) => {
    const callerId = c.req.header("X-Workspace-ID");
    if (!callerId) throw new Refusal("registry.caller_required");
    const id = canonicalWorkspaceId(c.req.param("id"));
    const from = canonicalWorkspaceId(callerId);
    if (from === null || id === null) throw new Refusal("workspace.invalid_id");
    const caller = await discoverer(c, from);
    const found = await ask(c, workspaceOf(c, id).discover({ caller })).catch((error) => {
      if (error instanceof Refusal && error.code === "a2a.access_denied") throw new Refusal("registry.not_authorized");
      throw error;
    });
    const own = { id, url: `${platformUrl(c)}/workspaces/${id}/a2a`, name: found.name };
    if (found.mode === "poll") return json(own);
    if (found.url === null || (found.status !== "online" && found.status !== "degraded")) {
      throw new Refusal("registry.not_available", { details: { status: found.status } });
    }
    // Only the platform can call an agent there.
    if (found.isMachineUrl) return json(own);
    if (!checkPushUrl(found.url, pushUrlPolicy(c.var.config)).ok) throw new Refusal("registry.url_unsafe");
    return json({ id, url: found.url, name: found.name });
  })
  .get("/:id/peers", async (c) => {
    const id = canonicalWorkspaceId(c.req.param("id"));
    if (id === null) throw new Refusal("workspace.invalid_id");
    await discoverer(c, id);
    return jsonText(await ask(c, directoryOf(c).peers({ id, query: c.req.query("q") ?? "" })));
  })
  .post("/check-access", async (c) => {
    const { caller_id: callerId, target_id: targetId } = await jsonBody(c, CHECK_ACCESS);
    const { credential, config } = c.var;
    if (credential.kind === "none" && !config.devMode) throw new Refusal("auth.missing_token");
    if (credential.kind === "invalid") throw new Refusal("auth.invalid_token");
    if (credential.kind === "workspace") {
      await ask(c, workspaceOf(c, credential.id).verify({ access: { kind: "token", digest: credential.digest } }));
      // A workspace may ask for itself; who reaches whom elsewhere is not its business.
      if (credential.id !== callerId && credential.id !== targetId) return json({ allowed: false });
    }
    return json({ allowed: await settled(directoryOf(c).checkAccess({ callerId, targetId })) });
  });

/** Registers a known workspace; makes an unknown one where that is allowed, with its first token. */
async function register(c: AppContext, id: WorkspaceId, registration: RegistrationInput): Promise<Response> {
  const { token, minted } = mint(c, id);
  const fingerprint = digestOf(JSON.stringify([id, registration.url, registration.agentCard]));
  const { credential } = c.var;
  if (credential.kind === "workspace" && credential.id !== id) throw new Refusal("auth.invalid_token");
  const access = credential.kind === "workspace" ? ({ kind: "token", digest: credential.digest } as const) : null;
  if (credential.kind === "invalid") throw new Refusal("auth.invalid_token");
  const known = await ask(
    c,
    workspaceOf(c, id).register({
      // No operator stands in for an agent.
      access: credential.kind === "admin" || credential.kind === "organisation" ? { kind: "admin" } : access,
      registration,
      minted,
      fingerprint,
    }),
  );
  if (known) {
    return json({
      status: "registered",
      delivery_mode: known.deliveryMode,
      ...(known.minted ? { auth_token: token } : {}),
      platform_inbound_secret: known.inboundSecret,
    });
  }
  return registerUnknown(c, id, registration, { token, minted, fingerprint });
}

/** An unknown id becomes an external workspace: in open dev mode, for an operator, or where registration is open. */
async function registerUnknown(
  c: AppContext,
  id: WorkspaceId,
  registration: RegistrationInput,
  { token, minted, fingerprint }: { token: string; minted: { digest: string; prefix: string }; fingerprint: string },
): Promise<Response> {
  const { credential, config } = c.var;
  if (credential.kind === "workspace") throw new Refusal("auth.invalid_token");
  if (credential.kind === "none" && !config.devMode && !config.openRegistration)
    throw new Refusal("auth.missing_token");
  const { url, agentCard, deliveryMode } = registration;
  const mode = deliveryMode ?? (url === "" ? "poll" : "push");
  if (mode === "push") requirePushUrl(c, url);
  const inboundSecret = mintInboundSecret();
  const address = url === "" ? "" : `"url":${JSON.stringify(url)},`;
  const online = `{${address}"agent_card":${agentCard},"delivery_mode":"${mode}"}`;
  const created = await ask(
    c,
    directoryOf(c).create({
      id,
      name: id,
      role: null,
      tier: 1,
      runtime: EXTERNAL_RUNTIME,
      parentId: null,
      workspaceDir: null,
      x: 0,
      y: 0,
      maxConcurrentTasks: 1,
      budgetLimit: null,
      deliveryMode,
      url: url === "" ? null : url,
      agentCard,
      status: "online",
      token: { ...minted, registration: fingerprint },
      events: [{ event: "WORKSPACE_ONLINE", payload: online }],
      inboundSecret,
      suffixTakenName: false,
    }),
  );
  return json({
    status: "registered",
    delivery_mode: mode,
    auth_token: token,
    platform_inbound_secret: inboundSecret,
    ...(created.confirmed ? {} : { pending: true }),
  });
}

/** The card as it was sent; `null` is a card too. */
function agentCardOf(text: string): string {
  const card = memberAsWritten(text, "agent_card") ?? "null";
  if (card.length <= CARD_CHARS_MAX) return card;
  const hint = "An agent card may have at most max_bytes characters; leave examples and images out.";
  throw new Refusal("request.too_large", { hint, details: { field: "agent_card", max_bytes: CARD_CHARS_MAX } });
}

function requirePushUrl(c: AppContext, url: string): void {
  const check = checkPushUrl(url, pushUrlPolicy(c.var.config));
  if (!check.ok) throw check.refusal;
}

function deliveryModeWord(word: string | null | undefined): "push" | "poll" | null {
  if (word == null || word === "") return null;
  if (word === "push" || word === "poll") return word;
  throw new Refusal("registry.invalid_delivery_mode");
}

function bodyWorkspaceId(text: string): WorkspaceId {
  const id = canonicalWorkspaceId(text);
  if (id === null) throw new Refusal("workspace.invalid_id");
  return id;
}

/** The registry rule: only the workspace's own token beats or changes its card, in every mode. */
function ownToken(c: AppContext, id: string) {
  const { credential } = c.var;
  if (credential.kind === "none") throw new Refusal("auth.missing_token");
  if (credential.kind !== "workspace" || credential.id !== id) throw new Refusal("auth.invalid_token");
  return { kind: "token", digest: credential.digest } as const;
}

/** The discovery rule: the workspace's own token, an operator, or open dev mode. */
async function discoverer(c: AppContext, id: string) {
  return ask(c, workspaceOf(c, id).verify({ access: workspaceAccess(c, id) }));
}
