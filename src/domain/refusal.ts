/**
 * Every way the platform can say no. `error` is the text that clients match on, `code` is stable for programs,
 * `hint` says what to do about it.
 */
export interface RefusalKind {
  readonly status: 400 | 401 | 402 | 403 | 404 | 409 | 410 | 412 | 413 | 415 | 416 | 422 | 429 | 500 | 501 | 502 | 503;
  readonly error: string;
  readonly hint: string;
}

export const REFUSALS = {
  internal: {
    status: 500,
    error: "internal error",
    hint: "Something broke on our side. Tell the operator the request id.",
  },
  "route.unknown": { status: 404, error: "404 page not found", hint: "Check the path and the method." },
  platform_unavailable: {
    status: 503,
    error: "platform datastore unavailable — retry shortly",
    hint: "The platform's ledger database cannot be reached. Retry in a few seconds; nothing was lost.",
  },
  overloaded: {
    status: 503,
    error: "workspace overloaded — retry shortly",
    hint: "Wait the seconds in Retry-After, then repeat the request.",
  },
  "schema.ahead": {
    status: 503,
    error: "platform is being upgraded — retry shortly",
    hint: "A newer version has written here. Retry once the deployment has finished.",
  },
  "request.invalid": {
    status: 400,
    error: "invalid request body",
    hint: "Send a JSON object with the documented keys.",
  },
  "request.too_large": {
    status: 413,
    error: "request body too large",
    hint: "A JSON body may have at most max_bytes bytes; send files through chat uploads.",
  },
  "request.unstorable_text": {
    status: 400,
    error: "text must not contain U+0000 or lone surrogates",
    hint: "Remove the NUL character or the broken surrogate pair from the text.",
  },
  "request.rate_limited": {
    status: 429,
    error: "rate limit exceeded",
    hint: "Wait the seconds in Retry-After; limits are per credential, not per address.",
  },
  "workspace.invalid_id": {
    status: 400,
    error: "invalid workspace ID",
    hint: "A workspace id is a lower-case UUID with hyphens.",
  },
  "workspace.id_required": { status: 400, error: "id required", hint: "Put the workspace's id into the path." },
  "workspace.not_found": { status: 404, error: "workspace not found", hint: "Check the id, or create the workspace." },
  "workspace.removed": {
    status: 410,
    error: "workspace removed",
    hint: "Regenerate workspace + token from the canvas → Tokens tab",
  },
  "workspace.exists": { status: 409, error: "workspace already exists", hint: "Choose another id." },
  "workspace.invalid_parent": {
    status: 400,
    error: "invalid parent workspace",
    hint: "parent_id must be the id of a live workspace.",
  },
  "workspace.too_deep": {
    status: 400,
    error: "workspace tree too deep",
    hint: "A workspace has at most 32 ancestors; attach it further up.",
  },
  "workspace.cycle": {
    status: 400,
    error: "a workspace cannot be moved under itself",
    hint: "parent_id must not be the workspace or one of its descendants.",
  },
  "workspace.name_taken": {
    status: 409,
    error: "workspace name already taken",
    hint: "Another live workspace under the same parent has this name. Choose another one.",
  },
  "workspace.invalid_payload": {
    status: 400,
    error: "invalid workspace payload",
    hint: "Send a JSON object with a non-empty name and the documented types.",
  },
  "workspace.invalid_fields": {
    status: 400,
    error: "invalid workspace fields",
    hint: "name has at most 255 bytes, role 1000, runtime and model 100; no line breaks, none of { } [ ] | > * & !.",
  },
  "workspace.invalid_directory": {
    status: 400,
    error: "invalid workspace directory",
    hint: "workspace_dir is an absolute path without .. outside the system's directories.",
  },
  "workspace.invalid_template": {
    status: 400,
    error: "invalid template",
    hint: "template names a folder of GET /templates whose files are no larger than 1 MiB together.",
  },
  "workspace.invalid_access": {
    status: 400,
    error: "invalid workspace access",
    hint: "workspace_access is none, read_only or read_write; the latter two need workspace_dir.",
  },
  "workspace.no_backend": {
    status: 503,
    error: "provisioner not available",
    hint: "This deployment starts no machines: configure a control plane or Docker, or use external workspaces.",
  },
  "workspace.not_duplicate": {
    status: 400,
    error: "workspace is no duplicate",
    hint: "Name only ids that GET /admin/workspaces/duplicates lists under duplicates.",
  },
  "workspace.parent_paused": {
    status: 409,
    error: "parent workspace is paused — resume it first",
    hint: "Resume the paused ancestor; its descendants resume with it.",
  },
  "workspace.not_pausable": {
    status: 404,
    error: "workspace not found or already paused",
    hint: "Only a live workspace that is not paused can be paused.",
  },
  "workspace.not_paused": {
    status: 404,
    error: "workspace not found or not paused",
    hint: "Only a paused workspace can be resumed.",
  },
  "workspace.not_hibernatable": {
    status: 404,
    error: "workspace not found or not in a hibernatable state (must be online or degraded)",
    hint: "Wait until the workspace is online.",
  },
  "workspace.has_active_tasks": {
    status: 409,
    error: "workspace has active tasks; use ?force=true to terminate them",
    hint: "Wait for its tasks, or repeat with ?force=true.",
  },
  "workspace.waking": {
    status: 503,
    error: "workspace is waking from hibernation — retry in ~15 seconds",
    hint: "The message was not taken. Repeat it after the seconds in Retry-After.",
  },
  "workspace.operator_fields": {
    status: 403,
    error: "only an operator may change tier, runtime, parent_id, workspace_dir or workspace_access",
    hint: "A workspace's own token may change its name, role, position and collapsed; leave the named fields to an operator.",
  },
  "machine.not_found": {
    status: 404,
    error: "machine not found",
    hint: "GET /admin/machines lists the machines that have still to be stopped, with their instance_id.",
  },
  "machine.starting": {
    status: 409,
    error: "machine is still starting",
    hint: "Nobody knows yet whether there will be one. Repeat this when its start has ended.",
  },
  "machine.wanted": {
    status: 409,
    error: "machine is not on its way out",
    hint: "Only what is being stopped can be forgotten: pause, restart or remove its workspace first.",
  },
  "agent.not_found": {
    status: 404,
    error: "no active agent found for this workspace",
    hint: "Assign one with POST /workspaces/:id/agent.",
  },
  "agent.exists": {
    status: 409,
    error: "workspace already has an active agent",
    hint: "Replace it with PATCH /workspaces/:id/agent, or remove it first.",
  },
  "agent.target_forbidden": {
    status: 403,
    error: "not authorized to move an agent to this workspace",
    hint: "A workspace's token gives no right on another one, whether or not there is one. Ask an operator.",
  },
  "console.unavailable": {
    status: 501,
    error: "console output unavailable on this deployment (no control plane)",
    hint: "Read the machine's log where it runs.",
  },
  "console.failed": {
    status: 502,
    error: "control plane returned an error fetching console output",
    hint: "Retry later, or look at the control plane itself.",
  },
  "control_plane.unreachable": {
    status: 502,
    error: "control plane unreachable",
    hint: "Retry in a few seconds. An operator looks at CP_UPSTREAM_URL and at the control plane itself.",
  },
  "viewport.invalid": {
    status: 400,
    error: "invalid viewport data",
    hint: "Send x, y and zoom as numbers.",
  },
  "external.rotate_refused": {
    status: 400,
    error: "rotate is only valid for runtime=external workspaces",
    hint: "use POST /workspaces/:id/restart for non-external runtimes",
  },
  "external.connection_refused": {
    status: 400,
    error: "connection payload is only valid for runtime=external workspaces",
    hint: "use POST /workspaces/:id/restart for non-external runtimes",
  },
  "external.mint_failed": {
    status: 500,
    error: "mint failed",
    hint: "The old tokens still work. Set the secret TOKEN_KEY, then POST /workspaces/:id/external/rotate again.",
  },
  "registry.caller_required": {
    status: 400,
    error: "X-Workspace-ID header is required",
    hint: "Send the calling workspace's id in X-Workspace-ID.",
  },
  "registry.not_authorized": {
    status: 403,
    error: "not authorized to discover this workspace",
    hint: "A workspace finds its siblings, its ancestors and its descendants.",
  },
  "registry.not_available": {
    status: 503,
    error: "workspace not available",
    hint: "The agent is not online; send it the message through the platform or try again later.",
  },
  "route.not_found": { status: 404, error: "not found", hint: "This route is off on this deployment." },
  "registry.invalid_delivery_mode": {
    status: 400,
    error: "delivery_mode must be 'push' or 'poll'",
    hint: "Leave delivery_mode out, or send push with a public URL, or poll.",
  },
  "request.upgrade_required": {
    status: 400,
    error: "Bad Request",
    hint: "This route is a WebSocket: send Upgrade: websocket.",
  },
  "activity.ack_required": {
    status: 400,
    error: "acked_seq is required",
    hint: "Send acked_seq, the seq of the last row handled, or id, its id.",
  },
  "activity.ack_negative": { status: 400, error: "acked_seq must be >= 0", hint: "A seq is never negative." },
  "rebuild.alive": {
    status: 409,
    error: "workspace object is alive",
    hint: "Nothing has to be brought back. Repeat with force:true to replace what it holds all the same.",
  },
  "rebuild.foreign_ids": {
    status: 409,
    error: "ledger ids were made under another CURSOR_KEY",
    hint: "Set the CURSOR_KEY under which this deployment has run, then rebuild again.",
  },
  "rebuild.no_bookmark": {
    status: 501,
    error: "point-in-time recovery is not available for this workspace",
    hint: "The runtime keeps no history, or none that reaches so far. Rebuild from the ledger instead.",
  },
  "rebuild.not_restored": {
    status: 503,
    error: "workspace object was not taken back in time",
    hint: "Repeat the call: until it succeeds the object's changes do not reach the ledger.",
  },
  "rebuild.superseded": {
    status: 409,
    error: "another rebuild has taken over",
    hint: "Look with dry_run:true how the object stands, then decide again.",
  },
  "admin.unknown_filter": {
    status: 400,
    error: "unknown status filter",
    hint: "Use one of the words in allowed, or leave the filter out.",
  },
  "admin.invalid_limit": {
    status: 400,
    error: "limit must be 1..1000",
    hint: "Page on with next_cursor instead of a larger limit.",
  },
  "admin.invalid_cursor": {
    status: 400,
    error: "cursor is not one that this list gave out",
    hint: "Send next_cursor of the page before, or leave cursor out to begin with the newest.",
  },
  "upload.agent_unreachable": {
    status: 502,
    error: "workspace unreachable",
    hint: "The agent's URL did not answer; check that its server runs.",
  },
  "download.path_required": { status: 400, error: "path query required", hint: "Name the file in ?path=." },
  "download.path_not_absolute": { status: 400, error: "path must be absolute", hint: "Begin the path with a slash." },
  "download.path_outside": {
    status: 400,
    error: "path must be under /configs, /workspace, /home, or /plugins",
    hint: "Only these four directories of an agent can be read.",
  },
  "download.path_invalid": {
    status: 400,
    error: "invalid path",
    hint: "Use a path without . , .. and empty segments.",
  },
  "workspace.unsupported_fields": {
    status: 422,
    error: "fields not supported on this deployment",
    hint: "Leave out the fields named in fields: they cannot be stored yet.",
  },
  "registry.url_unsafe": {
    status: 503,
    error: "workspace URL failed safety check",
    hint: "The agent's URL must name a public host; it has to register again.",
  },
  "auth.missing_token": {
    status: 401,
    error: "missing workspace auth token",
    hint: "Send Authorization: Bearer <the workspace's token>.",
  },
  "auth.invalid_token": {
    status: 401,
    error: "invalid workspace auth token",
    hint: "The token is not one of this workspace, or was revoked. Rotate it from the canvas or ask an operator.",
  },
  "auth.admin_required": {
    status: 401,
    error: "admin auth required",
    hint: "Send Authorization: Bearer <ADMIN_TOKEN or a token of the organisation>.",
  },
  "auth.invalid_admin_token": {
    status: 401,
    error: "invalid admin auth token",
    hint: "Only an operator's token opens this route; a workspace's token does not.",
  },
  "hub.foreign_origin": {
    status: 403,
    error: "Forbidden",
    hint: "Add the page's origin to CORS_ORIGINS, or connect without a browser.",
  },
  "hub.invalid_ticket": {
    status: 401,
    error: "invalid or expired ticket",
    hint: "A ticket opens one socket within 60 seconds. Get a new one with POST /ws/ticket.",
  },
  "auth.missing_caller_token": {
    status: 401,
    error: "missing caller auth token",
    hint: "Send the calling workspace's own token as the bearer.",
  },
  "auth.invalid_caller_token": {
    status: 401,
    error: "invalid caller auth token",
    hint: "The bearer is no live token of a workspace, nor an operator's.",
  },
  "auth.caller_mismatch": {
    status: 401,
    error: "caller ID does not match workspace auth token",
    hint: "Leave X-Workspace-ID and X-Source-Workspace-Id out, or set them to the workspace of the bearer.",
  },
  "token.too_many": {
    status: 429,
    error: "maximum 50 active tokens per workspace",
    hint: "Revoke a token that is not used any more.",
  },
  "token.not_found": {
    status: 404,
    error: "token not found or already revoked",
    hint: "List the live tokens with GET /workspaces/:id/tokens.",
  },
  "token.key_missing": {
    status: 503,
    error: "platform cannot read or mint tokens",
    hint: "The operator must set the secret TOKEN_KEY.",
  },
  "org_token.not_found": {
    status: 404,
    error: "token not found or already revoked",
    hint: "List the live tokens with GET /org/tokens.",
  },
  "org_token.too_many": {
    status: 429,
    error: "maximum 500 active organisation tokens",
    hint: "Revoke a token that is not used any more.",
  },
  "secret.invalid_key": {
    status: 400,
    error: "invalid secret key",
    hint: "A key is a variable's name: letters, digits and _, no digit first, at most 128 characters.",
  },
  "secret.not_found": {
    status: 404,
    error: "secret not found",
    hint: "List the keys with GET on the same path without the key; the organisation's are deleted at /settings/secrets.",
  },
  "secret.too_many": {
    status: 409,
    error: "maximum 500 secrets per scope",
    hint: "Delete secrets that are not used any more: one scope takes 500, and 1 MiB together.",
  },
  "secret.key_missing": {
    status: 503,
    error: "platform cannot store or read secrets",
    hint: "The operator must set the secret SECRETS_KEY.",
  },
  "secret.unreadable": {
    status: 503,
    error: "failed to decrypt workspace secret",
    hint: "It was sealed under another key. The operator sets that one as SECRETS_KEY_PREVIOUS, or the secret is set anew.",
  },
  "a2a.invalid_caller": {
    status: 403,
    error: "invalid caller ID",
    hint: "Names that begin with webhook:, system:, test: or channel: are the platform's own.",
  },
  "a2a.access_denied": {
    status: 403,
    error: "access denied: workspaces cannot communicate per hierarchy rules",
    hint: "A workspace reaches its siblings, its ancestors and its descendants.",
  },
  "a2a.budget_exceeded": {
    status: 402,
    error: "workspace budget limit exceeded",
    hint: "Raise the workspace's budget, or wait for the next month.",
  },
  "inbox.full": {
    status: 429,
    error: "inbox full: the agent has too many unread messages",
    hint: "The agent must poll and acknowledge before it can be sent more.",
  },
  "activity.invalid_source": {
    status: 400,
    error: "source must be 'canvas' or 'agent'",
    hint: "Leave source out to see messages of both.",
  },
  "activity.invalid_since_secs": {
    status: 400,
    error: "since_secs must be a positive integer",
    hint: "Send whole seconds, at most 2592000 (30 days).",
  },
  "activity.invalid_peer_id": {
    status: 400,
    error: "peer_id must be a UUID",
    hint: "A workspace id is a lower-case UUID with hyphens.",
  },
  "activity.invalid_before_ts": {
    status: 400,
    error: "before_ts must be an RFC3339 timestamp (e.g. 2026-05-01T00:00:00Z)",
    hint: "In a query, write the + of an offset as %2B.",
  },
  "activity.invalid_wait": {
    status: 400,
    error: "wait must be a whole number of seconds",
    hint: "A poll is held for at most 25 seconds; leave wait out for an answer at once.",
  },
  "activity.invalid_from": {
    status: 400,
    error: "from must be 'ack'",
    hint: "Send from=ack to start after the last row you acknowledged, or since_id to start after a row.",
  },
  "activity.invalid_direction": {
    status: 400,
    error: "direction must be 'in'",
    hint: "Send direction=in to hide the workspace's own rows, or leave it out to see all.",
  },
  "activity.cursor_gone": {
    status: 410,
    error:
      "since_id cursor not found (row may have been pruned or belongs to a different workspace); omit since_id to reset",
    hint: "Poll once without since_id, then go on from the newest row.",
  },
  "activity.invalid_type": {
    status: 400,
    error:
      "invalid activity_type, must be one of: a2a_send, a2a_receive, task_update, agent_log, skill_promotion, memory_write, error",
    hint: "Other types are written by the platform itself.",
  },
  "activity.foreign_source": {
    status: 403,
    error: "source_id must match authenticated workspace",
    hint: "Leave source_id out: it is taken from your token.",
  },
  "notify.message_required": {
    status: 400,
    error: "message is required",
    hint: "Send {message: string, attachments?: [{uri, name, mimeType?, size?}]}.",
  },
  "notify.invalid_attachment": {
    status: 400,
    error: "attachment: uri and name are required",
    hint: "Give every attachment a non-empty uri and name.",
  },
  "upload.malformed": {
    status: 400,
    error: "malformed multipart body",
    hint: "Send multipart/form-data whose parts end with the closing boundary; leave both to your HTTP library.",
  },
  "upload.no_files": {
    status: 400,
    error: "no files field in request",
    hint: "Name each file part `files` and give it a filename.",
  },
  "upload.too_many_files": {
    status: 400,
    error: "too many files (limit 64)",
    hint: "Split the files over several requests.",
  },
  "upload.unreadable": {
    status: 400,
    error: "could not read file part",
    hint: "The connection ended before the body did. Send the request again; nothing of it was kept.",
  },
  "upload.file_too_large": {
    status: 413,
    error: "file exceeds per-file cap",
    hint: "A file may have at most max bytes; GET /uploads/limits tells all limits.",
  },
  "upload.request_too_large": {
    status: 413,
    error: "request exceeds per-request cap",
    hint: "A request may have at most max bytes; split the files over several requests.",
  },
  "upload.storage_away": {
    status: 500,
    error: "storage error",
    hint: "The file store does not answer. The file is kept: fetch it again in a moment.",
  },
  "upload.storage_failed": {
    status: 500,
    error: "could not stage files",
    hint: "The file store did not take the bytes. Send the request again; nothing of it was kept.",
  },
  "upload.busy": {
    status: 503,
    error: "too many uploads without a length — retry shortly",
    hint: "Send a Content-Length, or wait the seconds in Retry-After.",
  },
  "upload.no_callback_url": {
    status: 422,
    error: "workspace has no callback URL — chat upload requires push-mode + public URL",
    hint: "Register a public URL, or switch the workspace to delivery_mode poll on a platform with a file store.",
  },
  "upload.url_not_registered": {
    status: 503,
    error: "workspace url not registered yet",
    hint: "The workspace is still booting. Retry once it is online.",
  },
  "upload.invalid_file_id": {
    status: 400,
    error: "invalid file_id",
    hint: "A file id is a lower-case UUID with hyphens.",
  },
  "upload.foreign": {
    status: 404,
    error: "pending upload not found",
    hint: "Check the file id; a file is found only under the workspace it was sent to.",
  },
  "upload.not_found": {
    status: 404,
    error: "pending upload not found, expired, or already acked",
    hint: "The file was acked, or nobody fetched it in time. Ask the sender to send it again.",
  },
  "upload.range_unsatisfiable": {
    status: 416,
    error: "range not satisfiable",
    hint: "Ask for bytes before the length that Content-Range names.",
  },
  "request.id_too_long": {
    status: 400,
    error: "ids must be at most 128 characters",
    hint: "Use a UUID.",
  },
  "a2a.invalid_json": {
    status: 400,
    error: "invalid JSON",
    hint: "Send a JSON-RPC 2.0 request object, or a bare {message} or {parts}, nested at most 512 levels deep.",
  },
  "a2a.invalid_content": {
    status: 400,
    error: "invalid params.message.content type",
    hint: "Send params.message.parts as an array of parts; content may be a string or such an array.",
  },
  "a2a.parts_required": {
    status: 400,
    error: "params.message must contain either 'parts' (v0.3) or 'content' (v0.2 compat)",
    hint: 'For a text, send "parts":[{"kind":"text","text":"…"}] in params.message.',
  },
  "registry.url_required": {
    status: 400,
    error: "url is required for push-mode workspaces",
    hint: 'Send the agent\'s public URL, or register with delivery_mode "poll".',
  },
  "registry.url_scheme": {
    status: 400,
    error: "url scheme must be http or https",
    hint: "Send an absolute http or https URL.",
  },
  "registry.url_blocked": {
    status: 400,
    error: "url targets a blocked address",
    hint: 'Only public addresses can be called. An agent behind NAT registers with delivery_mode "poll" instead.',
  },
  "registry.url_invalid": {
    status: 400,
    error: "url is not valid",
    hint: "Send an absolute http or https URL with a host name and without a user name or password.",
  },
  "a2a.no_url": {
    status: 503,
    error: "workspace has no URL",
    hint: "The agent must register its url, or register with delivery_mode poll.",
  },
  "a2a.not_routable": {
    status: 502,
    error: "workspace URL is not publicly routable",
    hint: "The agent must register a public http(s) URL. Nothing was delivered.",
  },
  "a2a.unreachable": {
    status: 502,
    error: "failed to reach workspace agent",
    hint: "Where delivery_confirmed is false, the agent may have got the request all the same; the platform does not repeat it.",
  },
  "a2a.answer_unread": {
    status: 502,
    error: "failed to read agent response",
    hint: "The agent got the request. Its answer was cut off or larger than 10 MiB.",
  },
  "a2a.restarting": {
    status: 503,
    error: "workspace agent unreachable — container restart triggered",
    hint: "Wait the seconds in Retry-After, then repeat the request.",
  },
  "a2a.busy": {
    status: 503,
    error: "workspace agent busy — retry after a short backoff",
    hint: "Nothing was delivered. Wait the seconds in Retry-After, then repeat the request.",
  },
  "a2a.queue_item_not_found": {
    status: 404,
    error: "queue item not found",
    hint: "Only the caller and the target of a queued request can see it.",
  },
  "queue.invalid_status": {
    status: 400,
    error: "status must be one of: queued, dispatched, completed, failed, dropped",
    hint: "Leave status out to see what is queued or dispatched.",
  },
  "queue.invalid_limit": {
    status: 400,
    error: "limit must be a whole number from 1 to 1000",
    hint: "Leave limit out for the 100 oldest items.",
  },
  "queue.invalid_max_age": {
    status: 400,
    error: "max_age_minutes must be a whole number from 0 to 525600",
    hint: "Leave max_age_minutes out to drop what has been queued for more than 60 minutes.",
  },
  "delegation.invalid_request": {
    status: 400,
    error: "invalid delegation request",
    hint: "Send {target_id, task, idempotency_key?, deadline_s?} with a non-empty target_id and task.",
  },
  "delegation.invalid_target": {
    status: 400,
    error: "target_id must be a valid UUID",
    hint: "A workspace id is a lower-case UUID with hyphens.",
  },
  "delegation.self": {
    status: 400,
    error: "self-delegation not permitted",
    hint: "Give the task to another workspace.",
  },
  "delegation.invalid_status": {
    status: 400,
    error: "status must be 'completed' or 'failed'",
    hint: "Only an end is reported here; send heartbeats while the work goes on.",
  },
  "delegation.not_found": {
    status: 404,
    error: "delegation not found",
    hint: "Only the caller and the callee of a delegation can see it, the callee under the id it was given.",
  },
  "delegation.ambiguous": {
    status: 409,
    error: "delegation_id belongs to several callers",
    hint: "Name the caller as well, as ?caller_id=; candidates lists who used this id.",
  },
  "delegation.id_taken": {
    status: 409,
    error: "delegation_id is taken by a delegation to another target",
    hint: "target_id is the target of the delegation that has this id. Record another one under an id of its own.",
  },
  "delegation.ended": {
    status: 409,
    error: "delegation has ended",
    hint: "Its result stands. Delegate the task anew if it is to be done again.",
  },
  "delegation.in_flight": {
    status: 409,
    error: "delegation is in flight",
    hint: "Wait for its end, or cancel it first.",
  },
  "delegation.outcome_unknown": {
    status: 409,
    error: "delegation outcome is unknown",
    hint: "The target may have done the task, or may be doing it. Retry with force to have it done once more.",
  },
  "delegation.key_bound": {
    status: 409,
    error: "idempotency_key is bound by another delegation",
    hint: "The task was delegated anew under its key; holder is that delegation. Retry with force to have it done once more.",
  },
  "delegation.too_many_attempts": {
    status: 409,
    error: "delegation has had too many attempts",
    hint: "Delegate the task anew: each delegation keeps all its attempts.",
  },
  "delegation.unknown_filter": {
    status: 400,
    error: "unknown status filter",
    hint: "Use one of the words in allowed, or leave status out.",
  },
  "delegation.invalid_limit": {
    status: 400,
    error: "limit must be 1..1000",
    hint: "Leave limit out for 100.",
  },
  "org.source_required": {
    status: 400,
    error: "provide 'dir' or 'template'",
    hint: "Name a template of GET /org/templates as dir, or send a template with a name.",
  },
  "org.invalid_directory": {
    status: 400,
    error: "invalid org directory",
    hint: "dir is the name of a template of GET /org/templates; it may not leave their folder.",
  },
  "org.expansion_failed": {
    status: 400,
    error: "org template expansion failed",
    hint: "A file of the template is missing, too large or no YAML, or includes itself; reason tells which.",
  },
  "org.invalid_template": {
    status: 400,
    error: "invalid org template",
    hint: "The template has another shape than documented, or more than 500 workspaces or 32 levels; field or reason tells where.",
  },
  "org.template_not_found": {
    status: 404,
    error: "org template not found",
    hint: "GET /org/templates lists what there is; a template needs a file org.yaml.",
  },
  "org.missing_env": {
    status: 412,
    error: "missing required environment variables",
    hint: "Set the keys in missing_env as global secrets, then import again.",
  },
  "org.preflight_failed": {
    status: 500,
    error: "could not verify required environment variables; try again",
    hint: "The store of the global secrets did not answer. Nothing was created.",
  },
  "bundle.invalid": {
    status: 400,
    error: "invalid bundle",
    hint: "Send a bundle as GET /bundles/export/:id gives it: every workspace needs a name; at most 500 of them, 32 levels.",
  },
  "bundle.not_found": {
    status: 404,
    error: "bundle not found",
    hint: "Check the id; a removed workspace has no bundle.",
  },
  "template.exists": {
    status: 409,
    error: "template already exists",
    hint: "Choose another name; id is the one that is taken.",
  },
  "template.too_many_files": {
    status: 400,
    error: "too many files",
    hint: "A template has at most 200 files.",
  },
  "template.write_failed": {
    status: 500,
    error: "failed to write config.yaml",
    hint: "The file store did not take the template. Send it again; an incomplete one is never listed.",
  },
  "template.store_missing": {
    status: 501,
    error: "templates cannot be stored on this deployment",
    hint: "The operator must bind the bucket BLOBS.",
  },
} as const satisfies Record<string, RefusalKind>;

