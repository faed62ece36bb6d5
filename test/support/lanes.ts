/** "away" cuts the connection, "hang" never answers; a test changes its own lane and nobody else's. */
export type LaneMode = "up" | "away" | "hang";

interface Lane {
  mode: LaneMode;
  statements: number;
  /** Lets go of the requests that hang. */
  release: () => void;
  released: Promise<void>;
}

/** The lines between tests and Postgres, by name: what passes on each, and how many statements did. */
export class Lanes {
  readonly #lanes = new Map<string, Lane>();

  async pass(name: string, statements: number): Promise<"answer" | "drop"> {
    const lane = this.#lane(name);
    lane.statements += statements;
    if (lane.mode === "up") return "answer";
    if (lane.mode === "hang") await lane.released;
    return "drop";
  }

  set(name: string, mode: LaneMode): void {
    const lane = this.#lane(name);
    lane.release();
    this.#lanes.set(name, { ...lane, mode, ...gate() });
  }

  /** How many were sent, answered or not. */
  statements(name: string): number {
    return this.#lane(name).statements;
  }

  #lane(name: string): Lane {
    const known = this.#lanes.get(name);
    if (known) return known;
    const lane: Lane = { mode: "up", statements: 0, ...gate() };
    this.#lanes.set(name, lane);
    return lane;
  }
}

function gate(): Pick<Lane, "release" | "released"> {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { release: resolve, released: promise };
}
