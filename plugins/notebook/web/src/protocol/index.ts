// Written from plugins/notebook/src/protocol.rs by `PASTER_BLESS=1 cargo test -p notebook --lib protocol`.
// Do not edit.

/** Any JSON object. */
export type JsonObject = { [key: string]: unknown };

/**
 * One frame from the page.
 */
export type Request = { 
/**
 * Chosen by the page; the reply carries it back.
 */
id: number, 
/**
 * What to do.
 */
op: Operation, };

/**
 * What a page can ask of a document. Each request gets exactly one [`ServerFrame::Reply`] or [`ServerFrame::Failed`].
 */
export type Operation = { "type": "set_source", 
/**
 * The cell.
 */
cell_id: string, 
/**
 * Its whole new source.
 */
source: string, 
/**
 * The cell revision that this text is based on.
 */
base_revision: number, } | { "type": "insert_cell", 
/**
 * 0 is the top; a larger number than there are cells means the end.
 */
index: number, 
/**
 * Code, Markdown or raw.
 */
cell_type: CellType, 
/**
 * Its source.
 */
source: string, 
/**
 * The new cell's id (`[A-Za-z0-9_-]{1,64}`), or null to have one made.
 */
cell_id: string | null, 
/**
 * Its metadata; none by default. This and the rest are a deleted or copied cell's.
 */
metadata?: JsonObject | null, 
/**
 * Its attachments.
 */
attachments?: JsonObject | null, 
/**
 * Outputs of a code cell.
 */
outputs?: Array<Output> | null, 
/**
 * The number in `In [n]` of a code cell.
 */
execution_count?: number | null, } | { "type": "delete_cell", 
/**
 * The cell.
 */
cell_id: string, } | { "type": "move_cell", 
/**
 * The cell.
 */
cell_id: string, 
/**
 * Its new place.
 */
index: number, } | { "type": "set_cell_type", 
/**
 * The cell.
 */
cell_id: string, 
/**
 * Its new kind.
 */
cell_type: CellType, } | { "type": "set_cell_metadata", 
/**
 * The cell.
 */
cell_id: string, 
/**
 * All of its metadata.
 */
metadata: JsonObject, } | { "type": "set_cell_attachments", 
/**
 * The cell.
 */
cell_id: string, 
/**
 * All of its attachments; null for none.
 */
attachments: JsonObject | null, } | { "type": "set_metadata", 
/**
 * All of the metadata.
 */
metadata: JsonObject, } | { "type": "run", 
/**
 * The cells.
 */
cell_ids: Array<string>, } | { "type": "run_all" } | { "type": "clear_outputs", 
/**
 * The cells, or null for all.
 */
cell_ids: Array<string> | null, } | { "type": "interrupt" } | { "type": "restart", 
/**
 * Queue every code cell then.
 */
run_all: boolean, } | { "type": "start_kernel", 
/**
 * Name of a kernelspec; null for the one that the notebook names, else the default.
 */
name: string | null, } | { "type": "shutdown_kernel" } | { "type": "complete", 
/**
 * The cell's source.
 */
code: string, 
/**
 * Cursor in `code`, in UTF-16 units.
 */
cursor: number, } | { "type": "inspect", 
/**
 * The cell's source.
 */
code: string, 
/**
 * Cursor in `code`, in UTF-16 units.
 */
cursor: number, 
/**
 * 0: signature and documentation; 1: source code too.
 */
detail: number, } | { "type": "answer_input", 
/**
 * What the user typed.
 */
value: string, } | { "type": "save" } | { "type": "resolve_conflict", 
/**
 * Which text stays.
 */
keep: Keep, };

/**
 * How a conflict with the file on disk ends.
 */
export type Keep = "disk" | "mine";

/**
 * Kind of a cell.
 */
export type CellType = "code" | "markdown" | "raw";

/**
 * One frame from the server.
 */
