import type { ControlPlaneSettings } from "../config.ts";
import { jsonBytes } from "../domain/org-template.ts";
import { cutCodePoints } from "../domain/text.ts";
import { type Call, type Exchange, exchange, type Fetch, isSuccess, objectOf } from "../exchange.ts";
import { log } from "../log.ts";
import { machineEnv, secretsOf } from "./machine-env.ts";
import {
  ConsoleFailure,
  type MachineRef,
  type Provisioner,
  type Running,
  type StartOrder,
  type StartOutcome,
  type StopOutcome,
} from "./provisioner.ts";
import { reasonOf } from "./reason.ts";

const ANSWER_BYTES_MAX = 64 * 1024;
const CONSOLE_BYTES_MAX = 256 * 1024;
const TIMEOUT_MS = 120_000;
/** Whoever asks whether a machine runs has something else to do. */
const LOOK_TIMEOUT_MS = 8_000;
/** Of all configuration files together, as JSON. */
const FILES_BYTES_MAX = 1024 * 1024;
/** Here the agent gets its token with its first registration. */
const TOKEN_FILE = ".auth_token";
/** What machines say that will not come up again by themselves; anything else may be on its way. */
const DEAD_STATES: ReadonlySet<string> = new Set([
  "stopped",
  "stopping",
  "shutting-down",
  "shutting_down",
  "terminated",
  "failed",
  "exited",
  "dead",
  "deleted",
]);
const STATE_LENGTH_MAX = 50;

type Answer = Extract<Exchange, { kind: "answered" }>;

/** Machines that a control plane starts elsewhere, asked over HTTP. */
export class ControlPlaneProvisioner implements Provisioner {
  readonly name = "control_plane";
  readonly #settings: ControlPlaneSettings;
  readonly #timeoutMs: number;
  readonly #fetch: Fetch;

  constructor(settings: ControlPlaneSettings, timeoutMs = TIMEOUT_MS, send: Fetch = (url, init) => fetch(url, init)) {
    this.#settings = settings;
    this.#timeoutMs = timeoutMs;
    this.#fetch = send;
  }

