/** What kind of address cannot be called; the words appear in the refusal of a push URL. */
export type BlockedClass =
  | "loopback"
  | "private"
  | "link-local"
  | "cloud metadata"
  | "shared address space"
  | "documentation"
  | "multicast"
  | "reserved";

type Network4 = readonly [network: string, bits: number, kind: BlockedClass];

/** Judged in this order: the cloud metadata services first, because they hide among otherwise admissible ones. */
const NETWORKS_4: readonly Network4[] = [
  ["169.254.169.254", 32, "cloud metadata"],
  ["169.254.170.2", 32, "cloud metadata"],
  ["100.100.100.200", 32, "cloud metadata"],
  ["168.63.129.16", 32, "cloud metadata"],
  ["192.0.0.192", 32, "cloud metadata"],
  ["0.0.0.0", 8, "reserved"],
  ["10.0.0.0", 8, "private"],
  ["100.64.0.0", 10, "shared address space"],
  ["127.0.0.0", 8, "loopback"],
  ["169.254.0.0", 16, "link-local"],
  ["172.16.0.0", 12, "private"],
  ["192.0.0.0", 24, "reserved"],
  ["192.0.2.0", 24, "documentation"],
  ["192.88.99.0", 24, "reserved"],
  ["192.168.0.0", 16, "private"],
  ["198.18.0.0", 15, "reserved"],
  ["198.51.100.0", 24, "documentation"],
  ["203.0.113.0", 24, "documentation"],
  ["224.0.0.0", 4, "multicast"],
  ["240.0.0.0", 4, "reserved"],
];

const RANGES_4 = NETWORKS_4.map(([network, bits, kind]) => {
  const first = numberOf(network);
  return { first, last: first + 2 ** (32 - bits) - 1, kind };
});

/** Why an IPv4 address in dotted form (as the URL parser writes it) cannot be called, or null when it is public. */
export function blockedClassOf4(dotted: string): BlockedClass | null {
  return classOfNumber(numberOf(dotted));
}

function numberOf(dotted: string): number {
  return dotted.split(".").reduce((number, octet) => number * 256 + Number(octet), 0);
}

function classOfNumber(number: number): BlockedClass | null {
  return RANGES_4.find(({ first, last }) => number >= first && number <= last)?.kind ?? null;
}

type Groups = readonly [number, number, number, number, number, number, number, number];

/**
 * Why an IPv6 address (as the URL parser writes it, without brackets) cannot be called, or null when it is public.
 * An IPv4 address inside it (mapped, compatible, NAT64, 6to4) is judged as itself; only global unicast is public.
 */
export function blockedClassOf6(text: string): BlockedClass | null {
  const groups = groupsOf(text);
  const [a, b, c, d, e, f, g, h] = groups;
  if (isAwsMetadata(groups) || isGoogleMetadata(groups)) return "cloud metadata";
  if (a === 0 && b === 0 && c === 0 && d === 0) {
    const embedded = g * 0x10000 + h;
    if (e === 0 && f === 0) return embedded === 1 ? "loopback" : classOfNumber(embedded);
    if (e === 0 && f === 0xffff) return classOfNumber(embedded);
    if (e === 0xffff && f === 0) return classOfNumber(embedded);
    return "reserved";
  }
  if (a === 0x64 && b === 0xff9b && c === 0 && d === 0 && e === 0 && f === 0) return classOfNumber(g * 0x10000 + h);
  if (a === 0x2002) return classOfNumber(b * 0x10000 + c);
  if ((a === 0x2001 && b === 0xdb8) || (a === 0x3fff && b < 0x1000)) return "documentation";
  if (a === 0x2001 && b < 0x200) return "reserved";
  if (a >= 0x2000 && a < 0x4000) return null;
  if (a >= 0xfc00 && a < 0xfe00) return "private";
  if (a >= 0xfe80 && a < 0xfec0) return "link-local";
  return a >= 0xff00 ? "multicast" : "reserved";
}

function isAwsMetadata([a, b]: Groups): boolean {
  return a === 0xfd00 && b === 0xec2;
}

function isGoogleMetadata([a, b]: Groups): boolean {
  return a === 0xfd20 && b === 0xce;
}

function groupsOf(text: string): Groups {
  const gap = text.indexOf("::");
  const before = (gap < 0 ? text : text.slice(0, gap)).split(":").filter((group) => group !== "");
  const after = (gap < 0 ? "" : text.slice(gap + 2)).split(":").filter((group) => group !== "");
  const at = (index: number) => {
    const fromEnd = index - (8 - after.length);
    return Number.parseInt((fromEnd >= 0 ? after[fromEnd] : before[index]) ?? "0", 16);
  };
  return [at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)];
}