export type ServerFrame = { "type": "opened", 
/**
 * Names this opening of the document; give it back as `?instance=` to resume.
 */
instance: string, 
/**
 * Number of the last event that the document already holds.
 */
event: number, 
/**
 * The document.
 */
document: Document, } | { "type": "resumed", 
/**
 * As asked.
 */
instance: string, 
/**
 * The event number that was asked for.
 */
event: number, 
/**
 * Number of the document's newest event: once it has arrived, the page knows everything that happened.
 */
last: number, } | { "type": "error", 
/**
 * The HTTP status that a plain GET of the same address gets: 404 for a missing file, 400 for a file that is
 * not a notebook, 503 for one that is busy (connect again soon).
 */
code: number, 
/**
 * What went wrong and what to do, for the user.
 */
message: string, } | { "type": "changed", 
/**
 * Counts up by one with each change.
 */
event: number, 
/**
 * The id of the page's request that made this change, where this connection made it; else null.
 */
request: number | null, 
/**
 * What changed.
 */
change: Change, } | { "type": "reply", 
/**
 * Of the request.
 */
id: number, 
/**
 * The result.
 */
reply: Reply, } | { "type": "failed", 
/**
 * Of the request; null where the frame could not be read at all.
 */
id: number | null, 
/**
 * What went wrong and what to do, for the user.
 */
message: string, } | { "type": "closing", 
/**
 * Whether to connect again.
 */
again: boolean, 
/**
 * Why, for the user.
 */
message: string, };

/**
 * The result of a request.
 */
export type Reply = { "type": "done" } | { "type": "edited", 
/**
 * Base of the next edit.
 */
revision: number, } | { "type": "stale", 
/**
 * The present source.
 */
source: string, 
/**
 * Its revision.
 */
revision: number, } | { "type": "inserted", 
/**
 * The new cell.
 */
cell_id: string, } | { "type": "completions", 
/**
 * Texts that may replace `start..end`.
 */
matches: Array<Completion>, 
/**
 * UTF-16 offset of the first replaced unit.
 */
start: number, 
/**
 * UTF-16 offset after the last replaced unit.
 */
end: number, } | { "type": "inspection", 
/**
 * By MIME type, as an output's data.
 */
data: JsonObject | null, };

/**
 * One completion.
 */
export type Completion = { 
/**
 * The text to insert.
 */
text: string, 
/**
 * `function`, `module`, `keyword` and so on, where the kernel says it.
 */
kind: string | null, };

/**
 * A notebook.
 */
export type Document = { 
/**
 * Path below the served folder, `/` between names.
 */
path: string, 
/**
 * The cells, top to bottom.
 */
cells: Array<Cell>, 
/**
 * The notebook's metadata.
 */
metadata: JsonObject, 
/**
 * Its kernel.
 */
kernel: Kernel, 
/**
 * Whether changes wait to be written.
 */
unsaved: boolean, 
/**
 * The file was changed by somebody else; see [`Change::Conflict`].
 */
conflict: boolean, 
/**
 * When the file was last written, RFC 3339.
 */
last_modified: string, 
/**
 * A kernel's open question.
 */
input: InputRequest | null, 
/**
 * Whether the file may be written.
 */
writable: boolean, };

/**
 * One cell.
 */
export type Cell = { 
/**
 * Unique in the document.
 */
id: string, 
/**
 * Its kind.
 */
cell_type: CellType, 
/**
 * Its text.
 */
source: string, 
/**
 * Counts up with each change of the source.
 */
revision: number, 
/**
 * Its metadata.
 */
metadata: JsonObject, 
/**
 * Images pasted into a Markdown cell: name to MIME bundle.
 */
attachments: JsonObject | null, 
/**
 * What it printed and showed; empty but for code cells.
 */
outputs: Array<Output>, 
/**
 * The number in `In [n]`.
 */
execution_count: number | null, 
/**
 * What it does now.
 */
state: CellState, };

/**
 * What a cell does now.
 */
export type CellState = "idle" | "queued" | "running";

/**
 * One output, as in nbformat 4, with texts joined into one string.
 */
