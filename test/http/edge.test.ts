import { describe, expect, it } from "vitest";
import { addressKey } from "../../src/http/caller.ts";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { aMessage, anAgent, BASE, call, type send } from "../support/platform.ts";

const ORG = "org-7f1d";
const CANVAS = "http://localhost:3000";
const UNKNOWN_ROUTES = ["/", "/healthz", "/workspaces/x/y/z", "/registry", "/admin", "/nothing/at/all"];
const SECURITY_HEADERS = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "strict-transport-security": "max-age=31536000; includeSubDomains",
  "referrer-policy": "strict-origin-when-cross-origin",
  "permissions-policy": "camera=(), microphone=(), geolocation=()",
};

/** One request for every way in which an answer comes about. */
async function everyKindOfAnswer(): Promise<[string, Parameters<typeof send>[1]][]> {
  const agent = await anAgent();
  return [
    ["/health", {}],
    ["/buildinfo", {}],
    [`/workspaces/${agent.id}/activity`, { token: agent.token }],
    [`/workspaces/${agent.id}/a2a`, { json: aMessage("hi") }],
    [`/workspaces/${agent.id}/activity?source=x`, { token: agent.token }],
    [`/workspaces/${agent.id}/activity`, { token: "wrong" }],
    [`/workspaces/${crypto.randomUUID()}`, {}],
    [`/workspaces/${agent.id}/activity?since_id=${crypto.randomUUID()}`, { token: agent.token }],
    [`/workspaces/${agent.id}/notify`, { token: agent.token, body: "x".repeat(1024 * 1024 + 1) }],
    ["/no/such/route", {}],
    ["/health", { method: "POST" }],
  ];
}

describe("every answer", () => {
  it("carries the security headers and a request id of its own, errors and unknown routes included", async () => {
    const ids = new Set<string>();
    const requests = await everyKindOfAnswer();
    for (const [path, options] of requests) {
      const { headers } = await call(path, options);
      for (const [name, value] of Object.entries(SECURITY_HEADERS))
        expect(headers.get(name), `${path} ${name}`).toBe(value);
      expect(headers.get("content-security-policy")).toContain("default-src 'self'");
      ids.add(headers.get("x-request-id") ?? "");
    }
    expect(ids.size).toBe(requests.length);
  });

  it("is JSON with a charset; an error names itself, its code, a hint and the request id", async () => {
    for (const [path, options] of await everyKindOfAnswer()) {
      const { status, headers, body, text } = await call(path, options);
      expect(headers.get("content-type"), path).toMatch(/^application\/json/);
      expect(text).toBe(JSON.stringify(body));
      if (status < 400) continue;
      expect(body).toMatchObject({
        error: expect.any(String),
        code: expect.any(String),
        hint: expect.any(String),
        request_id: headers.get("x-request-id"),
      });
    }
  });

  it("has the strict policy on API paths and the page's policy elsewhere", async () => {
    const policy = async (path: string) => (await call(path)).headers.get("content-security-policy");
    for (const path of ["/health", "/workspaces", "/registry/x", "/admin/x", "/metrics", "/events"]) {
      expect(await policy(path), path).toBe("default-src 'self'");
    }
    for (const path of ["/buildinfo", "/", "/healthy", "/canvas/viewport"])
      expect(await policy(path), path).toContain("script-src");
  });

  it("says in open dev mode that no limit applies", async () => {
    expect((await call("/health")).headers.get("x-ratelimit-limit")).toBe("unlimited");
  });
});

