// Written from plugins/notebook/src/protocol by `PASTER_BLESS=1 cargo test -p notebook --lib protocol`.
// Do not edit.

/** Any JSON object. */
export type JsonObject = { [key: string]: unknown };

/** One frame from the page. */
export type Request = { 
/** Chosen by the page; the reply repeats it. */
id: number, 
/** What to do. */
op: Operation, };

/**
 * The operations that a page can request. Each request gets exactly one [`ServerFrame::Reply`] or
 * [`ServerFrame::Failed`].
 */
export type Operation = { "type": "set_source", 
/** The cell. */
cell_id: string, 
/** Its complete new source. */
source: string, 
/** The cell revision that this text is based on. */
base_revision: number, 
/**
 * What turned that text into this one: the JSON of CodeMirror's `ChangeSet`. It is passed on to other pages, which keep in
 * its place what is typed there. They compare the texts if it is absent or wrong.
 */
changes?: unknown, } | { "type": "insert_cell", 
/** 0 is the top; a number larger than the number of cells means the end. */
index: number, 
/** Code, Markdown or raw. */
cell_type: CellType, 
/** Its source. */
source: string, 
/** The new cell's id (`[A-Za-z0-9_-]{1,64}`), or null to get a new one. */
cell_id: string | null, 
/** Its metadata; none by default. This field and the rest are for a deleted or copied cell. */
metadata?: JsonObject | null, 
/** Its attachments. */
attachments?: JsonObject | null, 
/** Outputs of a code cell. */
outputs?: Array<Output> | null, 
/** The number in `In [n]` of a code cell. */
execution_count?: number | null, } | { "type": "delete_cell", 
/** The cell. */
cell_id: string, } | { "type": "move_cell", 
/** The cell. */
cell_id: string, 
/** Its new place. */
index: number, } | { "type": "set_cell_type", 
/** The cell. */
cell_id: string, 
/** Its new kind. */
cell_type: CellType, } | { "type": "set_cell_metadata", 
/** The cell. */
cell_id: string, 
/** All of its metadata. */
metadata: JsonObject, } | { "type": "set_cell_attachments", 
/** The cell. */
cell_id: string, 
/** All of its attachments; null for none. */
attachments: JsonObject | null, } | { "type": "set_metadata", 
/** All of the metadata. */
metadata: JsonObject, } | { "type": "run", 
/** The cells. */
cell_ids: Array<string>, } | { "type": "run_all" } | { "type": "clear_outputs", 
/** The cells, or null for all. */
cell_ids: Array<string> | null, } | { "type": "interrupt" } | { "type": "cancel", 
/** The cells. */
cell_ids: Array<string>, } | { "type": "open_comms" } | { "type": "send_comm", 
/** The message. */
message: CommMessage, } | { "type": "restart", 
/** Then queue every code cell. */
run_all: boolean, } | { "type": "start_kernel", 
/** Name of a kernelspec; null for the one that the notebook names, or else the default. */
name: string | null, } | { "type": "shutdown_kernel" } | { "type": "complete", 
/** The cell's source. */
code: string, 
/** Cursor in `code`, in UTF-16 units. */
cursor: number, } | { "type": "inspect", 
/** The cell's source. */
code: string, 
/** Cursor in `code`, in UTF-16 units. */
cursor: number, 
/** 0: signature and documentation; 1: also the source code. */
detail: number, } | { "type": "list_variables" } | { "type": "debug", 
/** The command, also one of Jupyter's own (`debugInfo`, `dumpCell`). */
command: string, 
/** Its arguments. */
arguments: JsonObject, } | { "type": "answer_input", 
/** What the user typed. */
value: string, } | { "type": "set_cursor", 
/** The cursor; null if the user types nowhere. */
cursor: Cursor | null, } | { "type": "ping" } | { "type": "save" } | { "type": "resolve_conflict", 
/** Which text to keep. */
keep: Keep, };

/** How to end a conflict with the file on disk. */
export type Keep = "disk" | "mine";

/** The position where a user types. */
export type Cursor = { 
/** The cell. */
cell_id: string, 
/** Where the selection begins, in UTF-16 units of the cell's source. */
anchor: number, 
/** Where the cursor is. */
head: number, };

/** The type of a cell. */
export type CellType = "code" | "markdown" | "raw";

