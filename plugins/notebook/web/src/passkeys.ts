//! The script of the pages that the server writes, for passkeys: the login, and the account.

/** The mount prefix: this file is `PREFIX/static/passkeys.js`. */
const BASE = new URL("..", import.meta.url);

function bytes(text: string): ArrayBuffer {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0)).buffer;
}

function text(buffer: ArrayBuffer): string {
  return btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

async function call<T>(path: string, body?: unknown): Promise<T> {
  const xsrf = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie)?.[1];
  const headers: Record<string, string> = xsrf === undefined ? {} : { "X-XSRFToken": decodeURIComponent(xsrf) };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(new URL(path, BASE), { method: body === undefined ? "GET" : "POST", headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  const answer = (await response.json()) as T & { message?: string };
  if (!response.ok) throw new Error(answer.message ?? response.statusText);
  return answer;
}

function show(error: unknown): void {
  const box = document.getElementById("passkey-problem");
  if (box === null) return;
  box.hidden = false;
  const cancelled = error instanceof DOMException && error.name === "NotAllowedError";
  box.textContent = cancelled ? "The login was cancelled, or this device has no passkey for this address." : error instanceof Error ? error.message : String(error);
}

async function logIn(): Promise<void> {
  const { challenge, host } = await call<{ challenge: string; host: string }>("login/passkey");
  const found = (await navigator.credentials.get({ publicKey: { challenge: bytes(challenge), rpId: host, userVerification: "required" } })) as PublicKeyCredential | null;
  if (found === null) return;
  const response = found.response as AuthenticatorAssertionResponse;
  const { next } = await call<{ next: string }>("login/passkey", {
    id: text(found.rawId),
    client_data: text(response.clientDataJSON),
    authenticator_data: text(response.authenticatorData),
    signature: text(response.signature),
    next: new URL(location.href).searchParams.get("next"),
  });
  location.assign(next);
}

interface Options {
  challenge: string;
  host: string;
  name: string;
  user: string;
  known: string[];
  algorithms: number[];
}

async function add(name: string): Promise<void> {
  const options = await call<Options>("account/passkeys");
  const made = (await navigator.credentials.create({
    publicKey: {
      challenge: bytes(options.challenge),
      rp: { id: options.host, name: "Notebook" },
      user: { id: bytes(options.user), name: options.name, displayName: options.name },
      pubKeyCredParams: options.algorithms.map((alg) => ({ type: "public-key", alg })),
      excludeCredentials: options.known.map((id) => ({ type: "public-key", id: bytes(id) })),
      authenticatorSelection: { residentKey: "required", userVerification: "required" },
      attestation: "none",
    },
  })) as PublicKeyCredential | null;
  if (made === null) return;
  const response = made.response as AuthenticatorAttestationResponse;
  const key = response.getPublicKey();
  if (key === null) throw new Error("This device has a key of an unknown type.");
  await call("account/passkeys", {
    name,
    id: text(made.rawId),
    client_data: text(response.clientDataJSON),
    authenticator_data: text(response.getAuthenticatorData()),
    public_key: text(key),
    algorithm: response.getPublicKeyAlgorithm(),
  });
  location.reload();
}

// Browsers offer it over HTTPS and on localhost, and not for addresses without a name.
if ("PublicKeyCredential" in globalThis && isSecureContext) {
  const button = document.getElementById("passkey");
  if (button !== null) {
    button.hidden = false;
    button.addEventListener("click", () => void logIn().catch(show));
  }
  const form = document.getElementById("add-passkey");
  if (form instanceof HTMLFormElement) {
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const name = new FormData(form).get("name");
      void add(typeof name === "string" ? name : "").catch(show);
    });
  }
}
