import { Buffer } from "node:buffer";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEFAULT_UPLOAD_LIMITS, type UploadLimits } from "../../src/domain/upload.ts";
import { boundaryOf, type MultipartContents, MultipartParser } from "../../src/uploads/multipart.ts";
import { PART_HEADERS_BYTES_MAX } from "../../src/uploads/part-headers.ts";
import { READ_BYTES } from "../../src/uploads/receive-upload.ts";
import { digestOf, randomBytes } from "../storage/blobs.ts";
import { BOUNDARY, fileHeaders, multipartBody, type Part } from "./bodies.ts";

const limits = (changed: Partial<UploadLimits> = {}): UploadLimits => ({ ...DEFAULT_UPLOAD_LIMITS, ...changed });

/** Parses a body cut at the given positions. */
function parse(body: Uint8Array, cuts: readonly number[] = [], changed: Partial<UploadLimits> = {}): MultipartContents {
  const parser = new MultipartParser(BOUNDARY, limits(changed));
  let from = 0;
  for (const cut of [...cuts, body.length]) {
    parser.push(body.slice(from, cut));
    from = cut;
  }
  return parser.end();
}

const contentsOf = (body: Uint8Array) =>
  parse(body).files.map(({ offset, length }) => Buffer.from(body.slice(offset, offset + length)).toString());
const aFile = (content: string | Uint8Array, name = "a.txt"): Part => ({ headers: fileHeaders(name), content });
const namesOf = (...headers: (string | Uint8Array)[]) =>
  parse(multipartBody(headers.map((header) => ({ headers: header })))).files.map(({ name }) => name);

/** Lines that only begin like the boundary, or are not at the beginning of a line. */
const LOOKALIKES = [
  `--${BOUNDARY}`,
  `\n--${BOUNDARY}\r\n`,
  `\r--${BOUNDARY}--\r\n`,
  `\r\n--${BOUNDARY}x\r\n`,
  `\r\n--${BOUNDARY}-\r\n`,
  `\r\n--${BOUNDARY}-x`,
  `\r\n--${BOUNDARY}\rx`,
  `\r\n--${BOUNDARY}\r\r\n--${BOUNDARY}0`,
  `\r\n--${BOUNDARY.slice(0, -1)}\r\n`,
  `\r\n-\r\n--\r\n--${BOUNDARY.slice(0, 3)}`,
  `\r\r\n\r\n\r\n--`,
];
const EVERYTHING = multipartBody([
  { headers: 'Content-Disposition: form-data; name="note"', content: `not a file ${LOOKALIKES.join("")}` },
  ...LOOKALIKES.map((content, index) => aFile(`x${content}`, `${index}.txt`)),
  aFile("", "empty"),
  { headers: "", content: "no headers at all" },
  aFile(randomBytes(300), "binary"),
]);

