import * as z from "zod";
import { cutCodePoints } from "../domain/text.ts";

const REASON_CODE_POINTS_MAX = 1_000;

/** Why an operator orders something, for the audit trail; null where nobody says. */
export const REASON = z
  .string()
  .nullish()
  .transform((reason) => cutCodePoints(reason?.trim() ?? "", REASON_CODE_POINTS_MAX) || null);
