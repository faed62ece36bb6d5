import type { ActivityQuery } from "../domain/activity-query.ts";
import { attachmentsOf } from "../domain/row-attachments.ts";
import type { ActivityPage } from "../durable-objects/workspace/inbox-store.ts";
import { blobStoreOf } from "../storage/blob-store.ts";
import { readLargeBody } from "../storage/large-body.ts";
import { jsonText } from "./answers.ts";
import { ask, settled } from "./ask.ts";
import { workspaceIdParam } from "./caller.ts";
import { type AppContext, directoryOf, workspaceOf } from "./context.ts";
import { platformUrl } from "./platform-url.ts";

type Rows = Extract<ActivityPage, { kind: "rows" }>;

/**
 * A page as the bare array of the contract. Bodies that lie in R2 are streamed into their rows, and of the newest rows
 * none is left out for its size: what the object did not hold at once follows slice by slice.
 */
export async function activityAnswer(c: AppContext, page: ActivityPage, query: ActivityQuery): Promise<Response> {
  if (page.kind === "whole") return jsonText(page.text);
  if (page.large.length === 0 && page.rest === null) {
    const rows = query.includePeerInfo ? await withPeerInfo(c, page) : page.rows;
    return jsonText(`[${rows.join(",")}]`);
  }
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  c.executionCtx.waitUntil(writePages(c, page, query, writable));
  return new Response(readable, { headers: { "Content-Type": "application/json; charset=utf-8" } });
}

async function writePages(
  c: AppContext,
  first: Rows,
  query: ActivityQuery,
  writable: WritableStream<Uint8Array>,
): Promise<void> {
  try {
    let left = query.limit;
    let separator = "[";
    for (let page: Rows | null = first; page; ) {
      const rows: string[] = query.includePeerInfo ? await withPeerInfo(c, page) : page.rows;
      await writeRows(c, { ...page, rows }, separator, writable);
      separator = ",";
      left -= rows.length;
      page = page.rest === null ? null : await pageBelow(c, page.rest, { ...query, limit: left });
    }
    await write(writable, "]");
    await writable.close();
  } catch {
    // A text that ends in its middle is no JSON: the reader asks again.
    await writable.abort().catch(() => undefined);
  }
}

async function pageBelow(c: AppContext, below: number, query: ActivityQuery): Promise<Rows | null> {
  const page = await ask(c, workspaceOf(c, workspaceIdParam(c)).listBelow({ query, below }));
  return page.rows.length === 0 ? null : page;
}

async function writeRows(
  c: AppContext,
  page: Rows,
  firstSeparator: string,
  writable: WritableStream<Uint8Array>,
): Promise<void> {
  const blobs = blobStoreOf(c.env);
  for (const [index, row] of page.rows.entries()) {
    await write(writable, `${index === 0 ? firstSeparator : ","}${row.slice(0, -1)}`);
    for (const { row: at, member, key } of page.large) {
      const body = at === index && blobs ? await readLargeBody(blobs, key) : null;
      if (!body) continue;
      await write(writable, `,"${member}":`);
      await body.pipeTo(writable, { preventClose: true });
    }
    await write(writable, "}");
  }
}

async function write(writable: WritableStream<Uint8Array>, text: string): Promise<void> {
  const writer = writable.getWriter();
  await writer.write(new TextEncoder().encode(text));
  writer.releaseLock();
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
