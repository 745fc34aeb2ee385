//! The hash by which a kernel names the files of its cells.
//!
//! # Source
//! Austin Appleby, MurmurHash2 (public domain); ipykernel, `compiler.py`.

const M = 0x5bd1e995;

/** MurmurHash2 of a text in UTF-8, 32 bits. */
export function murmur2(text: string, seed: number): number {
  const bytes = new TextEncoder().encode(text);
  const at = (place: number): number => bytes[place] ?? 0;
  const whole = bytes.length - (bytes.length % 4);
  let hash = (seed ^ bytes.length) >>> 0;
  for (let place = 0; place < whole; place += 4) {
    let part = Math.imul(at(place) | (at(place + 1) << 8) | (at(place + 2) << 16) | (at(place + 3) << 24), M);
    part ^= part >>> 24;
    hash = Math.imul(hash, M) ^ Math.imul(part, M);
  }
  const rest = bytes.length - whole;
  if (rest === 3) hash ^= at(whole + 2) << 16;
  if (rest >= 2) hash ^= at(whole + 1) << 8;
  if (rest >= 1) hash = Math.imul(hash ^ at(whole), M);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, M);
  return (hash ^ (hash >>> 15)) >>> 0;
}
