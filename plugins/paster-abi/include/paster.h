/* The C ABI between paster and its plugins. Generated from plugins/paster-abi: do not edit.
 *
 * A plugin is a shared library that exports one symbol:
 *
 *     PASTER_EXPORT const PasterPlugin PASTER_PLUGIN = {
 *         .abi_version = PASTER_ABI_VERSION,
 *         .size_bytes = sizeof(PasterPlugin),
 *         .name = PASTER_TEXT("hello"),
 *         .version = PASTER_TEXT("1.0"),
 *         .create = create, .call = call, .destroy = destroy,
 *     };
 *
 * - The side that allocates also frees. A PasterBuffer carries its owner's release function; a PasterSlice is
 *   borrowed for the call.
 * - Every table begins with its size in bytes; fields are only ever added at its end. Use no field beyond that size.
 * - An object (PasterExchange, PasterNext, PasterBody, PasterIo, PasterTask) is a pointer to a struct whose first
 *   member points to its table; the rest belongs to the side that made it. Only one thread at a time calls its
 *   functions, not always the same one, and none after its `drop`.
 * - A `poll_` function never blocks. When it returns PASTER_PENDING, it has kept a clone of the waker and wakes it
 *   when it should be called again.
 * - No C++ exception and no longjmp may cross.
 */

#ifndef PASTER_H
#define PASTER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct PasterWaker;
struct PasterBody;
struct PasterIo;
struct PasterTask;
struct PasterExchange;
struct PasterNext;

/*
 Version of the ABI. Raised by any change other than adding fields at the end of a table.
 */
#define PASTER_ABI_VERSION 1

/*
 Length of a body whose length is not known before it ends.
 */
#define PASTER_LENGTH_UNKNOWN UINT64_MAX

/*
 No frame. In `Head.first`: the host must call `poll_body` for the body.
 */
#define PASTER_FRAME_NONE 0

/*
 `data` holds bytes of the body.
 */
#define PASTER_FRAME_DATA 1

/*
 `headers` holds the trailer fields. They end the body.
 */
#define PASTER_FRAME_TRAILERS 2

/*
 The body has ended and is complete.
 */
#define PASTER_FRAME_END 3

/*
 The body was aborted; `data` holds the reason as text. What was received is incomplete.
 */
#define PASTER_FRAME_ERROR 4

/*
 `poll_read` and `poll_write` return a number of bytes or this: not yet, the waker will be woken.
 */
#define PASTER_IO_PENDING -1

/*
 The byte stream failed.
 */
#define PASTER_IO_FAILED -2

/*
 The request's connection can be taken over: respond with 101 and wait for `upgraded`.
 */
#define PASTER_REQUEST_UPGRADABLE 1

/*
 The client's connection is TLS.
 */
#define PASTER_REQUEST_SECURE 2

/*
 Level of a log record: an error.
 */
#define PASTER_LOG_ERROR 1

/*
 Level of a log record: a warning.
 */
#define PASTER_LOG_WARN 2

/*
 Level of a log record: for operators.
 */
#define PASTER_LOG_INFO 3

/*
 Level of a log record: for developers.
 */
#define PASTER_LOG_DEBUG 4

/*
 Level of a log record: every detail.
 */
#define PASTER_LOG_TRACE 5

/*
 What a function returns: one of `PENDING`, `READY`, `FAILED`, `PANICKED`.
 */
typedef uint32_t PasterStatus;

/*
 Borrowed bytes, valid during the call that passes them unless documented otherwise. Text is UTF-8 without
 a NUL at its end. `data` may be null if `len` is 0.
 */
typedef struct PasterSlice {
    /*
     First byte.
     */
    const uint8_t *data;
    /*
     Number of bytes.
     */
    size_t len;
} PasterSlice;

/*
 Bytes with their owner. The receiver reads `len` bytes at `data`, then calls `release(owner)` exactly
 once, from any thread. If `release` is null, there is nothing to free, and the bytes live as long as the
 process.
 */
typedef struct PasterBuffer {
    /*
     First byte; may be null if `len` is 0.
     */
    const uint8_t *data;
    /*
     Number of bytes.
     */
    size_t len;
    /*
     Passed to `release`.
     */
    void *owner;
    /*
     Frees the bytes; null for static bytes.
     */
    void (*release)(void *owner);
} PasterBuffer;

