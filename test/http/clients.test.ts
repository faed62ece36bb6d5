import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { channel, molecule, pythonPoller, runtime } from "../support/client-replays.ts";
import { aForm, aFormOf, encoded } from "../support/parcel-post.ts";
import { type Agent, aMessage, BASE, call, send } from "../support/platform.ts";

const ORG = "org-of-the-agents";
const CANVAS_HEADERS = { "X-Molecule-Org-Id": ORG, Origin: "http://localhost:3000" };

// Each client runs against the open platform, a closed deployment, and one whose organisation it does not know.
const PLATFORMS = {
  "the local platform": { call, send },
  "a closed deployment": aDeployment(),
  "a guarded tenant": aDeployment({ MOLECULE_ORG_ID: ORG }),
};

afterEach(() => {
  vi.useRealTimers();
});

describe.each(Object.entries(PLATFORMS))("on %s", (_name, platform) => {
  let agent: Agent;
  let peer: Agent;
  const operator = platform === PLATFORMS["the local platform"] ? {} : { token: ADMIN_TOKEN };

  /** What the operator does before any client starts. */
  async function created(): Promise<Agent> {
    const { body } = await platform.call("/workspaces", {
      ...operator,
      headers: { "X-Molecule-Org-Id": ORG },
      json: { name: crypto.randomUUID(), runtime: "external", delivery_mode: "poll" },
    });
    return { id: body.id, token: body.connection.auth_token };
  }

  function fromCanvas(to: Agent, text: string) {
    return platform.call(`/workspaces/${to.id}/a2a`, {
      ...operator,
      headers: CANVAS_HEADERS,
      json: aMessage(text),
    });
  }

  /** What the canvas does with files of its user: it uploads them, then names them in a message. */
  async function filesFromCanvas(to: Agent, form: FormData) {
    const { body, headers } = await encoded(form);
    const { body: answer } = await platform.call(`/workspaces/${to.id}/chat/uploads`, {
      ...operator,
      body,
      headers: { ...headers, ...CANVAS_HEADERS },
    });
    const parts = answer.files.map((file: object) => ({ kind: "file", file }));
    const message = { role: "user", messageId: crypto.randomUUID(), parts: [{ kind: "text", text: "look" }, ...parts] };
    await platform.call(`/workspaces/${to.id}/a2a`, {
      ...operator,
      headers: CANVAS_HEADERS,
      json: { method: "message/send", params: { message } },
    });
    return answer.files;
  }

  /** What the user's chat shows of a file. */
  function shownToUser({ uri }: { uri: string }) {
    const [workspaceId, fileId] = uri.replace("platform-pending:", "").split("/");
    const path = `/workspaces/${workspaceId}/pending-uploads/${fileId}/content`;
    return platform.call(path, { ...operator, headers: CANVAS_HEADERS });
  }

  beforeEach(async () => {
    [agent, peer] = [await created(), await created()];
  });

  it("the Python poller takes its first window reversed, then goes on by cursor, and starts anew after a 410", async () => {
    const poller = pythonPoller(platform, agent);
    for (const text of ["one", "two"]) await fromCanvas(agent, text);
    expect(await poller.tick()).toEqual([
      { kind: "canvas_user", text: "one" },
      { kind: "canvas_user", text: "two" },
    ]);
    expect(await poller.tick()).toEqual([]);
    await molecule(platform, peer).sendTo(agent, "three");
    await platform.call(`/workspaces/${agent.id}/notify`, { token: agent.token, json: { message: "an echo" } });
    expect(await poller.tick()).toEqual([{ kind: "peer_agent", text: "three" }]);
    expect(await poller.tick()).toEqual([]);
    poller.cursor = crypto.randomUUID();
    expect(await poller.tick()).toEqual([]);
    expect(poller.cursor).toBeNull();
    expect(await poller.tick()).toHaveLength(3);
  });

  it("the later Python poller asks for peers, acknowledges what it handled, and skips its own echo", async () => {
    const poller = pythonPoller(platform, agent, { later: true });
    await molecule(platform, agent).reportDelegation(peer, "a task", "a result");
    await molecule(platform, peer).sendTo(agent, "hello");
    expect(await poller.tick()).toEqual([{ kind: "peer_agent", text: "hello", peer: expect.any(String) }]);
    expect(poller.acked).toBeGreaterThan(0);
    const { body } = await platform.call(`/workspaces/${agent.id}/activity?from=ack`, { token: agent.token });
    expect(body).toEqual([]);
  });

  it("the Python poller fetches and acks files before the message that names them, and finds them in it", async () => {
    const poller = pythonPoller(platform, agent);
    await filesFromCanvas(agent, aFormOf(6));
    const [message, ...more] = await poller.tick();
    expect(more).toEqual([]);
    expect(message).toMatchObject({ kind: "canvas_user", text: "look" });
    const texts = message?.files?.map((place) => poller.contents.get(place));
    expect(texts).toEqual(Array.from({ length: 6 }, (_, index) => `content ${index}`));
  });

  it("a second Python poller skips what the first has acked, leaves its URIs as they are, and goes on", async () => {
    const [first, second] = [pythonPoller(platform, agent), pythonPoller(platform, agent)];
    const [file] = await filesFromCanvas(agent, aFormOf(1));
    expect(await first.tick()).toHaveLength(1);
    expect(await second.tick()).toMatchObject([{ text: "look", files: [file.uri] }]);
    expect(second.contents.size).toBe(0);
    await fromCanvas(agent, "more");
    expect(await second.tick()).toEqual([{ kind: "canvas_user", text: "more" }]);
    expect((await shownToUser(file)).text).toBe("content 0");
  });

  it("the later Python poller hands a file on as a message of its own too", async () => {
    const poller = pythonPoller(platform, agent, { later: true });
    await filesFromCanvas(agent, aForm(["notes.txt", "words"]));
    const [upload, message] = await poller.tick();
    expect(upload).toMatchObject({ kind: "canvas_user", text: "chat_upload_receive: notes.txt" });
    expect(upload?.files).toEqual(message?.files);
    expect(poller.contents.get(upload?.files?.[0] ?? "")).toBe("words");
  });

  it("molecule-mcp sends files to its user, who reads them though its own poller met, fetched and acked one", async () => {
    const [client, poller] = [molecule(platform, agent), pythonPoller(platform, agent)];
    const early = await client.uploadForUser(aForm(["early.txt", "early"]));
    expect(await poller.tick()).toEqual([]);
    expect(poller.contents.size).toBe(1);
    const late = await client.uploadForUser(aForm(["late.txt", "late"]));
    const sent = await client.sendMessageToUser("two files", [...early, ...late]);
    expect(sent).toMatchObject({ status: 200, body: { status: "sent" } });
    expect(await poller.tick()).toEqual([]);
    expect(poller.contents.size).toBe(1);
    const texts = await Promise.all([...early, ...late].map(async (file) => (await shownToUser(file)).text));
    expect(texts).toEqual(["early", "late"]);
  });

  it("molecule-mcp registers without a URL, beats, answers its user and lists its peers", async () => {
    const client = molecule(platform, agent);
    expect((await client.register()).status).toBe(200);
    for (let beats = 0; beats < 3; beats++)
      expect(await client.beat()).toMatchObject({ status: 200, body: { status: "ok" } });
    expect(await client.sendMessageToUser("hello, user")).toMatchObject({ status: 200, body: { status: "sent" } });
    expect((await client.peers()).body.map((entry: { id: string }) => entry.id)).toContain(peer.id);
    expect((await client.chatHistory(peer)).body).toEqual([]);
  });

  it("molecule-mcp delegates: discover, report, send, and reads the queued envelope", async () => {
    const client = molecule(platform, agent);
    await client.register();
    const found = await client.discover(peer);
    expect(found).toMatchObject({ status: 200, body: { id: peer.id } });
    const sent = await client.sendTo(peer, "do it");
    expect(sent.body).toMatchObject({ status: "queued", delivery_mode: "poll" });
    expect((await client.reportDelegation(peer, "do it", "queued")).status).toBe(200);
    const history = (await client.chatHistory(peer)).body;
    expect(history).toHaveLength(2);
  });

  it("molecule-mcp hears 401 three times and 410 on the public view once it is removed", async () => {
    const client = molecule(platform, agent);
    await client.register();
    await platform.call(`/workspaces/${agent.id}`, {
      method: "DELETE",
      ...operator,
      headers: { "X-Molecule-Org-Id": ORG },
    });
    for (let beats = 0; beats < 3; beats++) expect((await client.beat()).status).toBe(401);
    expect(await client.publicView()).toMatchObject({
      status: 410,
      body: { error: "workspace removed", id: agent.id },
    });
  });

  it("the TypeScript channel probes with the zero UUID, registers, polls and answers a peer by its old header", async () => {
    const client = channel(platform, agent);
    expect((await client.probe()).status).toBe(410);
    expect((await client.register()).body.delivery_mode).toBe("poll");
    await fromCanvas(agent, "hello");
    const [row] = (await client.poll()).body;
    expect(row.request_body.params.message.parts[0].text).toBe("hello");
    expect((await client.poll()).body).toEqual([]);
    await molecule(platform, peer).sendTo(agent, "from a peer");
    expect((await client.poll()).body).toMatchObject([{ source_id: peer.id }]);
    expect((await client.beat()).status).toBe(200);
    expect((await client.notify("answer")).status).toBe(200);
    expect((await client.replyTo(peer, "answer")).body).toMatchObject({ status: "queued" });
    const inbox = await platform.call(`/workspaces/${peer.id}/activity?type=a2a_receive`, { token: peer.token });
    expect(inbox.body).toMatchObject([{ source_id: agent.id, request_body: { id: 7 } }]);
  });

  it("the TypeScript channel of May sees an upload as a row; later ones fetch it and replace its URI everywhere", async () => {
    const client = channel(platform, agent);
    const [file] = await filesFromCanvas(agent, aForm(["notes.txt", "words"]));
    const { body: rows } = await client.poll();
    expect(rows.map(({ method }: { method: string }) => method)).toEqual(["message/send", "chat_upload_receive"]);
    const emitted = await client.emit(rows);
    expect(emitted).toMatchObject([{ method: "message/send" }]);
    expect(JSON.stringify(emitted)).not.toContain(file.uri);
    const [[place, content] = []] = client.contents;
    expect(content).toBe("words");
    expect(JSON.stringify(emitted)).toContain(place);
  });

  it("the in-container runtime registers its URL without a mode, beats with everything, and notifies with a type", async () => {
    const client = runtime(platform, agent);
    expect((await client.register("https://agent.example.com")).body.delivery_mode).toBe("poll");
    expect((await client.beat()).status).toBe(200);
    expect((await client.notifyTyped("finished")).status).toBe(200);
    expect((await client.selfMessage("idle prompt")).body).toMatchObject({ status: "queued" });
  });

  it("an April-era runtime finds a poll peer's URL, posts to it directly and is delivered", async () => {
    const client = runtime(platform, agent);
    const { url } = (await client.discover(peer)).body;
    expect(url).toBe(`${BASE}/workspaces/${peer.id}/a2a`);
    const sent = await platform.call(url.slice(BASE.length), {
      token: agent.token,
      headers: { "X-Workspace-ID": agent.id },
      json: aMessage("directly"),
    });
    expect(sent.status).toBe(200);
    const inbox = await platform.call(`/workspaces/${peer.id}/activity`, { token: peer.token });
    expect(inbox.body).toMatchObject([{ source_id: agent.id }]);
  });
});

describe("what no client can do without a bearer", () => {
  it("the LangChain tools, which send only X-Workspace-ID, hear 401 on a closed deployment", async () => {
    const closed = PLATFORMS["a closed deployment"];
    const id = crypto.randomUUID();
    const headers = { "X-Workspace-ID": id };
    expect((await closed.call(`/registry/discover/${id}`, { headers })).status).toBe(401);
    expect((await closed.call(`/workspaces/${id}/notify`, { headers, json: {} })).status).toBe(401);
    expect((await closed.call(`/workspaces/${id}/a2a`, { headers, json: aMessage("hi") })).status).toBe(401);
  });

  it("molecule-mcp doctor's two probes fail as they always did, with JSON", async () => {
    expect(await call("/healthz")).toMatchObject({ status: 404, body: { error: "404 page not found" } });
    const beat = await call("/registry/heartbeat", { json: { id: crypto.randomUUID() } });
    expect(beat).toMatchObject({ status: 400, body: { error: "invalid request body" } });
  });
});