describe("a multipart body", () => {
  it("names where each file lies, how long it is, its digest and what it is called", () => {
    const body = multipartBody([aFile("alpha", "../hello world!.txt"), aFile("beta", "b.txt")]);
    const { files, fileCount, oversized } = parse(body);
    expect(files).toMatchObject([
      { length: 5, sha256: digestOf(Buffer.from("alpha")), name: "hello_world_.txt", mimeType: "text/plain" },
      { length: 4, sha256: digestOf(Buffer.from("beta")), name: "b.txt", mimeType: "text/plain" },
    ]);
    expect(contentsOf(body)).toEqual(["alpha", "beta"]);
    expect({ fileCount, oversized }).toEqual({ fileCount: 2, oversized: null });
  });

  it("never merges two files and keeps every line that only looks like a boundary", () => {
    expect(contentsOf(EVERYTHING).slice(0, LOOKALIKES.length)).toEqual(LOOKALIKES.map((content) => `x${content}`));
    expect(parse(EVERYTHING).fileCount).toBe(LOOKALIKES.length + 2);
  });

  it("is understood alike wherever it is cut in two", () => {
    const whole = parse(EVERYTHING);
    for (let cut = 0; cut <= EVERYTHING.length; cut += 1) expect(parse(EVERYTHING, [cut])).toEqual(whole);
  });

  it("is understood alike byte by byte", () => {
    expect(parse(EVERYTHING, [...EVERYTHING.keys()])).toEqual(parse(EVERYTHING));
  });

  it("is understood alike in any chunks, whatever its files contain", () => {
    const piece = fc.constantFrom(...LOOKALIKES, "\r", "\n", "-", "--", "x", " ");
    const content = fc.array(piece, { maxLength: 12 }).map((pieces) => `x${pieces.join("")}`);
    const isMultipart = (text: string) => new RegExp(`\r\n--${BOUNDARY}(?:\r\n|--|[ \t])`).test(`${text}\r\n`);
    const contents = fc.array(
      content.filter((text) => !isMultipart(text)),
      { maxLength: 5 },
    );
    const property = fc.property(contents, fc.array(fc.nat(2_000), { maxLength: 20 }), (files, cuts) => {
      const body = multipartBody(files.map((text) => aFile(text)));
      const sorted = cuts.filter((cut) => cut <= body.length).sort((a, b) => a - b);
      expect(parse(body, sorted)).toEqual(parse(body));
      expect(contentsOf(body)).toEqual(files);
    });
    fc.assert(property, { numRuns: 300 });
  });

  it("of random bytes is understood alike in chunks of every size around its boundary's", () => {
    const body = multipartBody([aFile(randomBytes(3_000)), aFile("\r".repeat(2_000)), aFile(randomBytes(1))]);
    const whole = parse(body);
    for (let size = 1; size <= 2 * BOUNDARY.length + 8; size += 1) {
      const cuts = Array.from({ length: Math.floor(body.length / size) }, (_, index) => (index + 1) * size);
      expect(parse(body, cuts)).toEqual(whole);
    }
  });

  it("may have a preamble, padding behind its boundaries and an epilogue", () => {
    const text = `preamble\r\n--${BOUNDARY} \t\r\n${fileHeaders("a")}\r\n\r\nalpha\r\n--${BOUNDARY}-- \t\r\nepilogue`;
    expect(contentsOf(Buffer.from(`${text}\r\n--${BOUNDARY}\r\n`))).toEqual(["alpha"]);
  });

  it("may end right behind its final boundary, or behind padding there", () => {
    for (const end of ["", " ", "\r\n"]) {
      const text = `--${BOUNDARY}\r\n${fileHeaders("a")}\r\n\r\nalpha\r\n--${BOUNDARY}--${end}`;
      expect(contentsOf(Buffer.from(text))).toEqual(["alpha"]);
    }
  });

  it("may have parts without any content, with or without the line end before the boundary", () => {
    const part = `--${BOUNDARY}\r\n${fileHeaders("a")}\r\n\r\n`;
    const body = Buffer.from(`${part}${part}\r\n--${BOUNDARY}--`);
    expect(contentsOf(body)).toEqual(["", ""]);
  });

  it.each([
    ["is empty", ""],
    ["has no boundary", "hello"],
    ["ends inside a file", `--${BOUNDARY}\r\n${fileHeaders("a")}\r\n\r\nalpha`],
    ["ends inside headers", `--${BOUNDARY}\r\n${fileHeaders("a")}`],
    ["ends behind a boundary", `--${BOUNDARY}\r\n${fileHeaders("a")}\r\n\r\nalpha\r\n--${BOUNDARY}`],
    ["ends inside its final boundary", `--${BOUNDARY}\r\n${fileHeaders("a")}\r\n\r\nalpha\r\n--${BOUNDARY}-`],
    ["has words behind a padded boundary", `--${BOUNDARY} x\r\n`],
    ["has a bare return behind a padded boundary", `--${BOUNDARY} \rx\r\n`],
    ["has words behind its final boundary, and files behind them", `--${BOUNDARY}--x\r\n--${BOUNDARY}--`],
    ["has a header without a colon", `--${BOUNDARY}\r\nhello\r\n\r\n\r\n--${BOUNDARY}--`],
    ["has a header without a name", `--${BOUNDARY}\r\n: x\r\n\r\n\r\n--${BOUNDARY}--`],
  ])("is malformed when it %s", (_, text) => {
    expect(() => parse(Buffer.from(text))).toThrow("malformed multipart body");
  });

  it("is malformed when a file's bytes would have to be decoded first", () => {
    const headers = `${fileHeaders("a")}\r\nContent-Transfer-Encoding: Quoted-Printable`;
    expect(() => parse(multipartBody([{ headers }]))).toThrow("malformed");
    expect(parse(multipartBody([{ headers: headers.replace("Quoted-Printable", "binary") }])).fileCount).toBe(1);
  });

  it("may have 16 KiB of headers in a part and not a byte more", () => {
    const padding = PART_HEADERS_BYTES_MAX - fileHeaders("a").length - "\r\nX: \r\n\r\n".length;
    const headers = (length: number) => `${fileHeaders("a")}\r\nX: ${"x".repeat(length)}`;
    expect(parse(multipartBody([{ headers: headers(padding) }])).fileCount).toBe(1);
    expect(() => parse(multipartBody([{ headers: headers(padding + 1) }]))).toThrow("malformed");
  });
});

