import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkPushUrl } from "../../src/domain/url-guard.ts";

const DEPLOYED = { allowPrivate: false, requireHostname: true };
const STRICT = { allowPrivate: false, requireHostname: false };
const DEV = { allowPrivate: true, requireHostname: false };

function textOfRefusal(url: string, policy = STRICT): string | null {
  const check = checkPushUrl(url, policy);
  return check.ok ? null : check.refusal.message;
}

describe("a push URL", () => {
  it.each([
    "https://agent.example.com",
    "http://agent.example.com:8000/a2a?x=1#y",
    "https://agent.example.com.",
    "https://xn--bcher-kva.example/",
    "https://internal.example.com",
    "https://localhost.example.com",
    "https://10.example.com",
    " https://agent.example.com ",
  ])("%j may be called", (url) => {
    expect(textOfRefusal(url, DEPLOYED)).toBeNull();
  });

  it.each([
    ["", "url is required for push-mode workspaces"],
    ["agent.example.com", 'url scheme must be http or https, got ""'],
    ["//agent.example.com", 'url scheme must be http or https, got ""'],
    ["localhost:8000", 'url scheme must be http or https, got "localhost"'],
    ["ftp://agent.example.com", 'url scheme must be http or https, got "ftp"'],
    ["FILE:///etc/passwd", 'url scheme must be http or https, got "file"'],
    ["http://", "url is not valid: cannot be parsed"],
    ["http://a b.example.com", "url is not valid: cannot be parsed"],
    ["http://[fe80::1%25eth0]/", "url is not valid: cannot be parsed"],
    ["http://256.1.1.1.1/", "url is not valid: cannot be parsed"],
    ["http://.../", "url is not valid: has no host"],
    ["http://me@agent.example.com", "url is not valid: must not carry a user name or password"],
    ["http://:secret@agent.example.com", "url is not valid: must not carry a user name or password"],
    ["http://8.8.8.8@127.0.0.1", "url is not valid: must not carry a user name or password"],
  ])("%j is refused: %s", (url, text) => {
    expect(textOfRefusal(url)).toBe(text);
  });

  it.each([
    ["http://127.0.0.1", "loopback"],
    ["http://127.1", "loopback"],
    ["http://2130706433", "loopback"],
    ["http://0x7f000001", "loopback"],
    ["http://0177.0.0.1", "loopback"],
    ["http://127.0.0.1.", "loopback"],
    ["http://１２７.０.０.１", "loopback"],
    ["http://%31%32%37.0.0.1", "loopback"],
    ["http:\\\\127.0.0.1", "loopback"],
    ["http:127.0.0.1", "loopback"],
    ["http://127.0.\n0.1", "loopback"],
    ["http://[::1]", "loopback"],
    ["http://[::ffff:7f00:1]", "loopback"],
    ["http://localhost", "loopback"],
    ["http://LOCALHOST.", "loopback"],
    ["http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "loopback"],
    ["http://app.localhost:3000", "loopback"],
    ["http://10.1.2.3", "private"],
    ["http://172.31.255.255", "private"],
    ["http://192.168.0.1", "private"],
    ["http://[fd12::1]", "private"],
    ["http://[64:ff9b::10.0.0.1]", "private"],
    ["http://[2002:a00:1::]", "private"],
    ["http://host.docker.internal", "private"],
    ["http://printer.local", "private"],
    ["http://redis:6379", "private"],
    ["http://169.254.1.1", "link-local"],
    ["http://[fe80::1]", "link-local"],
    ["http://169.254.169.254", "cloud metadata"],
    ["http://[::ffff:169.254.169.254]", "cloud metadata"],
    ["http://[fd00:ec2::254]", "cloud metadata"],
    ["http://[fd20:ce::254]", "cloud metadata"],
    ["http://168.63.129.16", "cloud metadata"],
    ["http://metadata.google.internal", "cloud metadata"],
    ["http://metadata.google.internal.", "cloud metadata"],
    ["http://100.64.0.1", "shared address space"],
    ["http://192.0.2.1", "documentation"],
    ["http://198.51.100.1", "documentation"],
    ["http://203.0.113.1", "documentation"],
    ["http://[2001:db8::1]", "documentation"],
    ["http://[3fff:fff::1]", "documentation"],
    ["http://224.0.0.1", "multicast"],
    ["http://[ff02::1]", "multicast"],
    ["http://0.0.0.0", "reserved"],
    ["http://0", "reserved"],
    ["http://192.0.0.1", "reserved"],
    ["http://192.88.99.1", "reserved"],
    ["http://198.19.0.1", "reserved"],
    ["http://240.0.0.1", "reserved"],
    ["http://255.255.255.255", "reserved"],
    ["http://[::]", "reserved"],
    ["http://[::ffff:0:7f00:1]", "loopback"],
    ["http://[::1:0:0:1]", "reserved"],
    ["http://[2001::1]", "reserved"],
    ["http://[fec0::1]", "reserved"],
    ["http://[4000::1]", "reserved"],
  ])("%j targets a blocked address: %s", (url, kind) => {
    expect(textOfRefusal(url)).toBe(`url targets a blocked address: ${kind}`);
    const admitted = kind === "loopback" || kind === "private";
    expect(textOfRefusal(url, DEV)).toBe(admitted ? null : `url targets a blocked address: ${kind}`);
  });

  it.each(["http://8.8.8.8", "http://134744072", "http://[2606:4700::1111]", "http://[::ffff:8.8.8.8]"])(
    "%j is public, yet a deployed Worker needs a host name",
    (url) => {
      expect(textOfRefusal(url)).toBeNull();
      const check = checkPushUrl(url, DEPLOYED);
      expect(check.ok ? null : check.refusal.message).toBe("url is not valid: must name a host, not an IP address");
      expect(check.ok ? null : check.refusal.options.hint).toContain("tunnel");
    },
  );
});

const BLOCKED_4: readonly [first: number, bits: number][] = [
  [0x00000000, 8],
  [0x0a000000, 8],
  [0x64400000, 10],
  [0x7f000000, 8],
  [0xa9fe0000, 16],
  [0xac100000, 12],
  [0xc0000000, 24],
  [0xc0000200, 24],
  [0xc0a80000, 16],
  [0xc6120000, 15],
  [0xc6336400, 24],
  [0xcb007100, 24],
  [0xe0000000, 4],
  [0xf0000000, 4],
];
const aBlocked4 = fc
  .tuple(fc.constantFrom(...BLOCKED_4), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }))
  .map(([[first, bits], at]) => first + Math.floor(at * 2 ** (32 - bits)));
