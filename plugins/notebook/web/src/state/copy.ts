//! Cells in the form for cutting, copying and pasting.

import type { Cell, CellType, JsonObject, Output } from "../protocol";

/** A cell in the form for cutting, copying and pasting. */
export interface CellCopy {
  cell_type: CellType;
  source: string;
  metadata: JsonObject;
  attachments: JsonObject | null;
  outputs: Output[];
  execution_count: number | null;
}

/** The fields of `insert_cell` for a copied cell. */
export function extras(copy: Partial<CellCopy>): Partial<CellCopy> {
  const { metadata, attachments, outputs, execution_count } = copy;
  return {
    ...(metadata !== undefined && Object.keys(metadata).length > 0 ? { metadata } : {}),
    ...(attachments !== undefined && attachments !== null ? { attachments } : {}),
    ...(outputs !== undefined && outputs.length > 0 ? { outputs, execution_count: execution_count ?? null } : {}),
  };
}

/** A cell's content without its identity. */
export function copyOf(cell: Cell): CellCopy {
  const { cell_type, source, metadata, attachments, outputs, execution_count } = structuredClone(cell);
  return { cell_type, source, metadata, attachments, outputs, execution_count };
}
