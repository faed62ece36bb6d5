/**
 * Where the canvas puts the token: it replaces the first occurrence of exactly these texts, byte for byte. Each
 * snippet therefore has its placeholder once, and reads the token from there wherever else it needs it.
 */
export const PLACEHOLDERS = {
  curl: 'WORKSPACE_AUTH_TOKEN="<paste from create response>"',
  python: 'AUTH_TOKEN    = "<paste from create response>"',
  claudeCodeChannel: "MOLECULE_WORKSPACE_TOKENS=<paste auth_token from create response>",
  universalMcp: 'MOLECULE_WORKSPACE_TOKEN="<paste from create response>"',
  hermesChannel: 'MOLECULE_WORKSPACE_TOKEN="<paste from create response>"',
  codex: 'MOLECULE_WORKSPACE_TOKEN = "<paste from create response>"',
  openclaw: 'WORKSPACE_TOKEN="<paste from create response>"',
} as const;
