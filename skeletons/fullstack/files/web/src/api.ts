//! The API of src/accounts.rs and src/notes.rs.

export interface Account {
  name: string;
}

export interface Note {
  id: number;
  text: string;
  /** UTC, `2030-12-31 23:59:59`. */
  created_at: string;
}

/** A request that the server refused. The message is a sentence for the user. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Sends a request below the application's mount, and reads the JSON of the response. */
export async function send<T>(method: string, path: string, body?: unknown): Promise<T> {
  const base = document.body.dataset["base"] ?? "";
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.headers = { "content-type": "application/json" };
    init.body = JSON.stringify(body);
  }
  let response: Response;
  try {
    response = await fetch(base + path, init);
  } catch {
    throw new ApiError(0, "The server cannot be reached.");
  }
  if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T;
  throw new ApiError(response.status, await reason(response));
}

async function reason(response: Response): Promise<string> {
  if (response.status === 429) return "Too many attempts. Try again in a minute.";
  const body: unknown = await response.json().catch(() => undefined);
  const named = typeof body === "object" && body !== null && "error" in body ? body.error : undefined;
  return typeof named === "string" ? named : `The server answered with ${response.status}.`;
}
