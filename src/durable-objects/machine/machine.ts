import { DurableObject } from "cloudflare:workers";
import { configOf } from "../../config.ts";
import { digestOf, mintToken, readToken, TOKEN_RANDOM_BYTES } from "../../domain/credential.ts";
import { machineEnvironment } from "../../domain/machine-environment.ts";
import { unwrap } from "../../domain/refusal.ts";
import { log } from "../../log.ts";
import { provisionerOf, stopWithRetry } from "../../provisioners/dispatcher.ts";
import type { MachineRef, Provisioner, Running } from "../../provisioners/provisioner.ts";
import { within } from "../../time-limit.ts";
import { directoryStub, workspaceStub } from "../shared/stubs.ts";
import type { MintedToken } from "../workspace/token-store.ts";
import type { MachineJob, MachineReport } from "./job.ts";

const REPORT_TIMEOUT_MS = 10_000;
const AGAIN_MIN_MS = 1_000;
const AGAIN_MAX_MS = 5 * 60_000;
/** The file in which an agent finds its token. */
const TOKEN_FILE = ".auth_token";

/**
 * Calls the provisioning backend for one workspace, one operation after the other. Handing one over stores it; the
 * object's own alarm makes the call and reports until the workspace has confirmed. A start that was begun and has no
 * outcome is unknown and never made again; a stop can be repeated.
 */
export class Machine extends DurableObject<Env> {
  #running = false;

  /** Takes an operation over; a repetition finds the same one. A later one begins when the one before is over. */
  async take(job: MachineJob): Promise<void> {
    const { kv } = this.ctx.storage;
    const known = kv.get<MachineJob>("job");
    if (!known) kv.put("job", job);
    else if (known.operation < job.operation) kv.put("next", job);
    if (!this.#running && (await this.ctx.storage.getAlarm()) === null) await this.ctx.storage.setAlarm(Date.now());
  }

  /** Whether a machine runs, as the backend sees it now. It disturbs no operation, and can fail. */
  async look(machine: MachineRef): Promise<Running["kind"]> {
    const seen = await provisionerOf(this.env)?.isRunning(machine);
    if (seen?.kind === "unknown") {
      log.warn("machine.not_seen", { workspace_id: machine.workspaceId, reason: seen.reason });
    }
    return seen?.kind ?? "unknown";
  }

  override async alarm(): Promise<void> {
    const { storage } = this.ctx;
    const job = storage.kv.get<MachineJob>("job");
    if (!job) return;
    this.#running = true;
    try {
      const end = storage.kv.get<MachineReport["end"]>("end") ?? (await this.#make(job));
      if (await this.#report({ operation: job.operation, end }, job.workspaceId)) await this.#goOn();
      else await this.#later();
    } catch (error) {
      // Only what comes before the call throws: another object did not answer.
      const reason = error instanceof Error ? error.name : "unknown";
      log.warn("machine.postponed", { workspace_id: job.workspaceId, operation: job.operation, reason });
      await this.#later();
    } finally {
      this.#running = false;
    }
  }

  /** What was reported is over; the next operation begins, or nothing is kept. */
  async #goOn(): Promise<void> {
    const { storage } = this.ctx;
    const next = storage.kv.get<MachineJob>("next");
    await storage.deleteAll();
    if (!next) return;
    storage.kv.put("job", next);
    await storage.setAlarm(Date.now());
  }

  async #make(job: MachineJob): Promise<MachineReport["end"]> {
    const { storage } = this.ctx;
    const facts = { workspace_id: job.workspaceId, operation: job.operation };
    const startedAt = Date.now();
    const end = job.kind === "stop" ? await this.#stop(job) : await this.#start(job);
    storage.kv.put("end", end);
    await storage.sync();
    log.info(`machine.${end.kind}`, { ...facts, duration_ms: Date.now() - startedAt });
    return end;
  }

  async #start(job: MachineJob): Promise<MachineReport["end"]> {
    const { storage } = this.ctx;
    if (storage.kv.get<boolean>("begun")) return { kind: "unknown" };
    const provisioner = provisionerOf(this.env);
    if (!provisioner) return this.#refused(job, "there is no provisioning backend");
    const { token, minted } = this.#mintFor(provisioner, job.workspaceId);
    const facts = unwrap(
      (await workspaceStub(this.env, job.workspaceId).beginStart({ operation: job.operation, token: minted })).outcome,
    );
    if (!facts) return this.#refused(job, "nobody wants it any more");
    const { outcome: secrets } = await directoryStub(this.env).environmentOf(job.workspaceId);
    if (!secrets.ok) return this.#refused(job, `its secrets cannot be had: ${secrets.code}`);
    storage.kv.put("begun", true);
    // Nothing leaves before it is certain that nothing will leave a second time.
    await storage.sync();
    const { resetSession, files, ...place } = facts;
    const outcome = await provisioner.start({
      ...place,
      workspaceId: job.workspaceId,
      env: machineEnvironment(facts.runtime, secrets.value),
      files: token === null ? files : { ...files, [TOKEN_FILE]: token },
      resetSession,
    });
    if (outcome.kind === "started") return { ...outcome, secretKeys: Object.keys(secrets.value).sort() };
    log.warn("machine.start_failed", { workspace_id: job.workspaceId, outcome: outcome.kind, reason: outcome.reason });
    return { kind: outcome.kind };
  }

