import { describe, expect, it, onTestFinished, vi } from "vitest";
import { mintToken } from "../../src/domain/credential.ts";
import { SOCKET_COOKIE } from "../../src/http/socket-cookie.ts";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { anAgent, BASE, requestOf } from "../support/platform.ts";
import { until } from "../support/until.ts";
import { Upstream } from "../support/upstream.ts";

const PAGE = "http://localhost:3000";
const UNKNOWN = { status: 404, body: { error: "404 page not found", code: "route.unknown" } };
const CHUNK = new Uint8Array(64 * 1024).fill(97);

function aProxy(variables: Record<string, unknown> = {}) {
  const upstream = new Upstream();
  return { upstream, platform: upstream.deployment(variables) };
}

describe("what pages need of the control plane", () => {
  it("is passed on with any method, its query and its body, without any credential of ours", async () => {
    const { upstream, platform } = aProxy({ MOLECULE_ORG_ID: crypto.randomUUID() });
    for (const path of [
      "/cp/auth/me",
      "/cp/auth/callback?code=a%2Fb&state=%C3%A4",
      "/cp/orgs",
      "/cp/orgs/",
      "/cp/orgs/acme/members",
      "/cp/billing/checkout",
      "/cp/templates?limit=5",
      "/cp/templates/a%20b",
      "/cp/legal/terms",
    ]) {
      expect(await platform.call(path), path).toMatchObject({ status: 200, body: { method: "GET", path } });
    }
    for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
      const answer = await platform.call("/cp/orgs/acme", { method, json: { plan: "pro" } });
      expect(answer).toMatchObject({ status: 200, body: { method } });
    }
    expect((await platform.call("/cp/auth/me", { method: "HEAD" })).text).toBe("");
    const received = await upstream.received();
    expect(received.slice(9).map(({ bytes }) => bytes)).toEqual([14, 14, 14, 14, 14, 0]);
    expect(received.at(-1)?.method).toBe("HEAD");
  });

  it("is nothing else under /cp/, in whatever spelling, and nothing of it leaves", async () => {
    const { upstream, platform } = aProxy();
    for (const path of [
      "/cp",
      "/cp/",
      "/cp/auth",
      "/cp/authx/me",
      "/cp/orgs-of-others",
      "/cp/templatesx",
      "/cp/admin/workspaces",
      "/cp/workspaces/provision",
      "/cp/tenants/config",
      "/cp/auth/../admin/x",
      "/cp/auth/%2e%2e/admin/x",
      "/cp/auth/%2E./admin/x",
      "/cp/auth/.%2e/.%2e/x",
      "/cp/auth/..\\admin",
      "/cp/auth\\..\\admin",
      "/cp/auth/..%2fadmin",
      "/cp/auth/..%5cadmin",
      "/cp/auth/a%2Fb",
      "/cp/auth/%252e%252e/admin",
      "/cp/auth/..;/admin",
      "/cp/auth/.;x=1/admin",
      "/cp/auth//admin",
      "/cp/auth/%00",
      "/cp/auth/%0d%0a",
      "/cp/auth/%ff",
      "/cp/orgs/../workspaces/provision",
      "/%63p/admin/x",
      "/workspaces/../cp/admin/x",
      "//cp/auth/me",
    ]) {
      const answer = await platform.call(path, { method: "POST", headers: { Cookie: "session=ada", Origin: PAGE } });
      expect(answer, path).toMatchObject(UNKNOWN);
    }
    const looks = "/cp/auth/tenant-member?slug=acme";
    expect((await upstream.received()).filter(({ path }) => path !== looks)).toEqual([]);
  });

  it("is nothing where no control plane is named", async () => {
    for (const path of ["/cp/auth/me", "/cp/orgs"]) expect(await aDeployment().call(path)).toMatchObject(UNKNOWN);
  });

  it("keeps to the control plane's own folder where its URL has one", async () => {
    const { upstream } = aProxy();
    const below = upstream.deployment({ CP_UPSTREAM_URL: `${upstream.url}/base/` });
    expect((await below.call("/cp/auth/me")).body.path).toBe("/base/cp/auth/me");
  });
});

