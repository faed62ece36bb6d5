import type { TemplateFiles } from "../../domain/file-path.ts";
import type { Gallery } from "../../storage/template-store.ts";
import { CODE_REVIEW_TEAM } from "./code-review-team.ts";
import { RESEARCH_TEAM } from "./research-team.ts";
import { SUPPORT_DESK } from "./support-desk.ts";

/** The templates that every deployment has. */
export const GALLERY: Gallery = {
  org: new Map([
    ["code-review-team", template(CODE_REVIEW_TEAM)],
    ["research-team", template(RESEARCH_TEAM)],
    ["support-desk", template(SUPPORT_DESK)],
  ]),
  workspace: new Map(),
};

function template(text: string): TemplateFiles {
  return new Map([["org.yaml", text]]);
}