/*
 One header field. Names are lower case.
 */
typedef struct PasterHeader {
    /*
     The name's number in the list of well-known names that the headers are built with, or 0. It is a
     shortcut between two Rust sides: writing 0 is always correct, and `name` is always set.
     */
    size_t number;
    /*
     Name, in lower-case token characters.
     */
    struct PasterSlice name;
    /*
     Value: any bytes except control characters.
     */
    struct PasterSlice value;
} PasterHeader;

/*
 An IP address with a port.
 */
typedef struct PasterAddress {
    /*
     4, 6, or 0 if there is no address.
     */
    uint8_t family;
    /*
     Four octets for IPv4 or sixteen for IPv6, in network order.
     */
    uint8_t octets[16];
    /*
     Port in host byte order; 0 if unknown.
     */
    uint16_t port;
} PasterAddress;

/*
 Functions of a waker. Any thread may call them.
 */
typedef struct PasterWakerTable {
    /*
     Size of this table in bytes.
     */
    size_t size_bytes;
    /*
     Writes a clone to `out`. Each clone must end with one `wake` or one `drop`.
     */
    void (*clone)(const struct PasterWaker *waker, struct PasterWaker *out);
    /*
     Wakes and ends the clone.
     */
    void (*wake)(const struct PasterWaker *waker);
    /*
     Wakes and keeps the waker.
     */
    void (*wake_by_ref)(const struct PasterWaker *waker);
    /*
     Ends the clone without waking.
     */
    void (*drop)(const struct PasterWaker *waker);
} PasterWakerTable;

/*
 Wakes the caller of a `poll_…` function. Passed by pointer and borrowed for the call. A function that
 returns pending keeps a clone: three words, by value. Two wakers with equal words wake the same caller.
 */
typedef struct PasterWaker {
    /*
     Its functions.
     */
    const struct PasterWakerTable *table;
    /*
     Belongs to the side that made it.
     */
    const void *data;
    /*
     Belongs to the side that made it.
     */
    const void *extra;
} PasterWaker;

/*
 A piece of a body. Its reader takes over `data`.
 */
typedef struct PasterFrame {
    /*
     One of `FRAME_…`.
     */
    uint32_t kind;
    /*
     With `FRAME_DATA`: 1 if the body ends after this piece, which saves a call for the end.
     */
    uint32_t last;
    /*
     The bytes, or the text of the error.
     */
    struct PasterBuffer data;
    /*
     Trailer fields, valid until the next call of a function of the same object.
     */
    const struct PasterHeader *headers;
    /*
     Number of trailer fields.
     */
    size_t header_count;
} PasterFrame;

/*
 Functions of a body.
 */
typedef struct PasterBodyTable {
    /*
     Size of this table in bytes.
     */
    size_t size_bytes;
    /*
     Asks for the next frame. `READY`: `out` is written. `PENDING`: the waker will be woken. `FAILED` and
     `PANICKED` count as an error frame.
     */
    PasterStatus (*poll_frame)(struct PasterBody *body,
                               const struct PasterWaker *waker,
                               struct PasterFrame *out);
    /*
     Ends it.
     */
    void (*drop)(struct PasterBody *body);
} PasterBodyTable;

/*
 A body to read: a request's, made by the host, or by a middleware for the next part. The reader drops it
 when it needs no more.
 */
typedef struct PasterBody {
    /*
     Its functions.
     */
    const struct PasterBodyTable *table;
} PasterBody;

/*
 Functions of a byte stream.
 */
typedef struct PasterIoTable {
    /*
     Size of this table in bytes.
     */
    size_t size_bytes;
    /*
     Reads up to `len` bytes into `data`. Returns the number read, 0 at the end, or `IO_PENDING` or
     `IO_FAILED`.
     */
    ptrdiff_t (*poll_read)(struct PasterIo *io, const struct PasterWaker *waker, uint8_t *data, size_t len);
    /*
     Writes up to `len` bytes. Returns the number written, or `IO_PENDING` or `IO_FAILED`.
     */
    ptrdiff_t (*poll_write)(struct PasterIo *io,
                            const struct PasterWaker *waker,
                            const uint8_t *data,
                            size_t len);
    /*
     Sends what is buffered.
     */
    PasterStatus (*poll_flush)(struct PasterIo *io, const struct PasterWaker *waker);
    /*
     Shuts down the writing side.
     */
    PasterStatus (*poll_shutdown)(struct PasterIo *io, const struct PasterWaker *waker);
    /*
     Closes it.
     */
    void (*drop)(struct PasterIo *io);
} PasterIoTable;