describe("a request that is passed on", () => {
  it("keeps what the browser sent, and says anew what proxies say", async () => {
    const { upstream, platform } = aProxy();
    const sent = {
      Accept: "text/html",
      "Accept-Language": "de",
      "User-Agent": "canvas",
      "X-Molecule-Org-Slug": "acme",
      Origin: BASE,
      Referer: `${BASE}/orgs`,
      Cookie: `a=1; ${SOCKET_COOKIE}=x.y.z; session=ada`,
      Authorization: "Bearer a-token-of-the-control-plane",
      Host: "inn.example",
      "CF-Connecting-IP": "203.0.113.9",
      "CF-Ray": "forged",
      "X-Forwarded-For": "10.0.0.1",
      "X-Forwarded-User": "root",
      "X-Real-IP": "10.0.0.1",
      Forwarded: "for=10.0.0.1",
      TE: "trailers",
      "Proxy-Authorization": "Basic x",
      "Keep-Alive": "timeout=5",
      Connection: "X-Hop",
      "X-Hop": "for the neighbour",
    };
    expect((await platform.call("/cp/auth/me", { headers: sent })).status).toBe(200);
    const [{ headers } = { headers: {} }] = await upstream.received();
    expect(headers).toMatchObject({
      accept: "text/html",
      "accept-language": "de",
      "user-agent": "canvas",
      "x-molecule-org-slug": "acme",
      origin: BASE,
      referer: `${BASE}/orgs`,
      cookie: "a=1; session=ada",
      authorization: "Bearer a-token-of-the-control-plane",
      host: new URL(upstream.url).host,
      "x-forwarded-for": "203.0.113.9",
      "x-forwarded-host": "inn.example",
      "x-forwarded-proto": "http",
    });
    for (const name of ["cf-ray", "x-forwarded-user", "x-real-ip", "forwarded", "te", "proxy-authorization", "x-hop"]) {
      expect(headers, name).not.toHaveProperty(name);
    }
  });

  it("takes no bearer of ours along, whatever its scheme and header, good or revoked", async () => {
    const { upstream, platform } = aProxy({ ADMIN_TOKEN_PREVIOUS: "the one before=" });
    const { token } = await anAgent();
    const organisation = mintToken("molo_", crypto.randomUUID(), new Uint8Array(32), "another key");
    for (const secret of [ADMIN_TOKEN, "the one before=", token, organisation]) {
      for (const headers of [
        { Authorization: `Bearer ${secret}` },
        { Authorization: `bearer   ${secret}` },
        { Authorization: secret },
        { "X-Molecule-Admin-Token": secret },
      ] as Record<string, string>[]) {
        expect((await platform.call("/cp/auth/me", { headers })).status).toBe(200);
      }
    }
    const received = await upstream.received();
    expect(received).toHaveLength(16);
    for (const secret of [ADMIN_TOKEN, "the one before", token, organisation]) {
      expect(JSON.stringify(received)).not.toContain(secret);
    }
  });

  it("is judged by nobody but the control plane: a bearer of its own is no bad one here", async () => {
    const limiter = { limit: async () => ({ success: false }) };
    const { platform } = aProxy({ BAD_CREDENTIALS: limiter, TOKEN_KEY: "" });
    expect((await platform.call("/cp/auth/me", { token: "of-the-control-plane" })).status).toBe(200);
  });

  it("streams: the control plane has the beginning while the page still writes", async () => {
    const { upstream, platform } = aProxy();
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    const answer = platform.call("/cp/templates/import", { method: "POST", body: readable });
    await writer.write(CHUNK);
    await until("the first chunk has arrived", async () => (await upstream.received())[0]?.bytes === CHUNK.length);
    for (let more = 0; more < 255; more++) await writer.write(CHUNK);
    await writer.close();
    expect((await answer).status).toBe(200);
    expect((await upstream.received())[0]?.bytes).toBe(256 * CHUNK.length);
  });
});

