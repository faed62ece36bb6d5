/** The work's result; throws where it takes longer. */
export function within<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  return withDeadline(timeoutMs, (deadline) => {
    const late = new Promise<never>((_, reject) => {
      deadline.addEventListener("abort", () => reject(new Error("timeout")));
    });
    return Promise.race([work, late]);
  });
}

/**
 * Work that a signal ends when it takes too long. Unlike `AbortSignal.timeout` it leaves no timer behind, which would
 * keep an object awake long after its work is done.
 */
export async function withDeadline<T>(timeoutMs: number, work: (deadline: AbortSignal) => Promise<T>): Promise<T> {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), timeoutMs);
  try {
    return await work(deadline.signal);
  } finally {
    clearTimeout(timer);
  }
}