/*
 A byte stream in both directions: an upgraded connection, made by the host and taken over by the plugin.
 Reading and writing have separate wakers, so a clone for reading does not replace the one for writing.
 */
typedef struct PasterIo {
    /*
     Its functions.
     */
    const struct PasterIoTable *table;
} PasterIo;

/*
 Functions of a task.
 */
typedef struct PasterTaskTable {
    /*
     Size of this table in bytes.
     */
    size_t size_bytes;
    /*
     `READY`: done; `out` holds the result's text, which may be empty. `FAILED`, `PANICKED`: `out` holds
     the reason.
     */
    PasterStatus (*poll)(struct PasterTask *task, const struct PasterWaker *waker, struct PasterBuffer *out);
    /*
     Ends it and cancels what is not done.
     */
    void (*drop)(struct PasterTask *task);
} PasterTaskTable;

/*
 Work of a plugin that the host waits for: a health probe or a task.
 */
typedef struct PasterTask {
    /*
     Its functions.
     */
    const struct PasterTaskTable *table;
} PasterTask;

/*
 What a client's TLS certificate states. Borrowed for the duration of `call`.
 */
typedef struct PasterClientCertificate {
    /*
     Size of this table in bytes.
     */
    size_t size_bytes;
    /*
     Distinguished name of the subject by RFC 4514: `CN=ada,O=Example,C=DE`.
     */
    struct PasterSlice subject;
    /*
     Common name of the subject; otherwise empty.
     */
    struct PasterSlice common_name;
    /*
     Serial number in hexadecimal digits: `01A2`; empty if unknown.
     */
    struct PasterSlice serial;
    /*
     SHA-256 of the certificate in lower-case hexadecimal digits; empty if unknown.
     */
    struct PasterSlice sha256;
    /*
     Subject alternative names: `DNS:a.example`, `email:ada@a.example`, `URI:spiffe://a.example/ada`, `IP:192.0.2.7`.
     */
    const struct PasterSlice *names;
    /*
     Number of subject alternative names.
     */
    size_t name_count;
} PasterClientCertificate;

/*
 A request. All slices are borrowed for the duration of `call`. The body belongs to the plugin from then
 on.
 */
typedef struct PasterRequest {
    /*
     Size of this table in bytes.
     */
    size_t size_bytes;
    /*
     `REQUEST_…` flags.
     */
    uint32_t flags;
    /*
     HTTP version: 9, 10, 11, 20 or 30.
     */
    uint16_t version;
    /*
     Port of the effective host; 0 if none was given.
     */
    uint16_t host_port;
    /*
     Method, in upper case: `GET`.
     */
    struct PasterSlice method;
    /*
     Path and query after the gate, percent-encoded, without the mount's prefix: `/a/b?c=d`.
     */
    struct PasterSlice target;
    /*
     Header fields, in order of arrival.
     */
    const struct PasterHeader *headers;
    /*
     Number of header fields.
     */
    size_t header_count;
    /*
     The body, or null if there is none. The plugin drops it.
     */
    struct PasterBody *body;
    /*
     Length of the body in bytes, or `LENGTH_UNKNOWN`.
     */
    uint64_t body_length;
    /*
     The client's address.
     */
    struct PasterAddress client;
    /*
     The other end of the socket.
     */
    struct PasterAddress peer;
    /*
     The effective host, in lower case, without a port.
     */
    struct PasterSlice host;
    /*
     The address that the server listens on: `127.0.0.1:8080` or `unix:/run/app.sock`.
     */
    struct PasterSlice listen;
    /*
     The prefix that mounts removed from the path: empty or `/a/b`.
     */
    struct PasterSlice script_name;
    /*
     The server's name in the config.
     */
    struct PasterSlice server;
    /*
     Scheme of the target, if it has one.
     */
    struct PasterSlice scheme;
    /*
     Authority of the target, if it has one (`CONNECT`, HTTP/2).
     */
    struct PasterSlice authority;
    /*
     The `:protocol` of an extended CONNECT (RFC 8441); otherwise empty.
     */
    struct PasterSlice protocol;
    /*
     The user that the client authenticated as; otherwise empty. Never from a header field that the client
     could have written.
     */
    struct PasterSlice user;
    /*
     How the client authenticated: `Basic`, `CLIENT_CERT`, or what a web server in front reported;
     otherwise empty.
     */
    struct PasterSlice auth_type;
    /*
     The request's id, if the middleware `request_id` set one; otherwise empty.
     */
    struct PasterSlice request_id;
    /*
     The client's TLS certificate, verified against the server's authorities, or null.
     */
    const struct PasterClientCertificate *certificate;
    /*
     The data of the session as a JSON object, if the middleware `session` is in the stack; otherwise empty.
     */
    struct PasterSlice session;
    /*
     The groups of `user`, separated by commas; otherwise empty. No name contains a comma.
     */
    struct PasterSlice groups;
} PasterRequest;

