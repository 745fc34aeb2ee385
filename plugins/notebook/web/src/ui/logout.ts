//! Logging out.

import { url } from "../transport/base";
import * as rest from "../transport/rest";
import { toast } from "./dialog";

/** Logs this browser out and opens the page that confirms it. */
export async function logout(): Promise<void> {
  try {
    await rest.logout();
    location.assign(url("logout"));
  } catch (error) {
    toast(`You are still logged in: ${error instanceof Error ? error.message : String(error)}`);
  }
}
