import { type Answer, call } from "./platform.ts";

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
