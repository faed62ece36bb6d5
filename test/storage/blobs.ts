import { env } from "cloudflare:workers";
import { createHash } from "node:crypto";

/** The real bucket; the name of each operation is added to `calls`. */
export function aBucket(calls: string[] = []): R2Bucket {
  const bucket = env.BLOBS;
  if (bucket === undefined) throw new Error("these tests need the BLOBS binding");
  return new Proxy(bucket, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property);
      if (typeof value !== "function") return value;
      return (...parameters: unknown[]) => {
        calls.push(String(property));
        return Reflect.apply(value, target, parameters);
      };
    },
  });
}

/** Everything in a stream. */
export async function bytesOf(stream: ReadableStream<Uint8Array> | null | undefined): Promise<Uint8Array> {
  return new Uint8Array(await new Response(stream ?? null).arrayBuffer());
}

const RANDOM_BYTES_MAX = 65_536;

export function randomBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += RANDOM_BYTES_MAX)
    crypto.getRandomValues(bytes.subarray(at, at + RANDOM_BYTES_MAX));
  return bytes;
}

/** SHA-256 in hex; large bytes are compared by it, element by element would take minutes. */
export function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
