import { env } from "cloudflare:test";
import { expect, it } from "vitest";
import { aDockerEngine } from "../support/machine-server.ts";
import { dockerCalls, ON_DOCKER, tokenInContainer } from "../support/verb-calls.ts";
import { callsOfEveryVerb } from "../support/verbs.ts";

const docker = aDockerEngine();

// Docker alone: set before anything has read its configuration.
env.DOCKER_HOST = docker.url;

it("with Docker alone every verb calls its engine exactly so", async () => {
  const calls = await callsOfEveryVerb({
    calls: () => dockerCalls(docker),
    tokenOf: (id) => tokenInContainer(docker, id),
  });
  expect(calls).toEqual(ON_DOCKER);
});