describe("a part", () => {
  it.each([
    ["another field", fileHeaders("a", "text/plain", "file")],
    ["no file name", 'Content-Disposition: form-data; name="files"'],
    ["an empty file name", fileHeaders("")],
    ["another disposition", 'Content-Disposition: attachment; name="files"; filename="a"'],
    ["no disposition", "Content-Type: text/plain"],
  ])("with %s is ignored", (_, headers) => {
    expect(parse(multipartBody([{ headers, content: "x" }])).fileCount).toBe(0);
  });

  it.each([
    ['name=files; filename="a b.txt"', "a_b.txt"],
    ["name=files; filename=plain.txt", "plain.txt"],
    ['NAME="files"; FileName="a.txt" ; ', "a.txt"],
    ['name="files"; filename="quo\\"ted\\\\.txt"', "quo_ted_.txt"],
    ['name="files"; filename="C:\\dir\\a.txt"', "C__dir_a.txt"],
    ['name="files"; filename="a%22b%0D%0Ac%41.txt"', "a_b__c_41.txt"],
    ['name="files"; filename="semi;colon=.txt"', "semi_colon_.txt"],
    ['name="files"; filename="日本.txt"', "__.txt"],
    ["name=\"files\"; filename*=UTF-8''na%C3%AFve.txt", "na_ve.txt"],
    ['name="files"; filename="plain.txt"; filename*=utf-8\'en\'better.txt', "better.txt"],
    ['name="files"; filename="plain.txt"; filename*=koi8-r\'\'better.txt', "plain.txt"],
    ['name="files"; filename="plain.txt"; filename*=utf-8\'\'bro%ken.txt', "plain.txt"],
    ['name="files";\r\n filename="folded.txt"', "folded.txt"],
  ])("whose disposition says %j is called %j", (parameters, name) => {
    expect(namesOf(`Content-Disposition: form-data; ${parameters}`)).toEqual([name]);
  });

  it("whose name is no valid UTF-8 is called as the original calls it", () => {
    expect(namesOf(Buffer.from(fileHeaders("\u00e9\u0080.txt"), "latin1"))).toEqual(["__.txt"]);
  });

  it.each([
    'name="files"; filename="open',
    'name="files"; filename=',
    'name="files" filename="a"',
    'name="files"; filename="a"; filename="b"',
  ])("whose disposition says %j is malformed", (parameters) => {
    expect(() => namesOf(`Content-Disposition: form-data; ${parameters}`)).toThrow("malformed");
  });

  it("without a media type has an empty one", () => {
    const headers = 'content-disposition: form-data; name="files"; filename="a"';
    expect(parse(multipartBody([{ headers }])).files[0]?.mimeType).toBe("");
  });
});

describe("the limits of a body", () => {
  it("doom it as soon as a file grows too long, and its size is still counted to the end", () => {
    const body = multipartBody([aFile("x".repeat(20), "C:/dir/Größe.txt"), aFile("y".repeat(30)), aFile("z")]);
    const parser = new MultipartParser(BOUNDARY, limits({ fileBytesMax: 10 }));
    const [start = 0] = parse(body).files.map(({ offset }) => offset);
    parser.push(body.slice(0, start + 10));
    expect(parser.doomed).toBe(false);
    parser.push(body.slice(start + 10, start + 11));
    expect(parser.doomed).toBe(true);
    parser.push(body.slice(start + 11));
    expect(parser.end()).toMatchObject({ oversized: { name: "Größe.txt", size: 20 }, fileCount: 3 });
    expect(parser.doomed).toBe(true);
  });

  it("doom it with one file too many, which is counted and not described", () => {
    const body = multipartBody([aFile("1"), aFile("2"), aFile("3"), aFile("4")]);
    expect(parse(body, [], { filesMax: 2 })).toMatchObject({ fileCount: 4, files: [{ length: 1 }, { length: 1 }] });
    const parser = new MultipartParser(BOUNDARY, limits({ filesMax: 2 }));
    parser.push(body);
    expect(parser.doomed).toBe(true);
  });

  it("take a file of exactly the greatest size, and an empty one", () => {
    const body = multipartBody([aFile("x".repeat(10)), aFile("")]);
    expect(parse(body, [], { fileBytesMax: 10 })).toMatchObject({
      oversized: null,
      files: [{ length: 10 }, { length: 0 }],
    });
  });

  it("keep what is held below 64 KiB for the greatest number of files with the longest names and types", () => {
    const headers = `${fileHeaders("n".repeat(7_000), `a/${"b".repeat(253)}`)}\r\nX: ${"x".repeat(9_000)}`;
    const body = multipartBody(Array.from({ length: 200 }, () => ({ headers, content: randomBytes(5_000) })));
    const parser = new MultipartParser(BOUNDARY, limits());
    for (let at = 0; at < body.length; at += READ_BYTES) parser.push(body.subarray(at, at + READ_BYTES));
    expect(parser.end().files).toHaveLength(64);
    expect(parser.heldBytesMax).toBeLessThanOrEqual(65_536);
    expect(parser.heldBytesMax).toBeGreaterThan(32_768);
  });
});

describe("a content type", () => {
  it.each([
    ["multipart/form-data; boundary=abc", "abc"],
    ['Multipart/Form-Data; charset=utf-8; Boundary="a b/c=d"', "a b/c=d"],
    ["multipart/form-data; boundary=a/b=c", "a/b=c"],
  ])("%j names its boundary", (contentType, boundary) => {
    expect(boundaryOf(contentType)).toBe(boundary);
  });

  it.each([
    null,
    "",
    "text/plain",
    "multipart/mixed; boundary=abc",
    "multipart/form-data",
    'multipart/form-data; boundary=""',
    'multipart/form-data; boundary="ends in space "',
    "multipart/form-data; boundary=\u00e9",
    `multipart/form-data; boundary=${"b".repeat(257)}`,
    "multipart/form-data; boundary=a; boundary=b",
  ])("%j names none", (contentType) => {
    expect(boundaryOf(contentType)).toBeNull();
  });
});
