import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, relative, resolve, sep } from "node:path";

/** One module of `src`, its path relative to it with forward slashes. */
type Module = { path: string; code: string; imports: readonly Import[] };
/** `target` is a path relative to `src` for our own modules, else the name of a package. */
type Import = { target: string; isOwn: boolean; isTypeOnly: boolean };
type Rule = { name: string; because: string; breaches: (module: Module) => string[] };

export type Breach = { path: string; rule: string; because: string; found: string };

const PURE_PACKAGES = new Set(["node:crypto", "zod"]);
const POSTGRES = /^(?:@neondatabase\/serverless|drizzle-orm\/(?:pg-core|neon-http|neon-serverless)|pg)(?:$|\/)/;
const R2_WORDS = /\bR2[A-Z]\w*|\.BLOBS\b/g;
const ENV_WORDS = /\benv\??\.([A-Z][A-Z0-9_]*)\b|\bprocess\.env\b/g;
const BINDINGS = new Set([
  "WORKSPACE",
  "DIRECTORY",
  "EVENT_HUB",
  "OUTBOUND_CALL",
  "MACHINE",
  "BLOBS",
  "BAD_CREDENTIALS",
  "DOCKER",
  "CONTROL_PLANE",
  "ASSETS",
]);

/** The doors of durable-objects/: how an object is found, whether a machine runs, and the words in which one is asked to listen. */
const DOORS = new Set([
  "durable-objects/shared/stubs.ts",
  "durable-objects/shared/machine-look.ts",
  "durable-objects/workspace/listen.ts",
]);

/** The doors of provisioners/: who may call a backend, what everybody may know of it, and the words it speaks in. */
const BACKEND = "provisioners/backend.ts";
const DISPATCHER = "provisioners/dispatcher.ts";
const PROVISIONER_TYPES = "provisioners/provisioner.ts";
/** What may start and stop machines, and the route that shows their console. */
const MACHINE_CALLERS = /^(?:durable-objects\/machine|http\/routes)\//;

const RULES: readonly Rule[] = [
  {
    name: "domain-is-pure",
    because: "domain/ decides and does nothing: it may import domain/ and what computes only (node:crypto, zod)",
    breaches: importsOf(within("domain"), ({ target, isOwn }) =>
      isOwn ? folderOf(target) !== "domain" : !PURE_PACKAGES.has(target),
    ),
  },
  {
    name: "postgres-stays-in-ledgers",
    because: "only ledgers/ knows Postgres",
    breaches: importsOf(outside("ledgers"), ({ target, isOwn }) => !isOwn && POSTGRES.test(target)),
  },
  {
    name: "r2-stays-in-storage",
    because: "only storage/ touches R2",
    breaches: (module) => (outside("storage")(module) && !isDeclaration(module) ? wordsOf(module, R2_WORDS) : []),
  },
  {
    name: "variables-are-read-in-config",
    because: "variables and secrets are parsed once, in config.ts; everybody else gets values",
    breaches: (module) =>
      module.path === "config.ts" || isDeclaration(module)
        ? []
        : wordsOf(module, ENV_WORDS).filter((word) => !BINDINGS.has(word.replace(/^env\??\./, ""))),
  },
  {
    name: "http-is-the-top",
    because: "http/ is imported by index.ts alone",
    breaches: importsOf(
      (module) => module.path !== "index.ts" && folderOf(module.path) !== "http",
      ({ target, isOwn }) => isOwn && folderOf(target) === "http",
    ),
  },
  {
    name: "objects-are-called-not-imported",
    because:
      "outside durable-objects/ an object is reached through its binding; only types and its doors may be imported",
    breaches: importsOf(
      (module) => module.path !== "index.ts" && folderOf(module.path) !== "durable-objects",
      ({ target, isOwn, isTypeOnly }) =>
        isOwn && !isTypeOnly && folderOf(target) === "durable-objects" && !DOORS.has(target),
    ),
  },
  {
    name: "backends-stay-behind-the-dispatcher",
    because: "outside provisioners/ only the dispatcher, backend.ts and the types of provisioner.ts may be imported",
    breaches: importsOf(
      outside("provisioners"),
      ({ target, isOwn, isTypeOnly }) =>
        isOwn &&
        folderOf(target) === "provisioners" &&
        target !== BACKEND &&
        target !== DISPATCHER &&
        !(target === PROVISIONER_TYPES && isTypeOnly),
    ),
  },
  {
    name: "machines-have-few-callers",
    because: "machines are started and stopped by durable-objects/machine/ alone; http/routes/ shows their console",
    breaches: importsOf(
      (module) => folderOf(module.path) !== "provisioners" && !MACHINE_CALLERS.test(module.path),
      ({ target, isOwn, isTypeOnly }) => isOwn && !isTypeOnly && target === DISPATCHER,
    ),
  },
];

