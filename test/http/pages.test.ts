import { describe, expect, it } from "vitest";
import { aDeployment } from "../support/client-deployment.ts";
import { anAgent, type CallOptions } from "../support/platform.ts";

const OPEN = { MOLECULE_ENV: "development", ADMIN_TOKEN: "", LOCAL_PLATFORM: "1" };
const local = aDeployment(OPEN);
const REFUSED = { status: 403, text: "" };
const EVIL = "evil.example:8787";
const BROWSER = { "Accept-Language": "en" };

const under = (Host: string, headers: Record<string, string> = {}): CallOptions => ({ headers: { Host, ...headers } });
const creation = (headers: Record<string, string>): CallOptions => ({
  json: { name: crypto.randomUUID(), runtime: "external" },
  headers,
});

describe("a page that reached the open local platform under a name of its own", () => {
  it("is refused with an empty 403, whatever it asks and whatever its browser tells", async () => {
    for (const path of ["/workspaces", "/health", "/no/such/route"]) {
      for (const marks of [
        { Origin: `http://${EVIL}` },
        { Origin: `http://${EVIL}`, "Sec-Fetch-Site": "same-origin" },
        { "Sec-Fetch-Site": "same-origin" },
        { "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document" },
        BROWSER,
        { "Accept-Language": "" },
      ]) {
        expect(await local.call(path, under(EVIL, marks)), JSON.stringify(marks)).toMatchObject(REFUSED);
      }
    }
    expect(await local.call("/workspaces", creation({ Host: EVIL, Origin: `http://${EVIL}` }))).toMatchObject(REFUSED);
  });

  it("hears nothing on /ws", async () => {
    const headers = { Upgrade: "websocket", Origin: `http://${EVIL}` };
    expect(await local.call("/ws", under(EVIL, headers))).toMatchObject(REFUSED);
  });

  it("is known by names that only look like a loopback one", async () => {
    for (const host of ["localhost.evil.example", "127.0.0.1.evil.example:8787", "evil.localhost", "[::2]:8787", ""]) {
      expect(await local.call("/workspaces", under(host, { Origin: `http://${host}` })), host).toMatchObject(REFUSED);
    }
  });

  it("wins nothing with a bearer that it made up", async () => {
    const headers = { Origin: `http://${EVIL}`, Authorization: "Bearer x" };
    expect((await local.call("/workspaces", under(EVIL, headers))).status).toBe(401);
    for (const Authorization of ["Basic x", "Bearer ", "bearer x"]) {
      expect(await local.call("/workspaces", under(EVIL, { ...headers, Authorization }))).toMatchObject(REFUSED);
    }
  });
});

describe("the open local platform", () => {
  it("serves its own pages under its loopback names, any port, and under EXTERNAL_PLATFORM_URL", async () => {
    for (const host of ["127.0.0.1:8787", "localhost", "localhost:1", "[::1]:8787"]) {
      const marks = { Origin: `http://${host}`, "Sec-Fetch-Site": "same-origin", ...BROWSER };
      expect((await local.call("/workspaces", under(host, marks))).status, host).toBe(200);
    }
    const named = aDeployment({ ...OPEN, EXTERNAL_PLATFORM_URL: "http://inn.lan:8787" });
    expect((await named.call("/workspaces", under("inn.lan:8787", BROWSER))).status).toBe(200);
    expect(await named.call("/workspaces", under("inn.lan", BROWSER))).toMatchObject(REFUSED);
  });

  it("serves programs under any name: without a browser's marks, or with their token and any Origin", async () => {
    const agent = await anAgent();
    const host = "host.docker.internal:8787";
    expect((await local.call("/workspaces", under(host))).status).toBe(200);
    expect((await local.call("/workspaces", creation({ Host: host, "Accept-Language": "*" }))).status).toBe(201);
    const headers = { Host: host, Origin: `http://${host}`, "Accept-Language": "*" };
    const inbox = `/workspaces/${agent.id}/activity`;
    expect((await local.call(inbox, { token: agent.token, headers })).status).toBe(200);
    const report = { json: { activity_type: "error" }, token: agent.token, headers };
    expect((await local.call(inbox, report)).status).toBe(200);
  });

  it("asks for no name once it is closed", async () => {
    const closed = aDeployment({ LOCAL_PLATFORM: "1" });
    const marks = { Origin: `http://${EVIL}`, "Sec-Fetch-Site": "same-origin" };
    expect((await closed.call("/health", under(EVIL, marks))).status).toBe(200);
    expect((await closed.call("/workspaces", under(EVIL, marks))).status).toBe(401);
  });
});