describe("an unknown route or a wrong method", () => {
  it("is 404 with JSON, never 405 and never plain text", async () => {
    for (const path of UNKNOWN_ROUTES) {
      expect(await call(path), path).toMatchObject({ status: 404, body: { error: "404 page not found" } });
    }
    const { id } = await anAgent();
    for (const [method, path] of [
      ["POST", "/health"],
      ["PUT", "/workspaces"],
      ["PATCH", "/registry/register"],
      ["GET", "/registry/register"],
      ["DELETE", `/workspaces/${id}/activity`],
      ["GET", `/workspaces/${id}/notify`],
      ["OPTIONS", "/health"],
    ] as const) {
      expect(await call(path, { method }), `${method} ${path}`).toMatchObject({
        status: 404,
        body: { error: "404 page not found", code: "route.unknown" },
      });
    }
  });

  it("is that also with a wrong bearer, and before any body is read", async () => {
    const answer = await call("/no/such/route", { token: "wrong", body: "x".repeat(2 * 1024 * 1024) });
    expect(answer.status).toBe(404);
  });

  it("HEAD answers like GET, without a body", async () => {
    const answer = await call("/health", { method: "HEAD" });
    expect(answer).toMatchObject({ status: 200, text: "" });
    expect((await call("/no/such/route", { method: "HEAD" })).status).toBe(404);
  });

  it("a trailing slash, or a doubled first one, reaches the same route", async () => {
    const agent = await anAgent();
    for (const path of ["/health/", "//health"]) expect((await call(path)).status, path).toBe(200);
    expect((await call(`/workspaces/${agent.id}/activity/?type=a2a_receive`, { token: agent.token })).body).toEqual([]);
    expect((await call(`/workspaces/${agent.id}/notify/`, { token: agent.token, json: { message: "m" } })).status).toBe(
      200,
    );
  });
});

describe("CORS", () => {
  it("admits a configured origin with credentials on every answer, errors and unknown routes included", async () => {
    for (const [path, options] of await everyKindOfAnswer()) {
      const { headers } = await call(path, { ...options, headers: { Origin: CANVAS } });
      expect(headers.get("access-control-allow-origin"), path).toBe(CANVAS);
      expect(headers.get("access-control-allow-credentials")).toBe("true");
      expect(headers.get("vary")).toContain("Origin");
    }
  });

  it("answers a preflight with 204, the methods and the headers of the canvas, on any path", async () => {
    for (const path of ["/workspaces", "/no/such/route", "/workspaces/x/chat/uploads"]) {
      const answer = await call(path, {
        method: "OPTIONS",
        headers: {
          Origin: CANVAS,
          "Access-Control-Request-Method": "PATCH",
          "Access-Control-Request-Headers": "authorization,content-type,x-molecule-org-slug",
        },
      });
      expect(answer.status).toBe(204);
      expect(answer.headers.get("access-control-allow-methods")).toBe("GET, POST, PUT, PATCH, DELETE, OPTIONS");
      const allowed = answer.headers.get("access-control-allow-headers")?.toLowerCase() ?? "";
      for (const name of ["origin", "content-type", "x-workspace-id", "authorization", "x-molecule-org-slug"]) {
        expect(allowed).toContain(name);
      }
      expect(answer.headers.get("access-control-allow-origin")).toBe(CANVAS);
    }
  });

  it("refuses a foreign browser with an empty 403, whatever it asks", async () => {
    const foreign = { Origin: "https://evil.example", "Sec-Fetch-Site": "cross-site" };
    for (const path of ["/health", "/workspaces", "/no/such/route"]) {
      expect(await call(path, { headers: foreign })).toMatchObject({ status: 403, text: "" });
    }
    const preflight = { Origin: "https://evil.example", "Access-Control-Request-Method": "POST" };
    const answer = await call("/workspaces", { method: "OPTIONS", headers: preflight });
    expect(answer).toMatchObject({ status: 403, text: "" });
    expect(answer.headers.get("access-control-allow-origin")).toBeNull();
    expect((await call("/health", { headers: { Origin: "null", "Sec-Fetch-Site": "cross-site" } })).status).toBe(403);
  });

  it("tolerates any Origin of what is no browser, without CORS headers", async () => {
    for (const Origin of ["https://evil.example", "null", "whatever", `${BASE}/path`]) {
      const answer = await call("/health", { headers: { Origin } });
      expect(answer.status, Origin).toBe(200);
      expect(answer.headers.get("access-control-allow-origin")).toBeNull();
    }
  });

  it("always admits the platform's own origin, also with a trailing slash or behind another name", async () => {
    const deployed = aDeployment();
    for (const Origin of [BASE, `${BASE}/`, BASE.replace("http:", "https:")]) {
      const headers = { Origin, "Sec-Fetch-Site": "same-site", Host: "posthouse.test" };
      expect((await deployed.call("/health", { headers })).status, Origin).toBe(200);
    }
    const behind = aDeployment({ EXTERNAL_PLATFORM_URL: "https://edge.example.com/", CORS_ORIGINS: "" });
    const headers = { Origin: "https://edge.example.com", "Sec-Fetch-Site": "cross-site" };
    expect((await behind.call("/health", { headers })).status).toBe(200);
  });

  it("takes its origins from CORS_ORIGINS, spaces after the commas included", async () => {
    const deployment = aDeployment({ CORS_ORIGINS: "https://canvas.example.com, https://other.example.com" });
    const of = async (Origin: string) =>
      (await deployment.call("/health", { headers: { Origin } })).headers.get("access-control-allow-origin");
    expect(await of("https://other.example.com")).toBe("https://other.example.com");
    expect(await of(CANVAS)).toBeNull();
  });
});