export type RefusalCode = keyof typeof REFUSALS;

/** A value in the JSON body of a refusal. */
export type RefusalDetail =
  | string
  | number
  | boolean
  | null
  | readonly (string | { readonly any_of: readonly string[] })[];

/** What may be said with a refusal beyond its catalogue entry. */
export interface RefusalOptions {
  /** Replaces the catalogue's text where the contract puts a value into it. */
  readonly error?: string;
  readonly hint?: string;
  /** Further keys of the JSON body, as the contract names them. */
  readonly details?: Record<string, RefusalDetail>;
  /** Seconds for the Retry-After header. */
  readonly retryAfter?: number;
}

export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly code: RefusalCode;
  readonly options: RefusalOptions;

  constructor(code: RefusalCode, options: RefusalOptions = {}) {
    // A refusal is an answer, not a crash: nobody reads its stack, and taking one costs more than the refused work.
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(options.error ?? REFUSALS[code].error);
    Error.stackTraceLimit = limit;
    this.code = code;
    this.options = options;
  }
}

/** What an object answers over RPC: a thrown refusal would lose its prototype and be printed as a crash. */
export type Outcome<T> = { ok: true; value: T } | { ok: false; code: RefusalCode; options: RefusalOptions };

/** Runs one RPC method's work and turns a refusal into a value; anything else stays a crash. */
export async function settle<T>(work: () => T | Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, code: error.code, options: error.options };
    throw error;
  }
}

/** The caller's side of `settle`: the value, or the refusal thrown again. */
export function unwrap<T>(outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value;
  throw new Refusal(outcome.code, outcome.options);
}
