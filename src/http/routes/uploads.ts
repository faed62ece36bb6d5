import { Hono } from "hono";
import type { AppEnv } from "../context.ts";

export const uploadRoutes = new Hono<AppEnv>();
