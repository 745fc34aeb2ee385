/* A paster plugin in C.
 *
 *   GET  /        a greeting, in one piece
 *   GET  /stream  a thousand lines, each made after the client has read the one before
 *   POST /count   reads the request's body as it arrives; responds with its length and a checksum
 *
 * Nothing here blocks or waits. A function that must wait passes the waker on and returns PASTER_PENDING.
 */
#include "paster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { HELLO, STREAM, COUNT, NOT_FOUND, WRONG_METHOD };

struct app {
    const PasterHost *host;
};

/* One request and its response. Paster sees only the first member. */
struct exchange {
    PasterExchange base;
    enum kind kind;
    PasterBody *body;     /* the request's, until it is read; null if there is none */
    uint64_t length;      /* COUNT: bytes so far */
    uint32_t checksum;    /* COUNT: FNV-1a so far */
    unsigned line;        /* STREAM: lines sent so far */
};

static PasterSlice text(const char *literal)
{
    PasterSlice slice = { (const uint8_t *)literal, strlen(literal) };
    return slice;
}

static int equal(PasterSlice slice, const char *literal)
{
    return slice.len == strlen(literal) && memcmp(slice.data, literal, slice.len) == 0;
}

/* A buffer that owns a copy of `string`. Paster calls free when it has sent it. */
static PasterBuffer owned(const char *string)
{
    size_t len = strlen(string);
    char *copy = malloc(len + 1);
    PasterBuffer buffer = { (const uint8_t *)copy, copy ? len : 0, copy, copy ? free : NULL };
    if (copy)
        memcpy(copy, string, len + 1);
    return buffer;
}

/* A buffer of bytes that live as long as the process. There is nothing to free. */
static PasterBuffer lasting(const char *literal)
{
    PasterBuffer buffer = { (const uint8_t *)literal, strlen(literal), NULL, NULL };
    return buffer;
}

static void done_with(PasterBuffer *buffer)
{
    if (buffer->release)
        buffer->release(buffer->owner);
}

/* Reads what has arrived of the request's body. PASTER_READY: all of it was read. PASTER_FAILED: it was aborted. */
static PasterStatus count(struct exchange *exchange, const PasterWaker *waker, PasterBuffer *error)
{
    while (exchange->body) {
        PasterFrame frame = { 0 };
        /* The waker is passed to the body: paster polls this exchange again when there is more. */
        if (exchange->body->table->poll_frame(exchange->body, waker, &frame) == PASTER_PENDING)
            return PASTER_PENDING;
        if (frame.kind == PASTER_FRAME_ERROR) {
            *error = frame.data; /* the client has gone or sent too much; the reason goes to the log */
            return PASTER_FAILED;
        }
        for (size_t i = 0; i < frame.data.len; i++)
            exchange->checksum = (exchange->checksum ^ frame.data.data[i]) * 16777619u;
        exchange->length += frame.data.len;
        done_with(&frame.data);
        if (frame.kind != PASTER_FRAME_DATA || frame.last) {
            exchange->body->table->drop(exchange->body);
            exchange->body = NULL;
        }
    }
    return PASTER_READY;
}

static PasterStatus poll_head(PasterExchange *base, const PasterWaker *waker, PasterHead *out)
{
    static const PasterHeader plain[] = {
        { 0, PASTER_TEXT("content-type"), PASTER_TEXT("text/plain; charset=utf-8") },
        { 0, PASTER_TEXT("allow"), PASTER_TEXT("POST") },
    };
    struct exchange *exchange = (struct exchange *)base;
    char line[64];

    out->status = 200;
    out->headers = plain;
    out->header_count = 1;
    switch (exchange->kind) {
    case STREAM:
        return PASTER_READY; /* poll_body sends the body */
    case COUNT: {
        PasterStatus status = count(exchange, waker, &out->error);
        if (status != PASTER_READY)
            return status;
        snprintf(line, sizeof line, "%llu bytes, FNV-1a %08x\n", (unsigned long long)exchange->length,
                 (unsigned)exchange->checksum);
        out->first.data = owned(line);
        break;
    }
    case HELLO:
        out->first.data = lasting("Hello from C\n");
        break;
    case NOT_FOUND:
        out->status = 404;
        out->first.data = lasting("not found\n");
        break;
    case WRONG_METHOD:
        out->status = 405;
        out->header_count = 2;
        out->first.data = lasting("use POST\n");
        break;
    }
    /* The whole body is sent with the head. */
    out->body_length = out->first.data.len;
    out->first.kind = PASTER_FRAME_DATA;
    out->first.last = 1;
    return PASTER_READY;
}

