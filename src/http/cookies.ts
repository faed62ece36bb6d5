/** Cookies that the platform itself has set. Browsers take the prefix from nobody but the host. */
const OWN_COOKIE = /^__Host-posthouse-/i;

/** A Cookie header without the platform's own; empty when nothing is left of it. */
export function foreignCookies(header: string | undefined): string {
  return (header ?? "")
    .split(";")
    .map((pair) => pair.trim())
    .filter((pair) => pair !== "" && !OWN_COOKIE.test(pair))
    .join("; ");
}
