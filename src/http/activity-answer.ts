import type { ActivityQuery } from "../domain/activity-query.ts";
import { attachmentsOf } from "../domain/row-attachments.ts";
import type { ActivityPage } from "../durable-objects/workspace/inbox-store.ts";
import { blobStoreOf } from "../storage/blob-store.ts";
import { readLargeBody } from "../storage/large-body.ts";
import { jsonText } from "./answers.ts";
import { settled } from "./ask.ts";
import { type AppContext, directoryOf } from "./context.ts";
import { platformUrl } from "./platform-url.ts";

type Rows = Extract<ActivityPage, { kind: "rows" }>;

/** A page as the bare array of the contract; bodies that lie in R2 are streamed into their rows. */
export async function activityAnswer(c: AppContext, page: ActivityPage, query: ActivityQuery): Promise<Response> {
  if (page.kind === "whole") return jsonText(page.text);
  const rows = query.includePeerInfo ? await withPeerInfo(c, page) : page.rows;
  if (page.large.length === 0) return jsonText(`[${rows.join(",")}]`);
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  c.executionCtx.waitUntil(writeRows(c, { ...page, rows }, writable));
  return new Response(readable, { headers: { "Content-Type": "application/json; charset=utf-8" } });
}

async function writeRows(c: AppContext, page: Rows, writable: WritableStream<Uint8Array>): Promise<void> {
  const encoder = new TextEncoder();
  const write = async (text: string) => {
    const writer = writable.getWriter();
    await writer.write(encoder.encode(text));
    writer.releaseLock();
  };
  const blobs = blobStoreOf(c.env);
  try {
    await write("[");
    for (const [index, row] of page.rows.entries()) {
      await write(`${index === 0 ? "" : ","}${row.slice(0, -1)}`);
      for (const { row: at, member, key } of page.large) {
        const body = at === index && blobs ? await readLargeBody(blobs, key) : null;
        if (!body) continue;
        await write(`,"${member}":`);
        await body.pipeTo(writable, { preventClose: true });
      }
      await write("}");
    }
    await write("]");
    await writable.close();
  } catch {
    await writable.abort().catch(() => undefined);
  }
}

/** Who the senders are and which files came along, as later clients ask for it. */
async function withPeerInfo(c: AppContext, page: Rows): Promise<string[]> {
  const ids = [...new Set(page.sources.filter((source) => source !== null))];
  const entries = ids.length === 0 ? [] : await settled(directoryOf(c).names(ids));
  const names = new Map(entries.map((entry) => [entry.id, entry]));
  return page.rows.map((row, index) => {
    const source = page.sources[index];
    const attachments = attachmentsOf(row);
    const info = {
      ...(source == null ? {} : peerInfo(c, source, names.get(source))),
      ...(attachments.length === 0 ? {} : { attachments }),
    };
    const members = JSON.stringify(info).slice(1);
    return members === "}" ? row : `${row.slice(0, -1)},${members}`;
  });
}

function peerInfo(c: AppContext, id: string, entry: { name: string; role: string | null } | undefined) {
  return {
    ...(entry?.name ? { peer_name: entry.name } : {}),
    ...(entry?.role ? { peer_role: entry.role } : {}),
    agent_card_url: `${platformUrl(c)}/registry/discover/${id}`,
  };
}
