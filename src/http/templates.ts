import { GALLERY } from "../org-import/gallery/gallery.ts";
import { blobStoreOf } from "../storage/blob-store.ts";
import { TemplateStore } from "../storage/template-store.ts";
import type { AppContext } from "./context.ts";

/** The templates of this deployment: what was stored, and what comes with the platform. */
export function templatesOf(c: AppContext): TemplateStore {
  return new TemplateStore(blobStoreOf(c.env), GALLERY);
}