/*
 The head of a response, written by `poll_head`. The caller sets `size_bytes` and clears the rest.
 */
typedef struct PasterHead {
    /*
     Size of this table in bytes.
     */
    size_t size_bytes;
    /*
     Status, 100 to 999.
     */
    uint32_t status;
    /*
     Header fields, valid until the same thread next calls any function of the side that wrote the head.
     */
    const struct PasterHeader *headers;
    /*
     Number of header fields.
     */
    size_t header_count;
    /*
     Length of the body in bytes, or `LENGTH_UNKNOWN`.
     */
    uint64_t body_length;
    /*
     The body's first frame, if it is ready. With `FRAME_NONE` the host calls `poll_body`.
     */
    struct PasterFrame first;
    /*
     With `FAILED` and `PANICKED`: the reason, for the log and the error page in development.
     */
    struct PasterBuffer error;
    /*
     A small body, complete, lent like `headers`, which saves a buffer. Then `first` is `FRAME_END`. Only
     used if `size_bytes` shows that the host knows this field.
     */
    struct PasterSlice body;
    /*
     What the plugin has changed in the session, as JSON: `{"set": {"KEY": VALUE}, "remove": ["KEY"], "renew": true,
     "end": true}`, where every part may be missing. Empty if nothing has changed. Only used if `size_bytes` shows that
     the host knows this field.
     */
    struct PasterBuffer session;
} PasterHead;

/*
 Functions of an exchange.
 */
typedef struct PasterExchangeTable {
    /*
     Size of this table in bytes.
     */
    size_t size_bytes;
    /*
     Asks for the head. `READY`: `out` is written. `FAILED`, `PANICKED`: `out.error` is written, and the
     host responds with 500.
     */
    PasterStatus (*poll_head)(struct PasterExchange *exchange,
                              const struct PasterWaker *waker,
                              struct PasterHead *out);
    /*
     Asks for the next frame of the body. `READY`: `out` is written. Not called again after a frame that
     ends the body (`last`, trailers, end, error). `PANICKED` counts as an error frame.
     */
    PasterStatus (*poll_body)(struct PasterExchange *exchange,
                              const struct PasterWaker *waker,
                              struct PasterFrame *out);
    /*
     Passes the connection on after a 101, or a 2xx to CONNECT. `io` belongs to the plugin from then on.
     Null if the plugin never upgrades.
     */
    void (*upgraded)(struct PasterExchange *exchange, struct PasterIo *io);
    /*
     Ends it.
     */
    void (*drop)(struct PasterExchange *exchange);
} PasterExchangeTable;

/*
 One request and its response, made by a plugin, or by the host for `NextTable.call`: then the plugin is the
 caller. The caller, here the host, calls `poll_head` until it is not pending. Then it calls
 `poll_body` until the body ends, or `upgraded` after a response that switches protocols. Then it calls
 `drop`. A `drop` before the end means that the client has gone.
 */
typedef struct PasterExchange {
    /*
     Its functions.
     */
    const struct PasterExchangeTable *table;
} PasterExchange;

