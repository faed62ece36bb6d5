const PATIENCE_MS = 20_000;
const STEP_MS = 20;

/** Waits for a condition that something else brings about, and returns what it found. */
export async function until<T>(what: string, condition: () => Promise<T | false | null | undefined>): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (performance.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await scheduler.wait(STEP_MS);
  }
}
