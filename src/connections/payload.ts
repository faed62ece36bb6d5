/** What the operator of an external agent needs to connect it. */
export function connectionPayload({ id, platformUrl, token }: { id: string; platformUrl: string; token: string }) {
  return {
    workspace_id: id,
    platform_url: platformUrl,
    auth_token: token,
    registry_endpoint: `${platformUrl}/registry/register`,
    heartbeat_endpoint: `${platformUrl}/registry/heartbeat`,
  };
}
