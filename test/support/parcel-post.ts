import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { vi } from "vitest";
import { aBucket } from "../storage/blobs.ts";
import { type Agent, type Answer, call } from "./platform.ts";
import { quiet } from "./quiet.ts";
import { until } from "./until.ts";

/** A multipart form of named files, as browsers and Python send it. */
export function aForm(...files: [name: string, content: string | Uint8Array, type?: string][]): FormData {
  const form = new FormData();
  for (const [name, content, type] of files) {
    form.append("files", new File([content], name, { type: type ?? "text/plain" }));
  }
  return form;
}

/** A form of `count` small files. */
export function aFormOf(count: number): FormData {
  return aForm(
    ...Array.from({ length: count }, (_, index): [string, string] => [`file-${index}.txt`, `content ${index}`]),
  );
}

/** The form's bytes with their length, so that the platform knows it before they come. */
export async function encoded(form: FormData): Promise<{ body: Uint8Array; headers: Record<string, string> }> {
  const request = new Request("http://form.test", { method: "POST", body: form });
  const body = new Uint8Array(await request.arrayBuffer());
  const type = request.headers.get("Content-Type") ?? "";
  return { body, headers: { "Content-Type": type, "Content-Length": String(body.byteLength) } };
}

/** Uploads a form to a workspace. */
export async function upload(workspaceId: string, form: FormData, token?: string): Promise<Answer> {
  return call(`/workspaces/${workspaceId}/chat/uploads`, {
    ...(await encoded(form)),
    ...(token === undefined ? {} : { token }),
  });
}

/** A staged file as its uploader was told of it, and the two places where its agent finds it. */
export interface Parcel {
  readonly id: string;
  readonly uri: string;
  readonly name: string;
  readonly mimeType: string;
  readonly size: number;
  readonly content: string;
  readonly ack: string;
}

/** Uploads files that must be staged; by nobody in particular unless somebody shows a token. */
export async function stage(to: Agent, form: FormData, token?: string): Promise<Parcel[]> {
  const { status, body, text } = await upload(to.id, form, token);
  if (status !== 200) throw new Error(`upload answered ${status}: ${text}`);
  return body.files.map((file: Pick<Parcel, "uri" | "name" | "mimeType" | "size">): Parcel => {
    const id = file.uri.split("/").at(-1) ?? "";
    const path = `/workspaces/${to.id}/pending-uploads/${id}`;
    return { ...file, id, content: `${path}/content`, ack: `${path}/ack` };
  });
}

/** Uploads one file that must be staged. */
export async function stageOne(to: Agent, content: string | Uint8Array = "alpha", name = "alpha.txt"): Promise<Parcel> {
  const [parcel] = await stage(to, aForm([name, content]));
  if (parcel === undefined) throw new Error("the answer named no file");
  return parcel;
}

/** Sends any bytes as an upload. */
export function uploadBytes(
  to: Pick<Agent, "id">,
  body: BodyInit,
  contentType: string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const length = body instanceof Uint8Array ? { "Content-Length": String(body.byteLength) } : {};
  return call(`/workspaces/${to.id}/chat/uploads`, {
    body,
    headers: { "Content-Type": contentType, ...length, ...headers },
  });
}

/** An upload whose client has sent half of it, which the object knows. */
export interface HalfSent {
  /** Settles with the platform's answer; a client that left may get none. */
  readonly answer: Promise<Answer | null>;
  sendRest(): Promise<void>;
  leave(): Promise<void>;
}

/** Begins an upload of a file and sends half of its body, with or without telling its length. */
export async function halfSent(
  to: Pick<Agent, "id">,
  content: Uint8Array,
  { sized = true, token }: { sized?: boolean; token?: string } = {},
): Promise<HalfSent> {
  const { body, headers } = await encoded(aForm(["half.bin", content]));
  const { readable, writable } = sized ? new FixedLengthStream(body.length) : new IdentityTransformStream();
  const writer = writable.getWriter();
  const { "Content-Type": type = "" } = headers;
  const bearer: Record<string, string> = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  const answer = uploadBytes(to, readable, type, { ...bearer, ...(sized ? headers : {}) }).catch(() => null);
  await writer.write(body.slice(0, body.length / 2));
  await until("the upload is open", async () => (await heldBy(to)).uploads === 1);
  return {
    answer,
    async sendRest() {
      await writer.write(body.slice(body.length / 2));
      await writer.close();
    },
    leave: () => writer.abort(new Error("the client has left")),
  };
}

/** Reads a file's content with this token, or as nobody in particular. */
export function read({ content }: Parcel, token?: string): Promise<Answer> {
  return call(content, token === undefined ? {} : { token });
}

export function ack(parcel: Parcel, token?: string): Promise<Answer> {
  return call(parcel.ack, { method: "POST", ...(token === undefined ? {} : { token }) });
}

/** The keys under which the bucket holds bytes of a workspace. */
export async function keysOf({ id }: Pick<Agent, "id">): Promise<string[]> {
  const { objects } = await aBucket().list({ prefix: `${id}/` });
  return objects.map(({ key }) => key);
}

/** What a workspace holds of uploads: bytes, files, inbox rows, and uploads that are open or stored. */
export async function heldBy({ id }: Pick<Agent, "id">) {
  const [rows, keys] = await Promise.all([call(`/workspaces/${id}/activity`), keysOf({ id })]);
  const inObject = await runInDurableObject(env.WORKSPACE.getByName(id), (_instance, { storage: { sql } }) => ({
    files: sql.exec("SELECT name FROM files").toArray().length,
    uploads: sql.exec("SELECT state FROM uploads WHERE state IN ('open', 'stored')").toArray().length,
  }));
  return { ...inObject, rows: rows.body.length, keys: keys.length };
}

export const NOTHING_HELD = { files: 0, uploads: 0, rows: 0, keys: 0 };

/** Lets time pass, without the workspace's alarm; `vi.useRealTimers()` brings it back. */
export function wait(ms: number): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + ms });
}

/** Lets time pass in which the workspace's alarm rings, if it stands before the end of it. */
export async function waitForAlarm({ id }: Pick<Agent, "id">, ms: number): Promise<void> {
  await quiet(id);
  wait(ms);
  const workspace = env.WORKSPACE.getByName(id);
  // None stands while one rings, as the one of a moment ago may do under the new time.
  const alarmAt = await until("an alarm stands", () =>
    runInDurableObject(workspace, (_instance, { storage }) => storage.getAlarm()),
  );
  if (alarmAt <= Date.now()) await runDurableObjectAlarm(workspace);
}
