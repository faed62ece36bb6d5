const MICROSECONDS_PER_MILLISECOND = 1_000;
const TIMESTAMP = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?([+-]\d\d)(?::(\d\d))?$/;

/** Microseconds since the epoch as a Postgres timestamp literal in UTC. */
export function timestampOf(microseconds: number): string {
  const milliseconds = Math.floor(microseconds / MICROSECONDS_PER_MILLISECOND);
  const rest = microseconds - milliseconds * MICROSECONDS_PER_MILLISECOND;
  return new Date(milliseconds).toISOString().replace("Z", `${String(rest).padStart(3, "0")}Z`);
}

/** Postgres' text of a timestamptz, in any time zone of the session, as microseconds since the epoch. */
export function microsecondsOf(timestamp: string): number {
  const match = TIMESTAMP.exec(timestamp);
  if (match === null) throw new RangeError("not a timestamp of Postgres");
  const [, date, time, fraction = "", hours, minutes = "00"] = match;
  const milliseconds = Date.parse(`${date}T${time}${hours}:${minutes}`);
  return milliseconds * MICROSECONDS_PER_MILLISECOND + Number(fraction.padEnd(6, "0"));
}
