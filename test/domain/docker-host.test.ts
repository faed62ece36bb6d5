import { describe, expect, it } from "vitest";
import { parseDockerHost } from "../../src/domain/docker-host.ts";

describe("DOCKER_HOST", () => {
  it.each([
    ["http://docker.test:2375", "http://docker.test:2375"],
    ["https://docker.test/", "https://docker.test"],
    ["https://proxy.test/docker/", "https://proxy.test/docker"],
    ["tcp://docker.test:1234", "http://docker.test:1234"],
    ["tcp://docker.test:80", "http://docker.test"],
    ["tcp://docker.test:1234/prefix", "http://docker.test:1234/prefix"],
    ["tcp://[fd00::1]/prefix", "http://[fd00::1]:2375/prefix"],
    ["tcp://docker.test", "http://docker.test:2375"],
    ["TCP://docker.test/", "http://docker.test:2375"],
  ])("names an engine by the URL %s", (text, url) => {
    expect(parseDockerHost(text, false)).toEqual({ kind: "url", url, isLocal: false });
  });

  it("means TLS by tcp when the certificate is verified", () => {
    const local = { kind: "url", isLocal: true };
    expect(parseDockerHost("tcp://127.0.0.1:1234", true)).toEqual({ ...local, url: "https://127.0.0.1:1234" });
    expect(parseDockerHost("tcp://localhost", true)).toEqual({ ...local, url: "https://localhost:2376" });
    expect(parseDockerHost("http://[::1]:2375", true)).toEqual({ ...local, url: "http://[::1]:2375" });
  });

  it("names a socket of this machine", () => {
    const socket = { kind: "socket", path: "/var/run/docker.sock" };
    expect(parseDockerHost("unix:///var/run/docker.sock", false)).toEqual(socket);
  });

  it.each([
    "",
    "docker.test:2375",
    "ftp://docker.test",
    "npipe:////./pipe/docker_engine",
    "unix://",
    "ssh://user@docker.test",
    "http://user:pass@docker.test",
    "http://docker.test?x=1",
    "http://docker.test#x",
    "tcp://",
  ])("names nothing by %j", (text) => {
    expect(parseDockerHost(text, false)).toBeNull();
  });
});
