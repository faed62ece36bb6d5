/** Whom a snippet connects to what. `platformUrl` has no trailing slash. */
export interface Target {
  readonly id: string;
  readonly platformUrl: string;
}

const GUIDE = "https://doc.moleculesai.app/docs/guides/external-agent-registration";

/** The comment that ends every snippet: where to read on, and what goes wrong most often, with its cure. */
export function needHelp({ platformUrl }: Target, failures: readonly string[]): string {
  return [
    "# Need help?",
    `#   Guide: ${GUIDE}`,
    `#   Is the platform there?  curl -fsS "${platformUrl}/health"`,
    "#   Common errors:",
    ...failures.flatMap((failure) =>
      failure.split("\n").map((line, index) => `#   ${index === 0 ? "- " : "  "}${line}`),
    ),
    "",
  ].join("\n");
}

/** What a token that is not live looks like from outside, the same for every client. */
export const REJECTED_TOKEN = `401: the token is empty, mistyped or rotated. It is shown only once; press
"Rotate credentials" in the Config tab of the canvas and paste the new snippet.`;
