import * as z from "zod";
import { isJsonObject } from "./json-text.ts";

/**
 * A JSON value whose keys are spelled as the schema has them, at every level, since clients may write them in any
 * case. The exact spelling goes before others. Keys of records are names that somebody chose and stay as they are,
 * and so does everything of which the schema knows nothing.
 */
export function matchKeys(value: unknown, schema: z.core.$ZodType): unknown {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable || schema instanceof z.ZodLazy) {
    return matchKeys(value, schema.unwrap());
  }
  if (schema instanceof z.ZodUnion) return schema.options.reduce(matchKeys, value);
  if (schema instanceof z.ZodArray && Array.isArray(value)) {
    return value.map((item) => matchKeys(item, schema.element));
  }
  if (!isJsonObject(value)) return value;
  if (schema instanceof z.ZodRecord) return mapped(value, (key, item) => [key, matchKeys(item, schema.valueType)]);
  return schema instanceof z.ZodObject ? matchMembers(value, schema.shape) : value;
}

function matchMembers(value: Readonly<Record<string, unknown>>, shape: Readonly<Record<string, z.core.$ZodType>>) {
  const members = new Map(Object.entries(shape).map((member) => [member[0].toLowerCase(), member]));
  return mapped(value, (key, item) => {
    const [spelling, schema] = members.get(key.toLowerCase()) ?? [];
    const isOther = spelling === undefined || (spelling !== key && Object.hasOwn(value, spelling));
    return isOther || schema === undefined ? [key, item] : [spelling, matchKeys(item, schema)];
  });
}

function mapped(
  value: Readonly<Record<string, unknown>>,
  change: (key: string, item: unknown) => readonly [string, unknown],
): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).map(([key, item]) => change(key, item)));
}
