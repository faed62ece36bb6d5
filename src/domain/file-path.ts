/** Longest path of a file in a template, in characters. */
export const FILE_PATH_CHARACTERS_MAX = 512;

/** The texts of a template's files, by their paths from its root. */
export type TemplateFiles = ReadonlyMap<string, string>;

/**
 * What a path names inside a folder, as names joined by single slashes; null when it is absolute, leaves the root or
 * holds a character that no template's file has. The folder is such a path itself, or empty for the root.
 */
export function pathInside(folder: string, path: string): string | null {
  if (path.startsWith("/") || path.length > FILE_PATH_CHARACTERS_MAX || /[\\\p{Cc}]/u.test(path)) return null;
  const names = folder === "" ? [] : folder.split("/");
  for (const name of path.split("/")) {
    if (name === "" || name === ".") continue;
    if (name !== "..") names.push(name);
    else if (names.pop() === undefined) return null;
  }
  return names.join("/");
}

/** Whether a path is one that names a file and reads the same everywhere. */
export function isFilePath(path: string): boolean {
  return path !== "" && path.isWellFormed() && pathInside("", path) === path;
}

/** The folder of a file's path; empty for the root. */
export function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}
