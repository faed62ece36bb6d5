import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { looksLikeRowId, RowIds } from "../../src/domain/row-id.ts";

const KEY = "cursor key";
const OURS = "11111111-1111-4111-8111-111111111111";
const THEIRS = "22222222-2222-4222-8222-222222222222";
const ids = new RowIds(KEY, OURS, "activity");
const aSeq = fc.maxSafeNat();

describe("a row id", () => {
  it("is a UUIDv8 that gives back its seq", () => {
    fc.assert(
      fc.property(aSeq, (seq) => {
        const id = ids.idOf(seq);
        expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
        expect(looksLikeRowId(id)).toBe(true);
        expect(ids.seqOf(id)).toBe(seq);
        expect(ids.seqOf(id.toUpperCase())).toBe(seq);
      }),
    );
  });

  it("sorts as text in the order of seqs", () => {
    fc.assert(
      fc.property(aSeq, aSeq, (a, b) => {
        expect(Math.sign(ids.idOf(a) < ids.idOf(b) ? -1 : Number(ids.idOf(a) > ids.idOf(b)))).toBe(Math.sign(a - b));
      }),
    );
  });

  it("is not ours when another workspace, domain or key made it", () => {
    for (const foreign of [
      new RowIds(KEY, THEIRS, "activity"),
      new RowIds(KEY, OURS, "file"),
      new RowIds("other key", OURS, "activity"),
    ]) {
      expect(looksLikeRowId(foreign.idOf(7))).toBe(true);
      expect(ids.seqOf(foreign.idOf(7))).toBeNull();
    }
  });

  it("is not ours when any digit of its check was changed", () => {
    const id = ids.idOf(7);
    for (let at = 20; at < id.length; at += 1) {
      if (id.charAt(at) === "-") continue;
      const other = id.charAt(at) === "0" ? "1" : "0";
      expect(ids.seqOf(id.slice(0, at) + other + id.slice(at + 1))).toBeNull();
    }
  });

  it.each(["", "not-a-uuid", "00000000-0000-0000-0000-000000000000", OURS, `${ids.idOf(1)} `])("is not %j", (text) => {
    expect(looksLikeRowId(text)).toBe(false);
    expect(ids.seqOf(text)).toBeNull();
  });

  it("beyond the safe integers is nobody's", () => {
    expect(ids.seqOf(`ffffffff-ffff-8fff${ids.idOf(1).slice(18)}`)).toBeNull();
  });

  it.each([-1, 1.5, 2 ** 53, Number.NaN])("is never made from %d", (seq) => {
    expect(() => ids.idOf(seq)).toThrow(RangeError);
  });
});
