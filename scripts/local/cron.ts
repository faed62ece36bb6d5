const MINUTE_MS = 60_000;
const FIELDS = [
  { name: "minute", min: 0, max: 59 },
  { name: "hour", min: 0, max: 23 },
  { name: "day of month", min: 1, max: 31 },
  { name: "month", min: 1, max: 12 },
  // Cloudflare counts from Sunday = 1.
  { name: "day of week", min: 1, max: 7 },
] as const;

type Field = { name: string; min: number; max: number };

/** Whether a five-field expression (numbers, `*`, lists, ranges, steps; UTC) names the minute of this instant. */
export function cronMatches(expression: string, at: Date): boolean {
  const parts = expression.trim().split(/\s+/);
  if (parts.length !== FIELDS.length) throw new Error(`cron "${expression}" needs ${FIELDS.length} fields`);
  const now = [at.getUTCMinutes(), at.getUTCHours(), at.getUTCDate(), at.getUTCMonth() + 1, at.getUTCDay() + 1];
  const holds = FIELDS.map((field, index) => valuesOf(parts[index] ?? "", field).has(now[index] ?? -1));
  const [minute, hour, dayOfMonth, month, dayOfWeek] = holds;
  const bothDaysNamed = parts[2] !== "*" && parts[4] !== "*";
  const day = bothDaysNamed ? dayOfMonth || dayOfWeek : dayOfMonth && dayOfWeek;
  return Boolean(minute && hour && month && day);
}

function valuesOf(text: string, field: Field): Set<number> {
  const values = new Set<number>();
  for (const item of text.split(",")) {
    const match = /^(?:\*|(\d+)(?:-(\d+))?)(?:\/(\d+))?$/.exec(item);
    if (!match) throw new Error(`cron ${field.name} "${item}" is not understood here`);
    const [, first, last, step] = match;
    const from = first === undefined ? field.min : Number(first);
    const to = last === undefined ? (first === undefined || step !== undefined ? field.max : from) : Number(last);
    const by = Number(step ?? 1);
    if (from < field.min || to > field.max || from > to || by < 1)
      throw new Error(`cron ${field.name} "${item}" is out of range`);
    for (let value = from; value <= to; value += by) values.add(value);
  }
  return values;
}

/** Fires each expression at the minutes that it names, until stopped. */
export function tickCrons(
  expressions: readonly string[],
  fire: (expression: string, at: Date) => Promise<void>,
): () => void {
  for (const expression of expressions) cronMatches(expression, new Date(0));
  let timer: NodeJS.Timeout;
  const plan = (last: number) => {
    // A timer may fire a little early: the minute that was just served must not come again.
    const minute = Math.max(Math.floor(Date.now() / MINUTE_MS), last) + 1;
    const at = new Date(minute * MINUTE_MS);
    timer = setTimeout(() => {
      for (const expression of expressions) if (cronMatches(expression, at)) void fire(expression, at);
      plan(minute);
    }, at.getTime() - Date.now());
  };
  plan(0);
  return () => clearTimeout(timer);
}