/** One frame from the server. */
export type ServerFrame = { "type": "opened", 
/** Identifies this opening of the document; send it as `?instance=` to resume. */
instance: string, 
/** Number of the last event that the document includes. */
event: number, 
/** What this page's user may do. */
level: Level, 
/** The document. */
document: Document, } | { "type": "resumed", 
/** As asked. */
instance: string, 
/** The event number that was asked for. */
event: number, 
/**
 * Number of the document's newest event: when it has arrived, the page knows everything that
 * happened.
 */
last: number, } | { "type": "error", 
/**
 * The HTTP status that a plain GET of the same address gets: 404 for a missing file, 400 for a file that is
 * not a notebook, 503 for one that is busy (connect again soon).
 */
code: number, 
/** What went wrong and what to do, for users. */
message: string, } | { "type": "changed", 
/** Increases by one with each change. */
event: number, 
/** The login name of the user whose request made this change; null if the kernel or the server made it. */
author: string | null, 
/** The id of the request that made this change, if it came from this connection; else null. */
request: number | null, 
/** What changed. */
change: Change, } | { "type": "reply", 
/** Of the request. */
id: number, 
/** The result. */
reply: Reply, } | { "type": "failed", 
/** Of the request; null if the frame could not be read at all. */
id: number | null, 
/** What went wrong and what to do, for users. */
message: string, } | { "type": "commented" } | { "type": "present", 
/** Identifies their page. */
client: number, 
/** Their login name. */
name: string, 
/** Where they type. */
cursor: Cursor | null, } | { "type": "absent", 
/** Identifies their page. */
client: number, } | { "type": "closing", 
/** Whether to connect again. */
again: boolean, 
/** The reason, for users. */
message: string, };

/** The result of a request. */
export type Reply = { "type": "done" } | { "type": "edited", 
/** The base of the next edit. */
revision: number, } | { "type": "stale", 
/** The current source. */
source: string, 
/** Its revision. */
revision: number, } | { "type": "inserted", 
/** The new cell. */
cell_id: string, } | { "type": "completions", 
/** Texts that may replace `start..end`. */
matches: Array<Completion>, 
/** UTF-16 offset of the first replaced unit. */
start: number, 
/** UTF-16 offset after the last replaced unit. */
end: number, } | { "type": "inspection", 
/** By MIME type, as an output's data. */
data: JsonObject | null, } | { "type": "variables", 
/** By name. */
variables: Array<Variable> | null, } | { "type": "debug", 
/** Whether it did what was asked; also false if the kernel has no debugger, or did not answer. */
success: boolean, 
/** Why not. */
message: string | null, 
/** The body of the response. */
body: JsonObject, } | { "type": "comms", 
/** In no order. */
comms: Array<Comm>, };

/** One completion. */
export type Completion = { 
/** The text to insert. */
text: string, 
/** `function`, `module`, `keyword` and so on, if the kernel sends it. */
kind: string | null, };

/** What a user may do with a file or folder. Each level includes the previous ones. */
export type Level = "app" | "view" | "comment" | "run" | "edit" | "manage";

/** A notebook. */
export type Document = { 
/** Path below the served folder, `/` between names. */
path: string, 
/** The cells, top to bottom. */
cells: Array<Cell>, 
/** The notebook's metadata. */
metadata: JsonObject, 
/** Its kernel. */
kernel: Kernel, 
/** Whether changes wait to be written. */
unsaved: boolean, 
/** Another program changed the file; see [`Change::Conflict`]. */
conflict: boolean, 
/** When the file was last written, RFC 3339. */
last_modified: string, 
/** A kernel's open question. */
input: InputRequest | null, 
/** Whether the file may be written. */
writable: boolean, };

/** One cell. */
export type Cell = { 
/** Unique in the document. */
id: string, 
/** Its kind. */
cell_type: CellType, 
/** Its text. */
source: string, 
/** Increases with each change of the source. */
revision: number, 
/** Its metadata. */
metadata: JsonObject, 
/** Images pasted into a Markdown cell: name to MIME bundle. */
attachments: JsonObject | null, 
/** What it printed and showed; empty except in code cells. */
outputs: Array<Output>, 
/** The number in `In [n]`. */
execution_count: number | null, 
/** Its state. */
state: CellState, };

/** The state of a cell. */
export type CellState = "idle" | "queued" | "running";

/** One output, as in nbformat 4, with texts joined into one string. */
export type Output = { "output_type": "stream", 
/** `stdout` or `stderr`. */
name: string, 
/** The text, with ANSI colours. */
text: string, } | { "output_type": "display_data", 
/** By MIME type. */
data: JsonObject, 
/** By MIME type. */
metadata: JsonObject, } | { "output_type": "execute_result", 
/** The number in `Out[n]`. */
execution_count: number | null, 
/** By MIME type. */
data: JsonObject, 
/** By MIME type. */
metadata: JsonObject, } | { "output_type": "error", 
/** Its class. */
ename: string, 
/** Its message. */
evalue: string, 
/** Lines, with ANSI colours. */
traceback: Array<string>, };