export type Output = { "output_type": "stream", 
/**
 * `stdout` or `stderr`.
 */
name: string, 
/**
 * The text, with ANSI colours.
 */
text: string, } | { "output_type": "display_data", 
/**
 * By MIME type.
 */
data: JsonObject, 
/**
 * By MIME type.
 */
metadata: JsonObject, } | { "output_type": "execute_result", 
/**
 * The number in `Out[n]`.
 */
execution_count: number | null, 
/**
 * By MIME type.
 */
data: JsonObject, 
/**
 * By MIME type.
 */
metadata: JsonObject, } | { "output_type": "error", 
/**
 * Its class.
 */
ename: string, 
/**
 * Its message.
 */
evalue: string, 
/**
 * Lines, with ANSI colours.
 */
traceback: Array<string>, };

/**
 * One change of a document.
 */
export type Change = { "type": "cell_inserted", 
/**
 * Its place.
 */
index: number, 
/**
 * The cell.
 */
cell: Cell, } | { "type": "cell_deleted", 
/**
 * The cell.
 */
cell_id: string, } | { "type": "cell_moved", 
/**
 * The cell.
 */
cell_id: string, 
/**
 * Its place, counted after the move.
 */
index: number, } | { "type": "source_changed", 
/**
 * The cell.
 */
cell_id: string, 
/**
 * Its source.
 */
source: string, 
/**
 * Its new revision.
 */
revision: number, } | { "type": "cell_replaced", 
/**
 * The cell.
 */
cell: Cell, } | { "type": "cell_metadata_changed", 
/**
 * The cell.
 */
cell_id: string, 
/**
 * All of it.
 */
metadata: JsonObject, } | { "type": "cell_attachments_changed", 
/**
 * The cell.
 */
cell_id: string, 
/**
 * All of them; null for none.
 */
attachments: JsonObject | null, } | { "type": "metadata_changed", 
/**
 * All of it.
 */
metadata: JsonObject, } | { "type": "outputs_cleared", 
/**
 * The cell.
 */
cell_id: string, } | { "type": "output_added", 
/**
 * The cell.
 */
cell_id: string, 
/**
 * The output.
 */
output: Output, } | { "type": "text_appended", 
/**
 * The cell.
 */
cell_id: string, 
/**
 * Which output.
 */
index: number, 
/**
 * What to append.
 */
text: string, } | { "type": "output_replaced", 
/**
 * The cell.
 */
cell_id: string, 
/**
 * Which output.
 */
index: number, 
/**
 * The output.
 */
output: Output, } | { "type": "cell_state_changed", 
/**
 * The cell.
 */
cell_id: string, 
/**
 * What it does now.
 */
state: CellState, 
/**
 * The number in `In [n]`.
 */
execution_count: number | null, } | { "type": "kernel_changed", 
/**
 * The kernel.
 */
kernel: Kernel, } | { "type": "input_requested", 
/**
 * The question.
 */
input: InputRequest | null, } | { "type": "saved", 
/**
 * All events up to this one are in the file.
 */
up_to: number, 
/**
 * When, RFC 3339.
 */
last_modified: string, } | { "type": "save_failed", 
/**
 * Why, and what to do.
 */
message: string, } | { "type": "conflict", 
/**
 * For the user.
 */
message: string, } | { "type": "reloaded", 
/**
 * The document.
 */
document: Document, } | { "type": "moved", 
/**
 * Its new path.
 */
path: string, };

/**
 * A kernel's question, as of `input()`.
 */
export type InputRequest = { 
/**
 * The cell that asks.
 */
cell_id: string | null, 
/**
 * The question.
 */
prompt: string, 
/**
 * Do not show what is typed.
 */
password: boolean, };

/**
 * The kernel of a document.
 */
export type Kernel = { 
/**
 * Its id in `/api/kernels`; null where none runs.
 */
id: string | null, 
/**
 * Name of its kernelspec, or of the one that would be started; null where this machine has none.
 */
name: string | null, 
/**
 * For people.
 */
display_name: string | null, 
/**
 * The language, as `python`.
 */
language: string | null, 
/**
 * What it does.
 */
state: KernelState, 
/**
 * Why it died, or what to do where there is no kernel; for people.
 */
message: string | null, };

/**
 * What a kernel does.
 */
export type KernelState = "none" | "starting" | "idle" | "busy" | "restarting" | "dead";
