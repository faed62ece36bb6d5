import { type Context, Hono } from "hono";
import * as z from "zod";
import { ACTIVITY_TYPES, readNotify } from "../../domain/activity.ts";
import { type ActivityQuery, parseActivityQuery } from "../../domain/activity-query.ts";
import { parseJsonText } from "../../domain/json-text.ts";
import { Refusal } from "../../domain/refusal.ts";
import { isStorableText } from "../../domain/text.ts";
import { canonicalWorkspaceId } from "../../domain/workspace-id.ts";
import { openDatabase } from "../../ledgers/database.ts";
import { searchSessions } from "../../ledgers/session-search.ts";
import { activityAnswer } from "../activity-answer.ts";
import { json, jsonText } from "../answers.ts";
import { ask } from "../ask.ts";
import { bodyText, jsonBody, memberAsWritten } from "../body.ts";
import { workspaceAccess, workspaceIdParam } from "../caller.ts";
import { type AppEnv, workspaceOf } from "../context.ts";
import { holdPoll, openInboxSocket } from "../held-poll.ts";

/** `method` and `status` are words, not texts. */
const REPORT_WORD_CHARS_MAX = 1_024;

const SOCKET_HINT = "A session opens no inbox socket: poll with ?wait=, or listen on /ws.";

const REPORT = z.object({
  activity_type: z.string().min(1),
  source_id: z.string().nullish(),
  target_id: z.string().max(128).nullish(),
  method: z.string().max(REPORT_WORD_CHARS_MAX).nullish(),
  summary: z.string().nullish(),
  status: z.string().max(REPORT_WORD_CHARS_MAX).nullish(),
  error_detail: z.string().nullish(),
  duration_ms: z.int().min(-2_147_483_648).max(2_147_483_647).nullish(),
  request_body: z.unknown().optional(),
  response_body: z.unknown().optional(),
  metadata: z.unknown().optional(),
});

const ACK = z.object({ acked_seq: z.int().nullish(), id: z.string().nullish(), ack: z.string().nullish() });

/** The feed, which is also the inbox: read, report, acknowledge, and words to the user. */
export const activityRoutes = new Hono<AppEnv>()
  .get("/activity", async (c) => {
    const { id, access, query } = readQuery(c);
    if (query.waitSeconds > 0) return holdPoll(c, id, access, query);
    return activityAnswer(c, await ask(c, workspaceOf(c, id).listActivity({ access, query })), query);
  })
  .get("/inbox/socket", async (c) => {
    const { id, access, query } = readQuery(c);
    // It would stay open when the user has long signed out.
    if (c.var.credential.kind === "session") throw new Refusal("auth.invalid_token", { hint: SOCKET_HINT });
    if (c.req.header("Upgrade")?.toLowerCase() !== "websocket") throw new Refusal("request.upgrade_required");
    return openInboxSocket(c, id, access, query);
  })
  .post("/activity", async (c) => {
    const id = workspaceIdParam(c);
    const access = workspaceAccess(c, id);
    const body = await jsonBody(c, REPORT);
    if (!ACTIVITY_TYPES.some((type) => type === body.activity_type)) throw new Refusal("activity.invalid_type");
    const sourceId = body.source_id || id;
    if (sourceId !== id) throw new Refusal("activity.foreign_source");
    const requestBody = memberAsWritten(body.text, "request_body") ?? memberAsWritten(body.text, "metadata");
    await ask(
      c,
      workspaceOf(c, id).reportActivity({
        access,
        row: {
          activityType: body.activity_type,
          sourceId,
          targetId: body.target_id || null,
          method: body.method ?? null,
          summary: body.summary ?? null,
          status: body.status || "ok",
          errorDetail: body.error_detail ?? null,
          durationMs: body.duration_ms ?? null,
          requestBody,
          responseBody: memberAsWritten(body.text, "response_body"),
        },
      }),
    );
    return json({ status: "logged" });
  })
  .post("/activity/ack", async (c) => {
    const id = workspaceIdParam(c);
    const access = workspaceAccess(c, id);
    const { acked_seq: seq, id: rowId, ack } = await jsonBody(c, ACK);
    const upTo = seq ?? rowId ?? ack;
    if (upTo == null) throw new Refusal("activity.ack_required");
    if (typeof upTo === "number" && upTo < 0) throw new Refusal("activity.ack_negative");
    const { ackedSeq } = await ask(c, workspaceOf(c, id).acknowledge({ access, upTo }));
    return json({ last_acked_seq: ackedSeq });
  })
  .post("/notify", async (c) => {
    const id = workspaceIdParam(c);
    const access = workspaceAccess(c, id);
    const { message, attachments } = readNotify(parseJsonText(await bodyText(c))?.value);
    await ask(c, workspaceOf(c, id).notify({ access, message, attachments }));
    return json({ status: "sent" });
  })
  .get("/session-search", async (c) => {
    const id = workspaceIdParam(c);
    await ask(c, workspaceOf(c, id).authorise({ access: workspaceAccess(c, id) }));
    const limit = Number(c.req.query("limit"));
    const text = c.req.query("q") ?? "";
    if (!isStorableText(text)) throw new Refusal("request.unstorable_text");
    const found = await searchSessions(openDatabase(c.env), id, text, limit);
    return jsonText(found);
  });

function readQuery(c: Context<AppEnv>) {
  const id = canonicalWorkspaceId(c.req.param("id") ?? "");
  if (id === null) throw new Refusal("workspace.invalid_id");
  const access = workspaceAccess(c, id);
  const query: ActivityQuery = parseActivityQuery(new URL(c.req.url).searchParams, c.req.header("Prefer") ?? null);
  return { id, access, query };
}