describe("an answer that is passed back", () => {
  it("keeps its status, its words and each of its cookies, and carries our headers", async () => {
    const { upstream, platform } = aProxy();
    const policy = "default-src 'none'";
    const cookies = ["session=ada; Path=/; HttpOnly; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "csrf=1; Path=/"];
    await upstream.next({
      act: "answer",
      status: 418,
      headers: {
        "content-type": "text/html",
        "content-security-policy": policy,
        "set-cookie": cookies,
        vary: "Cookie",
        "access-control-allow-origin": "*",
        "x-frame-options": "ALLOWALL",
        connection: "x-hop",
        "x-hop": "for the neighbour",
      },
      body: "<h1>short and stout</h1>",
    });
    const { status, text, headers } = await platform.call("/cp/auth/me", { headers: { Origin: PAGE } });
    expect({ status, text }).toEqual({ status: 418, text: "<h1>short and stout</h1>" });
    expect(headers.getSetCookie()).toEqual(cookies);
    expect(headers.get("content-security-policy")).toBe(policy);
    expect(headers.get("x-frame-options")).toBe("DENY");
    expect(headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    expect(headers.get("access-control-allow-origin")).toBe(PAGE);
    expect(headers.get("vary")).toBe("Cookie, Origin");
    expect(headers.has("x-hop")).toBe(false);
    expect((await platform.call("/cp/auth/me")).headers.get("content-security-policy")).toContain("script-src");
  });

  it("shows itself to no page of another origin, whatever the control plane says", async () => {
    const { upstream, platform } = aProxy();
    const headers = { "access-control-allow-origin": "*", "access-control-allow-credentials": "true" };
    await upstream.next({ act: "answer", headers, body: "{}" });
    const open = await platform.call("/cp/auth/me", { headers: { Origin: "https://evil.example" } });
    expect(open.headers.has("access-control-allow-origin")).toBe(false);
    expect(open.headers.has("access-control-allow-credentials")).toBe(false);
    const page = { Origin: "https://evil.example", "Sec-Fetch-Site": "cross-site" };
    expect(await platform.call("/cp/auth/signout", { method: "POST", headers: page })).toMatchObject({ status: 403 });
    expect(await upstream.received()).toHaveLength(1);
  });

  it("may be a redirect, which is the browser's to follow, or empty", async () => {
    const { upstream, platform } = aProxy();
    const location = `${upstream.url}/elsewhere`;
    await upstream.next(
      { act: "answer", status: 302, headers: { location, "set-cookie": "state=1" }, body: "" },
      { act: "answer", status: 204, headers: {}, body: "" },
      { act: "answer", status: 304, headers: { etag: '"1"' }, body: "" },
    );
    const moved = await platform.call("/cp/auth/login");
    expect(moved.status).toBe(302);
    expect(moved.headers.get("location")).toBe(location);
    expect(moved.headers.get("set-cookie")).toBe("state=1");
    expect((await platform.call("/cp/auth/login")).status).toBe(204);
    expect((await platform.call("/cp/auth/login")).status).toBe(304);
    expect(await upstream.received()).toHaveLength(3);
  });

  it("streams: the page has the beginning while the control plane still writes", async () => {
    const { upstream, platform } = aProxy();
    await upstream.next({ act: "drip", body: "first words" });
    const { body } = await platform.send("/cp/billing/events");
    const reader = body?.getReader();
    expect(new TextDecoder().decode((await reader?.read())?.value)).toBe("first words");
    await upstream.release();
    expect((await reader?.read())?.done).toBe(true);
  });

  it("is 502 with our words when there is none", async () => {
    const { upstream, platform } = aProxy();
    await upstream.next({ act: "reset" });
    const refused = { status: 502, body: { error: "control plane unreachable", code: "control_plane.unreachable" } };
    expect(await platform.call("/cp/auth/me")).toMatchObject(refused);
    const nobody = aDeployment({ CP_UPSTREAM_URL: "http://127.0.0.1:1", CORS_ORIGINS: PAGE });
    const answer = await nobody.call("/cp/auth/me", { json: {}, headers: { Origin: PAGE } });
    expect(answer).toMatchObject(refused);
    expect(answer.headers.get("access-control-allow-origin")).toBe(PAGE);
    expect(answer.text).not.toContain("127.0.0.1");
  });
});

it("a control plane that has not begun to answer within 30 s counts as away", async () => {
  const { upstream, platform } = aProxy();
  await upstream.next({ act: "hold" });
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
  const answer = platform.call("/cp/auth/me");
  await until("it is asked", async () => (await upstream.received()).length === 1);
  expect(vi.getTimerCount()).toBe(1);
  vi.advanceTimersByTime(30_000);
  expect(await answer).toMatchObject({ status: 502, body: { code: "control_plane.unreachable" } });
  await upstream.release();
});

describe("a page that signs out", () => {
  it("has no session any more from then on", async () => {
    const { upstream, platform } = aProxy();
    await upstream.members({ ada: "user_ada" });
    const headers = { Origin: PAGE, Cookie: "session=ada" };
    expect((await platform.call("/workspaces", { headers })).status).toBe(200);
    await upstream.members({});
    expect((await platform.call("/workspaces", { headers })).status).toBe(200);
    await upstream.next({ act: "answer", headers: { "set-cookie": "session=; Max-Age=0" }, body: "{}" });
    const Cookie = `${SOCKET_COOKIE}=x; session=ada`;
    await platform.call("/cp/auth/signout", { method: "POST", headers: { ...headers, Cookie } });
    expect((await platform.call("/workspaces", { headers })).status).toBe(401);
  });
});

it("a preflight of an allowed page is answered here, and never reaches the control plane", async () => {
  const { upstream, platform } = aProxy();
  const headers = { Origin: PAGE, "Access-Control-Request-Method": "POST" };
  expect((await platform.call("/cp/auth/me", { method: "OPTIONS", headers })).status).toBe(204);
  expect(requestOf("/cp/auth/../admin").url).toBe(`${BASE}/cp/admin`);
  expect(await upstream.received()).toEqual([]);
});
