import { describe, expect, it } from "vitest";
import { layOut, type Placed, type Point, sizeOf } from "../../src/domain/layout.ts";

interface Box {
  readonly name: string;
  readonly canvas: Point;
  readonly children: readonly Box[];
}

function box(name: string, children: readonly Box[] = [], canvas: Point = { x: 0, y: 0 }): Box {
  return { name, canvas, children };
}

function leaves(count: number): Box[] {
  return Array.from({ length: count }, (_, index) => box(`leaf ${index}`));
}

function absolutes({ node, absolute, children }: Placed<Box>): [string, number, number][] {
  return [[node.name, absolute.x, absolute.y], ...children.flatMap(absolutes)];
}

describe("the layout of a tree", () => {
  it.each([
    [0, 240, 130],
    [1, 272, 276],
    [2, 526, 276],
    [3, 526, 420],
    [4, 526, 420],
    [5, 526, 564],
  ])("makes a parent of %i children %i by %i", (count, width, height) => {
    expect(sizeOf(box("parent", leaves(count)))).toEqual({ width, height });
  });

  it("keeps the point of the root and puts children into two columns", () => {
    expect(absolutes(layOut(box("root", leaves(3), { x: 100, y: -50 })))).toEqual([
      ["root", 100, -50],
      ["leaf 0", 116, 80],
      ["leaf 1", 370, 80],
      ["leaf 2", 116, 224],
    ]);
  });

  it("makes columns as wide as the widest sibling and rows as high as the highest of the row", () => {
    const root = box("root", [box("a"), box("b", leaves(3)), box("c"), box("d")]);
    expect(absolutes(layOut(root))).toEqual([
      ["root", 0, 0],
      ["a", 16, 130],
      ["b", 556, 130],
      ["leaf 0", 572, 260],
      ["leaf 1", 826, 260],
      ["leaf 2", 572, 404],
      ["c", 16, 564],
      ["d", 556, 564],
    ]);
    expect(sizeOf(root)).toEqual({ width: 2 * 16 + 2 * 526 + 14, height: 130 + 420 + 14 + 130 + 16 });
  });

  it("tells for a child its place inside the parent, and for the root its own point; children's points do not count", () => {
    const placed = layOut(box("root", [box("child", [box("grandchild")], { x: 999, y: 999 })], { x: 7, y: 8 }));
    expect(placed.relative).toEqual({ x: 7, y: 8 });
    expect(placed.children[0]).toMatchObject({ absolute: { x: 23, y: 138 }, relative: { x: 16, y: 130 } });
    expect(placed.children[0]?.children[0]).toMatchObject({
      absolute: { x: 39, y: 268 },
      relative: { x: 16, y: 130 },
    });
  });
});
