import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const WIRE = readFileSync(new URL("../../docs/wire.md", import.meta.url), "utf8");

/** A module of the Worker. Its types belong to workerd's project, so only what is looked at here is named. */
function source<Shape>(path: string): Promise<Shape> {
  return import(new URL(`../../src/${path}`, import.meta.url).href) as Promise<Shape>;
}

async function registeredRoutes(): Promise<Set<string>> {
  const { app } = await source<{ app: { routes: { method: string; path: string }[] } }>("http/app.ts");
  const routes = app.routes.filter(({ method }) => method !== "ALL");
  return new Set(routes.map(({ method, path }) => `${method} ${path.replaceAll(/\{.*?\}/g, "")}`));
}

function sourceTexts(): string[] {
  const folder = new URL("../../src/", import.meta.url);
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .map((path) => readFileSync(new URL(path, folder), "utf8"));
}

/** Whatever stands in backticks as a method and a path. */
function documentedRoutes(text: string): Set<string> {
  return new Set(
    [...text.matchAll(/`((?:GET|HEAD|POST|PUT|PATCH|DELETE) \/[^`?]*)[^`]*`/g)].map(([, route]) => route ?? ""),
  );
}

/** The catalogue as the page lists it, in the families that it has begun to list: `a2a`, `upload`, … */
async function catalogueRows(families: ReadonlySet<string>): Promise<string[]> {
  const { REFUSALS } = await source<{ REFUSALS: Record<string, { status: number; error: string }> }>(
    "domain/refusal.ts",
  );
  return Object.entries(REFUSALS)
    .filter(([code]) => families.has(familyOf(code)))
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([code, { status, error }]) => `| \`${code}\` | ${status} | ${error} |`);
}

function familyOf(code: string): string {
  return code.split(".")[0] ?? code;
}

describe("docs/wire.md", () => {
  it("names every route that the Worker answers, and no other", async () => {
    expect([...documentedRoutes(WIRE)].sort()).toEqual([...(await registeredRoutes())].sort());
  });

  it("lists every event that is told or recorded", () => {
    const [, events = ""] = WIRE.split("| event | payload |");
    const [table = ""] = events.split("\n\n");
    const listed = new Set([...table.matchAll(/`([A-Z0-9]+(?:_[A-Z0-9]+)+)`/g)].map(([, event]) => event));
    const told = new Set(
      sourceTexts().flatMap((code) =>
        [...code.matchAll(/(?:record\(|once\(|event:)\s*"([A-Z0-9]+(?:_[A-Z0-9]+)+)"/g)].map(([, event]) => event),
      ),
    );
    expect(told.size).toBeGreaterThan(15);
    expect([...told].filter((event) => !listed.has(event))).toEqual([]);
  });

  it("lists every refusal with its status and text, a family as soon as its routes are there", async () => {
    const [, table = ""] = WIRE.split("## Every refusal");
    const rows = table.split("\n").filter((line) => line.startsWith("| `"));
    const families = new Set(rows.map((row) => familyOf(row.split("`")[1] ?? "")));
    expect(rows).toEqual(await catalogueRows(families));
  });
});