const hex = (number: number) => number.toString(16);
const spellings: readonly ((number: number) => string)[] = [
  (number) => String(number),
  (number) => `0x${hex(number)}`,
  (number) => `0X000${hex(number).toUpperCase()}`,
  (number) => `0${number.toString(8)}`,
];
const FULL_WIDTH_ZERO = 0xff10;
const disguises: readonly ((host: string) => string)[] = [
  (host) => host,
  (host) => `${host}.`,
  (host) => host.replace(/[0-9]/g, (digit) => String.fromCharCode(FULL_WIDTH_ZERO + Number(digit))),
  (host) => host.replaceAll(".", "。"),
  (host) => host.replace(/^[0-9]/, (digit) => `%3${digit}`),
];

describe("no disguise of a blocked address", () => {
  it("hides an IPv4 one", () => {
    const spelling = fc.constantFrom(...spellings);
    fc.assert(
      fc.property(
        aBlocked4,
        fc.integer({ min: 1, max: 4 }),
        fc.array(spelling, { minLength: 4, maxLength: 4 }),
        fc.constantFrom(...disguises),
        (address, count, write, disguise) => {
          const octets = [24, 16, 8].slice(0, count - 1).map((shift) => Math.floor(address / 2 ** shift) % 256);
          const rest = address % 2 ** (32 - 8 * octets.length);
          const host = [...octets, rest].map((part, index) => (write[index] ?? String)(part)).join(".");
          expect(textOfRefusal(`http://${disguise(host)}:80/`)).toMatch(/^url targets a blocked address: /);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("hides an IPv4 one in IPv6", () => {
    const prefixes = ["::ffff:", "::", "64:ff9b::", "0:0:0:0:0:FFFF:", "0000:0000:0000:0000:0000:0000:", "::ffff:0:"];
    fc.assert(
      fc.property(aBlocked4, fc.constantFrom(...prefixes), fc.boolean(), (address, prefix, dotted) => {
        const [high, low] = [Math.floor(address / 0x10000), address % 0x10000];
        const tail = dotted ? [high >> 8, high & 255, low >> 8, low & 255].join(".") : `${hex(high)}:${hex(low)}`;
        expect(textOfRefusal(`http://[${prefix}${tail}]/`)).toMatch(/^url targets a blocked address: /);
        expect(textOfRefusal(`http://[2002:${hex(high)}:${hex(low)}::1]/`)).toMatch(/^url targets a blocked address: /);
      }),
      { numRuns: 500 },
    );
  });

  it("hides an IPv6 one", () => {
    const firstGroup = fc.oneof(
      fc.integer({ min: 0xfc00, max: 0xfdff }),
      fc.integer({ min: 0xfe80, max: 0xfebf }),
      fc.integer({ min: 0xff00, max: 0xffff }),
      fc.constant(0x2001),
    );
    const group = fc.oneof(fc.constant(0), fc.nat(0xffff));
    fc.assert(
      fc.property(firstGroup, fc.array(group, { minLength: 7, maxLength: 7 }), fc.nat(3), (first, rest, style) => {
        const groups = [first, ...(first === 0x2001 ? [0xdb8, ...rest.slice(1)] : rest)];
        const full = groups.map((number) => hex(number).padStart(style % 2 === 0 ? 4 : 1, "0")).join(":");
        const short = style < 2 ? full : full.replace(/(?::0+)+$/, "::");
        const host = style === 1 ? short.toUpperCase() : short;
        expect(textOfRefusal(`http://[${host}]/`)).toMatch(/^url targets a blocked address: /);
      }),
      { numRuns: 500 },
    );
  });
});