/** Every breach of the import directions in the tree under `sourceDir`. */
export function checkImports(sourceDir: string): Breach[] {
  const modules = modulesUnder(sourceDir);
  const breaches = RULES.flatMap(({ name, because, breaches: find }) =>
    modules.flatMap((module) => find(module).map((found) => ({ path: module.path, rule: name, because, found }))),
  );
  return [...breaches, ...cyclesOf(modules)];
}

function within(folder: string): (module: Module) => boolean {
  return (module) => folderOf(module.path) === folder;
}

function outside(folder: string): (module: Module) => boolean {
  return (module) => folderOf(module.path) !== folder;
}

function isDeclaration(module: Module): boolean {
  return module.path.endsWith(".d.ts");
}

function importsOf(concerns: (module: Module) => boolean, isForbidden: (entry: Import) => boolean): Rule["breaches"] {
  return (module) => (concerns(module) ? module.imports.filter(isForbidden).map(({ target }) => target) : []);
}

function wordsOf(module: Module, pattern: RegExp): string[] {
  return [...new Set([...module.code.matchAll(pattern)].map(([word]) => word))];
}

/** The first folder of a path; a module directly under `src` stands for itself. */
function folderOf(path: string): string {
  return path.split("/", 1)[0] ?? path;
}

/** Folders that need each other at run time. A type import costs nothing and is no dependency. */
function cyclesOf(modules: readonly Module[]): Breach[] {
  const needs = new Map<string, Map<string, string>>();
  for (const module of modules) {
    const from = folderOf(module.path);
    const edges = needs.get(from) ?? new Map<string, string>();
    needs.set(from, edges);
    for (const { target, isOwn, isTypeOnly } of module.imports) {
      if (isOwn && !isTypeOnly && folderOf(target) !== from) edges.set(folderOf(target), module.path);
    }
  }
  const breaches: Breach[] = [];
  for (const [from, edges] of needs) {
    for (const [to, path] of edges) {
      const way = wayBetween(needs, to, from);
      if (!way) continue;
      const found = [from, ...way].join(" → ");
      breaches.push({ path, rule: "no-cycles", because: "dependencies between folders point one way", found });
    }
  }
  return breaches;
}

function wayBetween(needs: Map<string, Map<string, string>>, start: string, goal: string): string[] | null {
  const ways = [[start]];
  const seen = new Set([start]);
  for (const way of ways) {
    const last = way.at(-1) ?? start;
    if (last === goal) return way;
    for (const next of needs.get(last)?.keys() ?? []) {
      if (seen.has(next)) continue;
      seen.add(next);
      ways.push([...way, next]);
    }
  }
  return null;
}

function modulesUnder(sourceDir: string): Module[] {
  return readdirSync(sourceDir, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => {
      const path = name.split(sep).join("/");
      const code = withoutComments(readFileSync(join(sourceDir, name), "utf8"));
      return { path, code, imports: readImports(path, code) };
    });
}

const COMMENT_OR_TEXT = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g;

function withoutComments(code: string): string {
  return code.replace(COMMENT_OR_TEXT, (match) => (match.startsWith("/") ? "" : match));
}

const IMPORT = /\b(?:import|export)\s+(type\s+)?(\*(?:\s+as\s+\w+)?|[\w\s,{}*$]*?)\s*from\s*"([^"]+)"/g;
const BARE_IMPORT = /\bimport\s*\(?\s*"([^"]+)"/g;

function readImports(path: string, code: string): Import[] {
  const named = [...code.matchAll(IMPORT)].map(([, typeWord, names = "", source = ""]) =>
    importFrom(path, source, typeWord !== undefined || areAllTypes(names)),
  );
  const bare = [...code.matchAll(BARE_IMPORT)].map(([, source = ""]) => importFrom(path, source, false));
  return [...named, ...bare];
}

function areAllTypes(names: string): boolean {
  const inBraces = /^\{([^}]*)\}$/.exec(names.trim())?.[1];
  const entries = inBraces
    ?.split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  return entries !== undefined && entries.length > 0 && entries.every((entry) => entry.startsWith("type "));
}

function importFrom(path: string, source: string, isTypeOnly: boolean): Import {
  const isOwn = source.startsWith(".");
  return { target: isOwn ? posix.join(dirname(path), source) : source, isOwn, isTypeOnly };
}

if (import.meta.main) {
  const sourceDir = resolve(import.meta.dirname, "../src");
  const breaches = checkImports(sourceDir);
  for (const { path, rule, because, found } of breaches) {
    console.error(`${relative(process.cwd(), join(sourceDir, path))}: ${found} (${rule}: ${because})`);
  }
  if (breaches.length > 0) process.exitCode = 1;
  else console.log("Import directions hold.");
}