/** One change of a document. */
export type Change = { "type": "cell_inserted", 
/** Its place. */
index: number, 
/** The cell. */
cell: Cell, } | { "type": "cell_deleted", 
/** The cell. */
cell_id: string, } | { "type": "cell_moved", 
/** The cell. */
cell_id: string, 
/** Its place, counted after the move. */
index: number, } | { "type": "source_changed", 
/** The cell. */
cell_id: string, 
/** Its source. */
source: string, 
/** Its new revision. */
revision: number, 
/** As in [`Operation::SetSource`]. */
changes: unknown, } | { "type": "cell_replaced", 
/** The cell. */
cell: Cell, } | { "type": "cell_metadata_changed", 
/** The cell. */
cell_id: string, 
/** All of it. */
metadata: JsonObject, } | { "type": "cell_attachments_changed", 
/** The cell. */
cell_id: string, 
/** All of them; null for none. */
attachments: JsonObject | null, } | { "type": "metadata_changed", 
/** All of it. */
metadata: JsonObject, } | { "type": "outputs_cleared", 
/** The cell. */
cell_id: string, } | { "type": "output_added", 
/** The cell. */
cell_id: string, 
/** The output. */
output: Output, } | { "type": "text_appended", 
/** The cell. */
cell_id: string, 
/** Which output. */
index: number, 
/** What to append. */
text: string, } | { "type": "output_replaced", 
/** The cell. */
cell_id: string, 
/** Which output. */
index: number, 
/** The output. */
output: Output, } | { "type": "cell_state_changed", 
/** The cell. */
cell_id: string, 
/** Its state. */
state: CellState, 
/** The number in `In [n]`. */
execution_count: number | null, } | { "type": "kernel_changed", 
/** The kernel. */
kernel: Kernel, } | { "type": "input_requested", 
/** The question. */
input: InputRequest | null, } | { "type": "comm_sent", 
/** The message. */
message: CommMessage, } | { "type": "debug_event", 
/** The name of the event in the Debug Adapter Protocol. */
event: string, 
/** Its body. */
body: JsonObject, } | { "type": "saved", 
/** All events up to this one are in the file. */
up_to: number, 
/** When, RFC 3339. */
last_modified: string, } | { "type": "save_failed", 
/** Why, and what to do. */
message: string, } | { "type": "conflict", 
/** For users. */
message: string, } | { "type": "reloaded", 
/** The document. */
document: Document, } | { "type": "moved", 
/** Its new path. */
path: string, };

/** A kernel's question, as of `input()`. */
export type InputRequest = { 
/** The cell that asks. */
cell_id: string | null, 
/** The question. */
prompt: string, 
/** Whether to hide what the user types. */
password: boolean, };

/** The kernel of a document. */
export type Kernel = { 
/** Its id in `/api/kernels`; null if none is running. */
id: string | null, 
/** Name of its kernelspec, or of the one that would be started; null if this machine has none. */
name: string | null, 
/** The name that users see. */
display_name: string | null, 
/** The language, for example `python`. */
language: string | null, 
/** Its state. */
state: KernelState, 
/** Why it died, or what to do if there is no kernel; for users. */
message: string | null, 
/** Whether it has a debugger. */
debugger: boolean, };

/** The state of a kernel. */
export type KernelState = "none" | "starting" | "idle" | "busy" | "restarting" | "dead";

/** A variable of the kernel. */
export type Variable = { 
/** Its name. */
name: string, 
/** Its type. */
kind: string, 
/** Its length or shape; empty if it has none. */
size: string, 
/** Its value, if that is short; else empty. */
value: string, };

/** An open comm. */
export type Comm = { 
/** Its id, chosen by the kernel. */
comm_id: string, 
/** What it is for, for example `jupyter.widget`. */
target_name: string, 
/** The data of its `comm_open`, with the widget's present state. */
data: JsonObject, 
/** The metadata of its `comm_open`. */
metadata: JsonObject, 
/** Binary parts of the state in base64, one for each of `data.buffer_paths`. */
buffers: Array<string>, };

/** One message of a comm. */
export type CommMessage = { 
/** The comm. */
comm_id: string, 
/** What happens to it. */
kind: CommKind, 
/** What it is for; only of `open`. */
target_name: string | null, 
/** Anything. A widget's is `{"method", "state", "buffer_paths"}` or `{"method": "custom", "content"}`. */
data: JsonObject, 
/** Anything. */
metadata: JsonObject, 
/** Binary parts in base64. */
buffers: Array<string>, 
/**
 * From a page: an id for this message (`[A-Za-z0-9_-]{1,64}`), or null. From the kernel: the id of the message that it is
 * about. A widget recognizes the echo of its own change by it.
 */
request: string | null, };

/** What a message does with its comm. */
export type CommKind = "open" | "message" | "close";
