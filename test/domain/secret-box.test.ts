import { describe, expect, it } from "vitest";
import { Refusal } from "../../src/domain/refusal.ts";
import { readSealingKey, type SealingKey } from "../../src/domain/sealing-key.ts";
import { SEAL_IV_BYTES, SecretBox } from "../../src/domain/secret-box.ts";

const PLACE = { scope: "9b2f7c1e-0000-4000-8000-000000000001", key: "API_KEY" };
const [OLD, NEW] = [aKey("a"), aKey("b")];

function aKey(digit: string): SealingKey {
  const key = readSealingKey(digit.repeat(64));
  if (key === null) throw new Error("no key");
  return key;
}

function aBox(current: SealingKey | null, previous: SealingKey | null = null): SecretBox {
  return new SecretBox({ current, previous });
}

function seal(box: SecretBox, value = "sk-live-1", place = PLACE): string {
  return box.seal(place, value, crypto.getRandomValues(new Uint8Array(SEAL_IV_BYTES)));
}

function refusalOf(work: () => unknown): Refusal {
  try {
    work();
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

describe("a key that seals", () => {
  it("is 32 bytes in hexadecimal or base64 of either alphabet", () => {
    const bytes = Buffer.from(Array.from({ length: 32 }, (_, index) => 255 - index));
    const texts = [bytes.toString("hex"), bytes.toString("hex").toUpperCase(), bytes.toString("base64")];
    for (const text of [...texts, bytes.toString("base64url"), ` ${bytes.toString("base64")}\n`]) {
      expect(Buffer.from(readSealingKey(text)?.bytes ?? []).equals(bytes), text).toBe(true);
    }
    for (const text of [
      "",
      "short",
      "a".repeat(63),
      "a".repeat(65),
      "!".repeat(43),
      bytes.toString("base64").slice(2),
    ]) {
      expect(readSealingKey(text), text).toBeNull();
    }
  });

  it("has an id that depends on all of it and shows none of it", () => {
    expect(OLD.id).toMatch(/^[0-9a-f]{8}$/);
    expect(OLD.id).not.toBe(NEW.id);
    expect("a".repeat(64)).not.toContain(OLD.id);
  });
});

describe("a sealed secret", () => {
  it("opens to what it was, whatever it is", () => {
    const box = aBox(NEW);
    for (const value of ["x", "ключ 🔑", "a\nb", "y".repeat(40_000)]) {
      expect(box.open(PLACE, seal(box, value))).toBe(value);
    }
  });

  it("shows the key's id and nothing of the value, and is another text each time", () => {
    const box = aBox(NEW);
    const [one, other] = [seal(box), seal(box)];
    expect(one).toMatch(new RegExp(`^v${NEW.id}\\.[0-9A-Za-z_-]{16}\\.[0-9A-Za-z_-]+$`));
    expect(one).not.toContain("sk-live-1");
    expect(one).not.toBe(other);
    expect(box.marks).toEqual([`v${NEW.id}.`]);
  });

  it("opens under the previous key, and is sealed under the current one", () => {
    const before = seal(aBox(OLD));
    const rotating = aBox(NEW, OLD);
    expect(rotating.open(PLACE, before)).toBe("sk-live-1");
    expect(aBox(NEW).open(PLACE, seal(rotating))).toBe("sk-live-1");
    expect(rotating.marks).toEqual([`v${NEW.id}.`, `v${OLD.id}.`]);
  });

  it("opens under no other key, nor under another that bears its id", () => {
    const sealed = seal(aBox(OLD));
    expect(refusalOf(() => aBox(NEW).open(PLACE, sealed)).code).toBe("secret.unreadable");
    const impostor = { ...NEW, id: OLD.id };
    expect(refusalOf(() => aBox(impostor).open(PLACE, sealed)).code).toBe("secret.unreadable");
  });

  it("opens at its own place only", () => {
    const box = aBox(NEW);
    const sealed = seal(box);
    for (const place of [
      { ...PLACE, key: "OTHER" },
      { ...PLACE, scope: "" },
      { ...PLACE, scope: PLACE.scope.replace("1", "2") },
    ]) {
      expect(refusalOf(() => box.open(place, sealed)).code).toBe("secret.unreadable");
    }
  });

  it("does not open once a bit of it has changed, and names whose it is", () => {
    const box = aBox(NEW);
    const [mark = "", iv = "", body = ""] = seal(box).split(".");
    const flipped = (text: string) => (text.startsWith("A") ? "B" : "A") + text.slice(1);
    for (const text of [
      "",
      "plain",
      `${mark}.${iv}`,
      `${mark}.${flipped(iv)}.${body}`,
      `${mark}.${iv}.${flipped(body)}`,
    ]) {
      const refusal = refusalOf(() => box.open(PLACE, text));
      expect(refusal.message).toBe("failed to decrypt workspace secret");
      expect(refusal.options.details).toEqual({ key: "API_KEY" });
    }
    expect(refusalOf(() => box.open({ scope: "", key: "K" }, "")).message).toBe("failed to decrypt global secret");
  });

  it("cannot be made without a current key, nor opened without any", () => {
    expect(refusalOf(() => seal(aBox(null, OLD))).code).toBe("secret.key_missing");
    expect(refusalOf(() => aBox(null).open(PLACE, seal(aBox(OLD)))).code).toBe("secret.key_missing");
    expect(aBox(null, OLD).open(PLACE, seal(aBox(OLD)))).toBe("sk-live-1");
    expect(aBox(null).marks).toEqual([]);
  });
});