describe("a page of another site", () => {
  const embedded = { "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image" };
  const followed = { "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document" };

  it("cannot have its browser read anything for it, although such reads carry no Origin", async () => {
    const { id } = await anAgent();
    for (const site of ["cross-site", "same-site"]) {
      for (const kind of [embedded, { ...followed, "Sec-Fetch-Dest": "iframe" }, {}]) {
        const headers = { "Sec-Fetch-Site": site, ...kind };
        for (const path of ["/health", "/workspaces", `/admin/workspaces/${id}/test-token`]) {
          expect(await local.call(path, { headers }), `${path} ${JSON.stringify(headers)}`).toMatchObject(REFUSED);
        }
      }
    }
  });

  it("may link here, but for where reading does something", async () => {
    const { id } = await anAgent();
    const headers = { "Sec-Fetch-Site": "cross-site", ...followed };
    expect((await local.call("/health", { headers })).status).toBe(200);
    expect((await local.call(`/workspaces/${id}`, { headers, method: "HEAD" })).status).toBe(200);
    for (const path of [
      `/admin/workspaces/${id}/test-token`,
      `//admin/workspaces/${id}/test-token`,
      `/%61dmin/workspaces/${id}/test-token`,
      "/cdn-cgi/handler/scheduled",
    ]) {
      expect(await local.call(path, { headers }), path).toMatchObject(REFUSED);
      expect((await local.call(path, { headers, method: "HEAD" })).status, path).toBe(403);
    }
    expect(await local.call("/workspaces", { headers, method: "POST" })).toMatchObject(REFUSED);
  });

  it("leaves a person's own doings alone: what was typed, and what the platform's pages do", async () => {
    for (const site of ["none", "same-origin"]) {
      expect((await local.call("/workspaces", { headers: { "Sec-Fetch-Site": site, ...followed } })).status).toBe(200);
    }
  });

  it("cannot drive the open platform through an old browser, by what needs no preflight", async () => {
    const { id } = await anAgent();
    const Origin = "https://evil.example";
    for (const type of ["text/plain", "TEXT/PLAIN;charset=UTF-8", "application/x-www-form-urlencoded"]) {
      const headers = { Origin, "Content-Type": type };
      expect(await local.call("/workspaces", creation(headers)), type).toMatchObject(REFUSED);
    }
    const form = { Origin, "Content-Type": "multipart/form-data; boundary=b" };
    const upload = { method: "POST", body: "--b--", headers: form };
    expect(await local.call(`/workspaces/${id}/chat/uploads`, upload)).toMatchObject(REFUSED);
    expect(await local.call(`/workspaces/${id}/tokens`, { method: "POST", headers: { Origin } })).toMatchObject(
      REFUSED,
    );
    expect(await local.call(`/admin/workspaces/${id}/test-token`, { headers: { Origin } })).toMatchObject(REFUSED);
  });

  it("is not what an agent with any Origin and its token is, nor who sends JSON", async () => {
    const agent = await anAgent();
    const Origin = "https://elsewhere.example";
    expect((await local.call("/workspaces", creation({ Origin }))).status).toBe(201);
    const headers = { Origin, "Content-Type": "text/plain" };
    const report = { body: '{"activity_type":"error"}', token: agent.token, headers };
    expect((await local.call(`/workspaces/${agent.id}/activity`, report)).status).toBe(200);
    expect((await aDeployment().call(`/workspaces/${agent.id}/activity`, report)).status).toBe(200);
  });
});
