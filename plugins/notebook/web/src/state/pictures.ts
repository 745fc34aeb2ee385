//! Pictures that are pasted or dropped into a Markdown cell become attachments of it.

import type { JsonObject } from "../protocol";

/** The size limit of one picture, in bytes: the file keeps it as text, a third longer. */
export const PICTURE_BYTES = 16 << 20;

/** A picture to attach. */
export interface Picture {
  name: string;
  type: string;
  /** Base64. */
  data: string;
}

/** The pictures among files. SVG is stored as text elsewhere, so it is left to the file browser. */
export function pictureFiles(files: Iterable<File>): File[] {
  return [...files].filter(({ type }) => /^image\/(?:png|jpeg|gif|webp|avif|bmp)$/.test(type));
}

/** Reads a file. */
export async function readPicture(file: File): Promise<Picture> {
  const data = await new Promise<string>((resolve, reject) => {
    const reader = new FileReader();
    reader.onerror = () => reject(reader.error ?? new Error("the picture could not be read"));
    reader.onload = () => resolve(String(reader.result));
    reader.readAsDataURL(file);
  });
  return { name: file.name, type: file.type, data: data.slice(data.indexOf(",") + 1) };
}

/** Attachments with the picture among them, and the Markdown that shows it. The same picture is not attached twice. */
export function attach(attachments: JsonObject | null, { name, type, data }: Picture): { attachments: JsonObject; markdown: string } {
  const present = attachments ?? {};
  const ending = /\.[a-z0-9]+$/i.exec(name)?.[0] ?? `.${type.slice("image/".length)}`;
  const stem = (name.slice(0, name.length - (name.endsWith(ending) ? ending.length : 0)) || "image").replace(/[^\p{L}\p{N}_. -]+/gu, "_");
  const bundle = { [type]: data };
  for (let n = 0; ; n++) {
    const own = n === 0 ? `${stem}${ending}` : `${stem}-${n}${ending}`;
    if (Object.hasOwn(present, own) && JSON.stringify(present[own]) !== JSON.stringify(bundle)) continue;
    return { attachments: { ...present, [own]: bundle }, markdown: `![${stem}](attachment:${encodeURIComponent(own)})` };
  }
}