/*
 Functions of the rest of a stack.
 */
typedef struct PasterNextTable {
    /*
     Size of this table in bytes.
     */
    size_t size_bytes;
    /*
     Passes a request on. The request is borrowed for the call; its body, which may be the one that
     arrived, belongs to the host from then on. The exchange, which is never null, belongs to the plugin: it
     polls and drops it as the host does with the plugin's own, and may return it as its own. Dropping it
     before the end cancels the request. May be called several times, for instance to try again.

     The method, target, scheme, authority, header fields, body and these facts are taken from the request:
     `client`, `host`, `host_port`, `script_name`, `user`, `auth_type`, `groups`, `request_id` and
     `REQUEST_SECURE`. The others stay as they arrived. The host corrects `content-length` if the body is
     another one or was begun to be read.

     A head with 101, or a 2xx to CONNECT, means that the next part takes the connection over: the
     middleware passes the head on, and its own `upgraded` is not called.
     */
    struct PasterExchange *(*call)(struct PasterNext *next, const struct PasterRequest *request);
    /*
     Makes changes in the session before a request is passed on: JSON as in `Head.session`. `FAILED` if there
     is no session, or if it is not such JSON.
     */
    PasterStatus (*change_session)(struct PasterNext *next, struct PasterSlice changes);
    /*
     Ends it.
     */
    void (*drop)(struct PasterNext *next);
} PasterNextTable;

/*
 The rest of a stack for one request, made by the host for a middleware, which drops it. It may be dropped
 before the exchanges that it has made.
 */
typedef struct PasterNext {
    /*
     Its functions.
     */
    const struct PasterNextTable *table;
} PasterNext;

/*
 One field of a log record.
 */
typedef struct PasterLogField {
    /*
     Name.
     */
    struct PasterSlice name;
    /*
     Value as text.
     */
    struct PasterSlice value;
} PasterLogField;

/*
 One log record, borrowed for the call.
 */
typedef struct PasterLogRecord {
    /*
     Size of this table in bytes.
     */
    size_t size_bytes;
    /*
     One of `LOG_…`.
     */
    uint32_t level;
    /*
     The part that logs, as a module path.
     */
    struct PasterSlice target;
    /*
     What happened.
     */
    struct PasterSlice message;
    /*
     Fields.
     */
    const struct PasterLogField *fields;
    /*
     Number of fields.
     */
    size_t field_count;
} PasterLogRecord;

/*
 What the host offers to one app. It lives as long as the process; any thread may call its functions.
 */
typedef struct PasterHost {
    /*
     Size of this table in bytes.
     */
    size_t size_bytes;
    /*
     The first argument of its functions.
     */
    const void *context;
    /*
     Number of the generation, from 1.
     */
    uint64_t generation;
    /*
     1 in development: pages may show the causes of errors.
     */
    uint32_t development;
    /*
     The most detailed `LOG_…` level that is logged.
     */
    uint32_t log_level;
    /*
     Name of the app in the config; of middleware, `middleware.NAME`.
     */
    struct PasterSlice app;
    /*
     Writes a log record.
     */
    void (*log)(const void *context, const struct PasterLogRecord *record);
    /*
     Adds `count` to the app's counter `name`.
     */
    void (*count)(const void *context, struct PasterSlice name, uint64_t count);
    /*
     Writes the whole merged config to `out`, as JSON.
     */
    void (*config)(const void *context, struct PasterBuffer *out);
    /*
     Makes sure that the side process `name` runs, and waits until it does. `READY`: `out` holds the path
     of its Unix socket. `FAILED`: `out` holds the reason.
     */
    PasterStatus (*side_process)(const void *context, struct PasterSlice name, struct PasterBuffer *out);
    /*
     Sets the path of the app, optionally with a query, that the user should open. The host shows the full
     address on the terminal once it serves, and never logs it. Only present if `size_bytes` covers it.
     */
    void (*announce)(const void *context, struct PasterSlice path);
} PasterHost;

/*
 What a plugin exports as `PASTER_PLUGIN`. A function that a plugin does not have is null, but `create`,
 `destroy` and one of `call` (an application) and `call_middleware` (middleware) are required. `app` is the
 plugin's own pointer, as `create` wrote it: an application, or a middleware, which all stacks that name it
 share. Any number of threads may call functions with the same `app` at once.
 */