static PasterStatus poll_body(PasterExchange *base, const PasterWaker *waker, PasterFrame *out)
{
    struct exchange *exchange = (struct exchange *)base;
    char line[32];

    (void)waker; /* there is always something to send */
    if (exchange->line == 1000) {
        out->kind = PASTER_FRAME_END;
        return PASTER_READY;
    }
    snprintf(line, sizeof line, "line %u\n", ++exchange->line);
    out->kind = PASTER_FRAME_DATA;
    out->data = owned(line);
    return PASTER_READY;
}

/* Called at the end, or earlier if the client has gone. */
static void drop(PasterExchange *base)
{
    struct exchange *exchange = (struct exchange *)base;
    if (exchange->body)
        exchange->body->table->drop(exchange->body);
    free(exchange);
}

static const PasterExchangeTable exchange_table = {
    .size_bytes = sizeof(PasterExchangeTable),
    .poll_head = poll_head,
    .poll_body = poll_body,
    .drop = drop,
};

static PasterExchange *call(void *app, const PasterRequest *request)
{
    struct exchange *exchange = calloc(1, sizeof *exchange);
    size_t path = 0;

    (void)app;
    if (!exchange) { /* we own the body in any case */
        if (request->body)
            request->body->table->drop(request->body);
        return NULL; /* paster responds with 500 */
    }
    exchange->base.table = &exchange_table;
    exchange->body = request->body;
    exchange->checksum = 2166136261u;
    while (path < request->target.len && request->target.data[path] != '?')
        path++;
    PasterSlice route = { request->target.data, path };
    if (equal(route, "/"))
        exchange->kind = HELLO;
    else if (equal(route, "/stream"))
        exchange->kind = STREAM;
    else if (equal(route, "/count"))
        exchange->kind = equal(request->method, "POST") ? COUNT : WRONG_METHOD;
    else
        exchange->kind = NOT_FOUND;
    return &exchange->base;
}

static PasterStatus create(PasterSlice settings, const PasterHost *host, const PasterSlice *saved_state, void **out,
                           PasterBuffer *error)
{
    struct app *app = malloc(sizeof *app);
    PasterLogRecord record = {
        .size_bytes = sizeof record,
        .level = PASTER_LOG_DEBUG,
        .target = text("hello-c"),
        .message = text("created"),
    };

    (void)settings; /* JSON: `{}`, because the schema allows nothing else */
    (void)saved_state;
    if (!app) {
        *error = lasting("no memory");
        return PASTER_FAILED;
    }
    app->host = host;
    host->log(host->context, &record);
    *out = app;
    return PASTER_READY;
}

static void destroy(void *app)
{
    free(app);
}

static void settings_schema(PasterBuffer *out)
{
    *out = lasting("{\"type\": \"object\", \"additionalProperties\": false}");
}

PASTER_EXPORT const PasterPlugin PASTER_PLUGIN = {
    .abi_version = PASTER_ABI_VERSION,
    .size_bytes = sizeof(PasterPlugin),
    .name = PASTER_TEXT("hello-c"),
    .version = PASTER_TEXT("1.0.0"),
    .settings_schema = settings_schema,
    .create = create,
    .call = call,
    .destroy = destroy,
};