  async start(order: StartOrder): Promise<StartOutcome> {
    const { workspaceId, runtime, tier, platformUrl } = order;
    const env = machineEnv(order);
    const answer = await this.#call({
      method: "POST",
      path: "/cp/workspaces/provision",
      body: JSON.stringify({
        org_id: this.#settings.organisationId,
        workspace_id: workspaceId,
        runtime,
        tier,
        platform_url: platformUrl,
        env,
        ...configFiles(order),
      }),
    });
    const secrets = secretsOf(order);
    if (answer.kind === "lost") return { kind: "unknown", reason: this.#reason(answer.reason, secrets) };
    if (answer.status !== 201) {
      return { kind: mayHaveWorked(answer.status) ? "unknown" : "refused", reason: this.#words(answer, secrets) };
    }
    const instanceId = objectOf(answer.text)?.instance_id;
    if (typeof instanceId === "string" && instanceId !== "") return { kind: "started", instanceId, url: null };
    return { kind: "unknown", reason: "the control plane answered 201 without a readable instance id" };
  }

  async stop(machine: MachineRef): Promise<StopOutcome> {
    const answer = await this.#call({ method: "DELETE", path: pathOf(machine) });
    if (answer.kind === "lost") return { kind: "failed", reason: this.#reason(answer.reason) };
    if (isSuccess(answer.status)) return { kind: "stopped" };
    return { kind: "failed", reason: `${machine.workspaceId}: ${this.#words(answer)}` };
  }

  async isRunning(machine: MachineRef): Promise<Running> {
    const timeoutMs = Math.min(this.#timeoutMs, LOOK_TIMEOUT_MS);
    const answer = await this.#call({ method: "GET", path: pathOf(machine, "/status"), timeoutMs });
    if (answer.kind === "lost") return { kind: "unknown", reason: this.#reason(answer.reason) };
    if (!isSuccess(answer.status)) return { kind: "unknown", reason: this.#words(answer) };
    const state = objectOf(answer.text)?.state;
    if (typeof state !== "string") return { kind: "unknown", reason: "the control plane told no state" };
    const known = state.toLowerCase();
    if (known === "running") return { kind: "running" };
    if (DEAD_STATES.has(known)) return { kind: "not_running" };
    const shown = cutCodePoints(this.#reason(state), STATE_LENGTH_MAX);
    return { kind: "unknown", reason: `the control plane told the state "${shown}"` };
  }

  async console(workspaceId: string): Promise<string> {
    const path = `/cp/admin/workspaces/${encodeURIComponent(workspaceId)}/console`;
    const { consoleToken, sharedSecret } = this.#settings;
    const answer = await this.#call({
      method: "GET",
      path,
      token: consoleToken || sharedSecret,
      answerBytesMax: CONSOLE_BYTES_MAX,
    });
    if (answer.kind === "lost") throw new ConsoleFailure(this.#reason(answer.reason));
    if (!isSuccess(answer.status)) throw new ConsoleFailure(this.#words(answer));
    const output = objectOf(answer.text)?.output;
    if (typeof output !== "string") throw new ConsoleFailure("the control plane showed no readable console");
    return output;
  }

  /** The control plane removes what belongs to a machine together with it. */
  async cleanUp(): Promise<StopOutcome> {
    return { kind: "stopped" };
  }

  #call(call: Pick<Call, "method" | "body"> & Partial<Call> & { path: string; token?: string }): Promise<Exchange> {
    const { path, token = this.#settings.sharedSecret, body, ...rest } = call;
    const { baseUrl, adminToken } = this.#settings;
    return exchange(this.#fetch, {
      url: baseUrl + path,
      headers: {
        ...(token && { Authorization: `Bearer ${token}` }),
        ...(adminToken && { "X-Molecule-Admin-Token": adminToken }),
        ...(body && { "Content-Type": "application/json" }),
      },
      ...(body && { body }),
      answerBytesMax: ANSWER_BYTES_MAX,
      timeoutMs: this.#timeoutMs,
      ...rest,
    });
  }

  /** Its status and its `error`; the rest of an answer may hold anything and goes nowhere. */
  #words({ status, text }: Answer, secrets: readonly string[] = []): string {
    const error = objectOf(text)?.error;
    const said = typeof error === "string" && error !== "" ? `: ${error}` : "";
    return this.#reason(`the control plane answered ${status}${said}`, secrets);
  }

  #reason(said: string, secrets: readonly string[] = []): string {
    const { sharedSecret, consoleToken, adminToken } = this.#settings;
    return reasonOf(said, [...secrets, sharedSecret, consoleToken, adminToken]);
  }
}

/** The files of the configuration folder, path -> text. A control plane that knows nothing of them ignores the key. */
function configFiles({ workspaceId, files }: StartOrder): { readonly config_files?: StartOrder["files"] } {
  const sent = Object.fromEntries(Object.entries(files).filter(([path]) => path !== TOKEN_FILE));
  const count = Object.keys(sent).length;
  if (count === 0) return {};
  const bytes = jsonBytes(sent);
  if (bytes <= FILES_BYTES_MAX) return { config_files: sent };
  log.warn("machine.files_not_sent", { workspace_id: workspaceId, files: count, bytes, bytes_max: FILES_BYTES_MAX });
  return {};
}

function pathOf({ workspaceId, instanceId }: MachineRef, what = ""): string {
  const query = instanceId === null ? "" : `?${new URLSearchParams({ instance_id: instanceId })}`;
  return `/cp/workspaces/${encodeURIComponent(workspaceId)}${what}${query}`;
}

/** Somebody broke on the way, who cannot know how far it came, or it is a success of another kind. */
function mayHaveWorked(status: number): boolean {
  return isSuccess(status) || status === 408 || (status >= 500 && status !== 501);
}