  #refused({ workspaceId }: MachineJob, reason: string): MachineReport["end"] {
    log.warn("machine.start_failed", { workspace_id: workspaceId, outcome: "refused", reason });
    return { kind: "refused" };
  }

  async #stop({ workspaceId, instanceId, forGood }: MachineJob): Promise<MachineReport["end"]> {
    const provisioner = provisionerOf(this.env);
    // Without a backend nothing can be stopped; what is known by its id stays, until there is one again.
    if (!provisioner) return { kind: instanceId === null ? "stopped" : "not_stopped" };
    const stopped = await stopWithRetry(
      provisioner,
      { workspaceId, instanceId },
      {
        source: "lifecycle",
        wait: (ms) => scheduler.wait(ms),
      },
    );
    if (stopped.kind === "failed") return { kind: "not_stopped" };
    const cleaned = forGood ? await provisioner.cleanUp(workspaceId) : stopped;
    return { kind: cleaned.kind === "stopped" ? "stopped" : "not_stopped" };
  }

  /** A backend that takes files brings the agent its token; elsewhere the agent's first registration mints it. */
  #mintFor(provisioner: Provisioner, workspaceId: string): { token: string | null; minted: MintedToken | null } {
    const { tokenKeys } = configOf(this.env);
    const [key] = tokenKeys;
    if (provisioner.name === "control_plane" || key === undefined) return { token: null, minted: null };
    const token = mintToken("mol_", workspaceId, crypto.getRandomValues(new Uint8Array(TOKEN_RANDOM_BYTES)), key);
    return { token, minted: { digest: digestOf(token), prefix: readToken(token, [key])?.prefix ?? "" } };
  }

  async #report(report: MachineReport, workspaceId: string): Promise<boolean> {
    try {
      const reported = workspaceStub(this.env, workspaceId).machineEnded(report);
      unwrap((await within(reported, REPORT_TIMEOUT_MS)).outcome);
      return true;
    } catch (error) {
      const reason = error instanceof Error ? error.name : "unknown";
      log.warn("machine.not_reported", { workspace_id: workspaceId, operation: report.operation, reason });
      return false;
    }
  }

  async #later(): Promise<void> {
    const { storage } = this.ctx;
    const failures = (storage.kv.get<number>("failures") ?? 0) + 1;
    storage.kv.put("failures", failures);
    const wait = Math.min(AGAIN_MIN_MS * 2 ** failures, AGAIN_MAX_MS);
    await storage.setAlarm(Date.now() + wait * (0.5 + Math.random() / 2));
  }
}