describe("TenantGuard", () => {
  const guarded = aDeployment({ MOLECULE_ORG_ID: ORG });

  it("answers whoever does not show that it belongs here with a 404 that is empty", async () => {
    const agent = await anAgent();
    for (const path of [
      "/workspaces",
      `/workspaces/${agent.id}`,
      "/admin/pending-uploads",
      "/no/such/route",
      "/health/x",
    ]) {
      const answer = await guarded.call(path);
      expect(answer, path).toMatchObject({ status: 404, text: "" });
    }
    for (const headers of [
      { "X-Molecule-Org-Id": "another" },
      { "X-Molecule-Org-Id": "" },
      { "Fly-Replay-Src": "instance=1;state=another" },
      { Origin: "https://evil.example" },
      { Origin: "null" },
      { Authorization: "Bearer wrong" },
      { Authorization: `Bearer ${agent.token.slice(0, -1)}!` },
    ]) {
      const answer = await guarded.call(`/workspaces/${agent.id}`, { headers });
      expect(answer, JSON.stringify(headers)).toMatchObject({ status: 404, text: "" });
    }
  });

  it("lets the probes and the first two calls of an agent through, and no other spelling of them", async () => {
    expect((await guarded.call("/health")).status).toBe(200);
    expect((await guarded.call("/buildinfo")).status).toBe(200);
    expect((await guarded.call("/registry/register", { json: {} })).status).toBe(400);
    expect((await guarded.call("/registry/heartbeat", { json: {} })).status).toBe(400);
    expect((await guarded.call("/cp/anything")).body.error).toBe("404 page not found");
    expect(await guarded.call("/registry/update-card", { json: {} })).toMatchObject({ status: 404, text: "" });
    expect(await guarded.call("/healthy")).toMatchObject({ status: 404, text: "" });
  });

  it("lets through what belongs here, and authenticates none of it", async () => {
    const agent = await anAgent();
    const path = `/workspaces/${agent.id}/activity`;
    for (const headers of [
      { "X-Molecule-Org-Id": ORG },
      { "Fly-Replay-Src": `instance=1;state=${ORG};t=1` },
      { Origin: BASE },
      { Origin: `${BASE}/` },
    ]) {
      expect(await guarded.call(path, { headers }), JSON.stringify(headers)).toMatchObject({
        status: 401,
        body: { error: "missing workspace auth token" },
      });
    }
    expect((await guarded.call(path, { token: agent.token })).status).toBe(200);
    expect((await guarded.call(path, { token: ADMIN_TOKEN })).status).toBe(200);
    const other = await anAgent();
    expect((await guarded.call(path, { token: other.token })).status).toBe(401);
  });

  it("answers a preflight of the canvas before anything else", async () => {
    const headers = { Origin: CANVAS, "Access-Control-Request-Method": "GET" };
    expect((await guarded.call("/workspaces", { method: "OPTIONS", headers })).status).toBe(204);
  });

  it("is off when the organisation is blank", async () => {
    expect((await aDeployment({ MOLECULE_ORG_ID: " " }).call("/no/such/route")).body.code).toBe("route.unknown");
  });
});

