export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Where a node stands on the canvas, which is stored, and inside its parent, which its event tells. */
export interface Placed<Node> {
  readonly node: Node;
  readonly absolute: Point;
  readonly relative: Point;
  readonly children: readonly Placed<Node>[];
}

/** Whatever has children and, where it is a root, a point of its own. */
export interface Boxed<Node> {
  readonly canvas: Point;
  readonly children: readonly Node[];
}

// The canvas draws by the same numbers.
const CHILD: Size = { width: 240, height: 130 };
const COLUMNS = 2;
const GUTTER = 14;
const HEADER = 130;
const SIDE = 16;

/** A tree with its places: the root keeps its point, children fill a grid of two columns inside their parent. */
export function layOut<Node extends Boxed<Node>>(root: Node): Placed<Node> {
  const place = (node: Node, absolute: Point, relative: Point): Placed<Node> => ({
    node,
    absolute,
    relative,
    children: boxOf(node).inside.map(([child, { x, y }]) =>
      place(child, { x: absolute.x + x, y: absolute.y + y }, { x, y }),
    ),
  });
  return place(root, root.canvas, root.canvas);
}

/** The size of a node with everything inside it. */
export function sizeOf<Node extends Boxed<Node>>(node: Node): Size {
  return boxOf(node).size;
}

/** A node's size, and where its children stand in it. */
function boxOf<Node extends Boxed<Node>>({ children }: Node): { size: Size; inside: [Node, Point][] } {
  if (children.length === 0) return { size: CHILD, inside: [] };
  const boxes = children.map((child) => ({ child, ...sizeOf(child) }));
  const columns = Math.min(COLUMNS, children.length);
  const columnWidth = Math.max(...boxes.map(({ width }) => width));
  const inside: [Node, Point][] = [];
  let top = HEADER;
  for (let first = 0; first < boxes.length; first += columns) {
    const row = boxes.slice(first, first + columns);
    for (const [column, { child }] of row.entries()) {
      inside.push([child, { x: SIDE + column * (columnWidth + GUTTER), y: top }]);
    }
    top += Math.max(...row.map(({ height }) => height)) + GUTTER;
  }
  const width = 2 * SIDE + columns * columnWidth + GUTTER * (columns - 1);
  return { size: { width, height: top - GUTTER + SIDE }, inside };
}