typedef struct PasterPlugin {
    /*
     `PASTER_ABI_VERSION`.
     */
    uint32_t abi_version;
    /*
     Size of this table in bytes when the plugin was built.
     */
    uint32_t size_bytes;
    /*
     Name of the plugin.
     */
    struct PasterSlice name;
    /*
     Version of the plugin.
     */
    struct PasterSlice version;
    /*
     Names of the side processes that `run_side` knows.
     */
    const struct PasterSlice *sides;
    /*
     Number of side processes.
     */
    size_t side_count;
    /*
     Writes the JSON Schema of the settings to `out`.
     */
    void (*settings_schema)(struct PasterBuffer *out);
    /*
     Creates an app from `settings` (JSON, checked against the schema) and from what the previous
     generation saved (`saved_state`; null if nothing). May block. `READY`: `*app` is written. `FAILED`,
     `PANICKED`: `error` holds the reason.
     */
    PasterStatus (*create)(struct PasterSlice settings,
                           const struct PasterHost *host,
                           const struct PasterSlice *saved_state,
                           void **app,
                           struct PasterBuffer *error);
    /*
     Starts to handle a request as the application; never null. The request is borrowed for this call.
     */
    struct PasterExchange *(*call)(void *app, const struct PasterRequest *request);
    /*
     Starts a health probe. A null task means healthy.
     */
    struct PasterTask *(*health)(void *app);
    /*
     Writes the state for the next generation to `out`. `READY`: there is some. `FAILED`: there is none.
     */
    PasterStatus (*save_state)(void *app, struct PasterBuffer *out);
    /*
     A newer generation has taken over: new requests only come on connections that are already open.
     */
    void (*retire)(void *app);
    /*
     The generation ends soon: close what is left. Must not block.
     */
    void (*shutdown)(void *app);
    /*
     Frees the app. It has no exchange or task left.
     */
    void (*destroy)(void *app);
    /*
     Writes the app's tasks to `out`, as a JSON array of `{"name", "summary"}`.
     */
    void (*list_tasks)(void *app, struct PasterBuffer *out);
    /*
     Starts the task `name` with arguments as JSON; null if there is no task with that name.
     */
    struct PasterTask *(*run_task)(void *app, struct PasterSlice name, struct PasterSlice arguments);
    /*
     Runs the side process `name` on a listening Unix socket until it ends, and returns the exit status.
     Called in a separate process, without `create`.
     */
    int (*run_side)(struct PasterSlice name, int socket);
    /*
     Starts to handle a request as middleware; never null. The request is borrowed for this call; `next` is
     the rest of the stack for this request, and belongs to the plugin from then on. Only present if
     `size_bytes` covers it.
     */
    struct PasterExchange *(*call_middleware)(void *app,
                                              const struct PasterRequest *request,
                                              struct PasterNext *next);
} PasterPlugin;

/*
 Not yet: the waker that was passed will be woken.
 */
#define PASTER_PENDING 0

/*
 Done: the results are written.
 */
#define PASTER_READY 1

/*
 Failed: the error text is written where the function documents it.
 */
#define PASTER_FAILED 2

/*
 Failed with a panic (in Rust) or similar: a bug in the program, counted separately.
 */
#define PASTER_PANICKED 3

#endif  /* PASTER_H */

#if defined(_WIN32)
#define PASTER_EXPORT __declspec(dllexport)
#else
#define PASTER_EXPORT __attribute__((visibility("default"), used))
#endif

/* A PasterSlice for a string literal, in an initializer. */
#define PASTER_TEXT(literal) { (const uint8_t *)(literal), sizeof(literal) - 1 }

/* A copy of a request, to change it before it is passed to PasterNextTable.call. It borrows what `request` borrows. */
static inline PasterRequest paster_request_copy(const PasterRequest *request)
{
    PasterRequest copy;
    memset(&copy, 0, sizeof copy);
    memcpy(&copy, request, request->size_bytes < sizeof copy ? request->size_bytes : sizeof copy);
    copy.size_bytes = sizeof copy;
    return copy;
}
