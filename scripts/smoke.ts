import { createHash, randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { type Agent, fileIdOf, textOf, UnexpectedAnswer, Wire } from "./local/wire.ts";

const FILE_BYTES = 1024 * 1024;
const USAGE = "npm run smoke -- --url https://posthouse.example [--admin-token TOKEN, or ADMIN_TOKEN]";

const { values } = parseArgs({ options: { url: { type: "string" }, "admin-token": { type: "string" } } });
if (!values.url) {
  console.error(USAGE);
  process.exit(1);
}
const wire = new Wire(values.url, values["admin-token"] ?? process.env.ADMIN_TOKEN);

let agent: Agent | null = null;
try {
  agent = await step("an external workspace is created", () => wire.createAgent(`smoke ${new Date().toISOString()}`));
  await drive(agent);
  console.log("The main job works.");
} catch (error) {
  console.error(reasonOf(error));
  process.exitCode = 1;
} finally {
  if (agent) await cleanUp(agent);
}

/** The main job once: register, beat, message, file, read, fetch, acknowledge, answer. */
async function drive(agent: Agent): Promise<void> {
  await step("the agent registers", () => wire.register(agent));
  await step("the agent heartbeats", () => wire.heartbeat(agent));
  const text = `smoke ${crypto.randomUUID()}`;
  await step("the canvas sends a message", () => wire.sendMessage(agent.id, text));
  const bytes = randomBytes(FILE_BYTES);
  const [file] = await step("the canvas uploads a file", () =>
    wire.upload(agent.id, [new File([bytes], "smoke.bin", { type: "application/octet-stream" })]),
  );
  const fileId = fileIdOf(file?.uri ?? "");
  await step("the agent polls both", async () => {
    const rows = await wire.poll(agent, { since_secs: "600" });
    must(
      rows.some((row) => textOf(row) === text),
      "the message is not in the inbox",
    );
    must(
      rows.some((row) => row.method === "chat_upload_receive"),
      "the file is not announced in the inbox",
    );
  });
  await step("the agent fetches the same bytes", async () => {
    must(digestOf(await wire.fetchFile(agent, fileId)) === digestOf(bytes), "the bytes differ");
  });
  await step("the agent acknowledges the file", () => wire.ackFile(agent, fileId));
  await step("the agent answers the user", () => wire.notify(agent, "smoke done"));
}

async function step<Result>(claim: string, act: () => Promise<Result>): Promise<Result> {
  const start = performance.now();
  try {
    const result = await act();
    console.log(`ok    ${claim} (${Math.round(performance.now() - start)} ms)`);
    return result;
  } catch (error) {
    console.log(`FAIL  ${claim}`);
    throw error;
  }
}

function must(holds: boolean, complaint: string): void {
  if (!holds) throw new Error(complaint);
}

function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** `fetch failed` says nothing; its cause does. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

async function cleanUp({ id }: Agent): Promise<void> {
  try {
    await wire.removeWorkspace(id);
    console.log(`Workspace ${id} is removed again.`);
  } catch (error) {
    const reason =
      error instanceof UnexpectedAnswer && error.status === 404
        ? "this deployment cannot delete workspaces yet"
        : reasonOf(error);
    console.log(`Workspace ${id} stays behind: ${reason}.`);
  }
}