describe("bearers", () => {
  it("of no or a wrong form are refused, by their exact scheme", async () => {
    const agent = await anAgent();
    const closed = aDeployment();
    const read = (Authorization: string) =>
      closed.call(`/workspaces/${agent.id}/activity`, { headers: { Authorization } });
    for (const header of [
      "",
      "Bearer",
      "Bearer ",
      agent.token,
      `bearer ${agent.token}`,
      `Basic ${agent.token}`,
      `Bearer\t${agent.token}`,
    ]) {
      expect(await read(header), header).toMatchObject({
        status: 401,
        body: { error: "missing workspace auth token" },
      });
    }
    const flipped = agent.token.slice(0, -1) + (agent.token.endsWith("a") ? "b" : "a");
    for (const bearer of ["x", flipped, agent.token.toUpperCase(), `${agent.token}x`, `mol_${"0".repeat(71)}`]) {
      expect(await read(`Bearer ${bearer}`), bearer).toMatchObject({
        status: 401,
        body: { error: "invalid workspace auth token" },
      });
    }
    expect((await read(`Bearer   ${agent.token}  `)).status).toBe(200);
  });

  it("minted under the previous key still open, and the previous admin token too", async () => {
    const agent = await anAgent();
    const rotated = aDeployment({ TOKEN_KEY: "a-new-key", TOKEN_KEY_PREVIOUS: "test-token-key-0123456789abcdef" });
    expect((await rotated.call(`/workspaces/${agent.id}/activity`, { token: agent.token })).status).toBe(200);
    const admin = aDeployment({ ADMIN_TOKEN: "next", ADMIN_TOKEN_PREVIOUS: ADMIN_TOKEN });
    expect((await admin.call("/workspaces", { token: ADMIN_TOKEN })).status).toBe(200);
  });

  it("that nobody can read, because the key is missing, are 503 and not a revocation", async () => {
    const agent = await anAgent();
    const keyless = aDeployment({ TOKEN_KEY: "" });
    for (const [path, options] of [
      [`/workspaces/${agent.id}/activity`, {}],
      ["/registry/heartbeat", { json: { workspace_id: agent.id } }],
    ] as const) {
      expect(await keyless.call(path, { ...options, token: agent.token })).toMatchObject({
        status: 503,
        body: { code: "token.key_missing" },
      });
    }
    expect((await keyless.call("/workspaces", { token: ADMIN_TOKEN })).status).toBe(200);
  });

  it("that are wrong are limited by address, before any object is asked", async () => {
    const keys: string[] = [];
    const limiter = {
      limit: async ({ key }: { key: string }) => {
        keys.push(key);
        return { success: keys.length <= 2 };
      },
    };
    const closed = aDeployment({ BAD_CREDENTIALS: limiter });
    const attempt = (address: string) =>
      closed.call(`/workspaces/${crypto.randomUUID()}/activity`, {
        token: "wrong",
        headers: { "CF-Connecting-IP": address },
      });
    expect((await attempt("2001:db8:1:2:3::4")).status).toBe(401);
    expect((await attempt("203.0.113.7")).status).toBe(401);
    const limited = await attempt("203.0.113.7");
    expect(limited).toMatchObject({ status: 429, body: { error: "rate limit exceeded", retry_after: 60 } });
    expect(limited.headers.get("retry-after")).toBe("60");
    expect(keys).toEqual(["2001:db8:1:2", "203.0.113.7", "203.0.113.7"]);
    const agent = await anAgent();
    expect((await closed.call(`/workspaces/${agent.id}/activity`, { token: agent.token })).status).toBe(200);
  });
});

describe("the key of an address", () => {
  it("is the address itself for IPv4 and the /64 for IPv6", () => {
    expect(addressKey("203.0.113.7")).toBe("203.0.113.7");
    expect(addressKey("2001:db8:1:2:3:4:5:6")).toBe("2001:db8:1:2");
    expect(addressKey("2001:db8::1")).toBe("2001:db8:0:0");
    expect(addressKey("::1")).toBe("0:0:0:0");
    expect(addressKey("2001:db8:1:2::")).toBe("2001:db8:1:2");
  });
});
