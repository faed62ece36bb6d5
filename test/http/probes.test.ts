import { describe, expect, inject, it, onTestFinished, vi } from "vitest";
import { LOOK_FRESH_MS } from "../../src/http/shared-look.ts";
import { aDeployment } from "../support/client-deployment.ts";
import { away, back, FILE_LANE, statements } from "../support/ledger.ts";
import { anAgent, call } from "../support/platform.ts";

describe("health and build", () => {
  it("answer without touching anything", async () => {
    const before = await statements();
    const bare = aDeployment({ DIRECTORY: undefined, WORKSPACE: undefined, BLOBS: undefined, DATABASE_URL: "" });
    expect(await bare.call("/health")).toMatchObject({ status: 200, text: '{"status":"ok"}' });
    expect((await aDeployment({ GIT_SHA: "abc123" }).call("/buildinfo")).body).toEqual({ git_sha: "abc123" });
    expect(await statements()).toBe(before);
  });
});

describe("the upload limits", () => {
  it("are 25 MiB a file, 50 MiB a request, 64 files, or what variables say", async () => {
    expect((await call("/uploads/limits")).body).toEqual({
      per_file_bytes: 25 * 1024 * 1024,
      per_request_bytes: 50 * 1024 * 1024,
      max_attachments_per_message: 64,
    });
    const smaller = aDeployment({ UPLOAD_FILE_BYTES: "1000", UPLOAD_REQUEST_BYTES: "2000", UPLOAD_FILES: "3" });
    expect((await smaller.call("/uploads/limits")).body).toEqual({
      per_file_bytes: 1_000,
      per_request_bytes: 2_000,
      max_attachments_per_message: 3,
    });
  });
});

/** Lets what was seen grow old. */
function passTime(): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + LOOK_FRESH_MS });
  onTestFinished(() => void vi.useRealTimers());
}

describe("readiness", () => {
  it("names every dependency and counts what waits", async () => {
    await anAgent();
    const { status, body } = await call("/readyz");
    expect(status).toBe(200);
    expect(body).toMatchObject({
      status: "ready",
      dependencies: { directory: { ok: true }, database: { ok: true }, blobs: { ok: true } },
      set_aside: 0,
      flush: { blocked_reason: null, failing_since: null },
    });
    expect(body.workspaces).toBeGreaterThan(0);
    expect(body.findings).toContain("open dev mode: requests without a bearer are admitted");
  });

  it("is degraded, not down, while Postgres is away", async () => {
    await away(FILE_LANE);
    passTime();
    try {
      const { status, body } = await call("/readyz");
      expect(status).toBe(200);
      expect(body).toMatchObject({
        status: "degraded",
        dependencies: { database: { ok: false, detail: "the database does not answer" } },
      });
    } finally {
      await back(FILE_LANE);
    }
    passTime();
    expect((await call("/readyz")).body.status).toBe("ready");
  });

  it("says so when there is no database, or another deployment's", async () => {
    const without = await aDeployment({ DATABASE_URL: "" }).call("/readyz");
    expect(without.body.dependencies.database).toEqual({ ok: false, detail: "DATABASE_URL is not set" });
    const foreign = await aDeployment({ DEPLOYMENT_ID: "another" }).call("/readyz");
    expect(foreign.body.dependencies.database.detail).toContain("belongs to another deployment");
  });

  it("is 503 when the directory does not answer", async () => {
    const broken = {
      getByName: () => ({ gauges: () => Promise.reject(new Error("gone")) }),
    };
    expect(await aDeployment({ DIRECTORY: broken }).call("/readyz")).toMatchObject({
      status: 503,
      body: { status: "unavailable", dependencies: { directory: { ok: false } } },
    });
  });

  it("shows findings of configuration and never a secret", async () => {
    const deployment = aDeployment({ RATE_LIMIT: "many", TOKEN_KEY: "", CURSOR_KEY: "" });
    const { body, text } = await deployment.call("/readyz");
    expect(body.findings).toEqual([
      "RATE_LIMIT must be a whole number from 1 to 1000000; 600 is used",
      "TOKEN_KEY is not set: no token can be minted or read",
      "CURSOR_KEY is not set: row ids are not protected",
    ]);
    expect(text).not.toContain(inject("databaseUrl"));
    expect(text).not.toContain("an-operator's-secret");
  });
});

/** What one look costs. */
const READY_STATEMENTS = 1;
const METRICS_STATEMENTS = 3;

describe("what anybody may ask of the dependencies", () => {
  it("is looked at once for all who ask within a few seconds", async () => {
    const [crowd, before] = [aDeployment(), await statements()];
    const answers = Array.from({ length: 20 }, () => [crowd.call("/readyz"), crowd.call("/metrics")]).flat();
    for (const { status } of await Promise.all(answers)) expect(status).toBe(200);
    expect(await statements()).toBe(before + READY_STATEMENTS + METRICS_STATEMENTS);
    passTime();
    await crowd.call("/metrics");
    expect(await statements()).toBe(before + READY_STATEMENTS + 2 * METRICS_STATEMENTS);
  });

  it("is answered by all within the limit of one look while Postgres hangs, and asks it once", async () => {
    const [crowd, before] = [aDeployment(), await statements()];
    await away(FILE_LANE, "hang");
    onTestFinished(() => back(FILE_LANE));
    const ready = Array.from({ length: 5 }, () => crowd.call("/readyz"));
    const metrics = Array.from({ length: 5 }, () => crowd.call("/metrics"));
    for (const answer of await Promise.all(ready)) expect(answer).toMatchObject({ body: { status: "degraded" } });
    for (const answer of await Promise.all(metrics)) {
      expect(answer).toMatchObject({ status: 503, body: { code: "platform_unavailable" } });
    }
    expect(await statements()).toBe(before + READY_STATEMENTS + METRICS_STATEMENTS);
  });
});

describe("the local cron route", () => {
  it("fires a cron at will, and is unknown in a deployment", async () => {
    expect((await call("/cdn-cgi/handler/scheduled?cron=*+*+*+*+*")).body).toEqual({
      outcome: "ok",
      cron: "* * * * *",
    });
    for (const query of ["", "?cron=", "?cron=17+3+*+*+*"]) {
      expect((await call(`/cdn-cgi/handler/scheduled${query}`)).status, query).toBe(200);
    }
    const deployed = await aDeployment({ LOCAL_PLATFORM: "" }).call("/cdn-cgi/handler/scheduled");
    expect(deployed).toMatchObject({ status: 404, body: { error: "404 page not found" } });
  });

  it("refuses an expression that nothing runs at, and names those that something does", async () => {
    expect(await call("/cdn-cgi/handler/scheduled?cron=zzz")).toMatchObject({
      status: 400,
      body: { error: "unknown cron expression", allowed: ["* * * * *", "17 3 * * *"] },
    });
  });
});
