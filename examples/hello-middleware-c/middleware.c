/* Middleware in C, as a paster plugin.
 *
 *   - answers GET /hello-c itself
 *   - passes every other request on, with the field `x-through: c`
 *   - adds the same field to the response, and turns plain text into upper case while it is streamed
 *
 * Nothing here blocks or waits: the waker is passed on to the next part, which wakes paster when there is more.
 */
#include "paster.h"

#include <stdlib.h>
#include <string.h>

/* One request and its response. Paster sees only the first member. */
struct exchange {
    PasterExchange base;
    PasterExchange *next;  /* the request that was passed on; null for our own answer */
    PasterHeader *headers; /* of the response, with ours */
    int upper;             /* whether the body is turned into upper case */
};

static const PasterHeader through = { 0, PASTER_TEXT("x-through"), PASTER_TEXT("c") };

static int begins(PasterSlice slice, const char *literal)
{
    return slice.len >= strlen(literal) && memcmp(slice.data, literal, strlen(literal)) == 0;
}

static int equal(PasterSlice slice, const char *literal)
{
    return slice.len == strlen(literal) && begins(slice, literal);
}

/* A buffer of bytes that live as long as the process. There is nothing to free. */
static PasterBuffer lasting(const char *literal)
{
    PasterBuffer buffer = { (const uint8_t *)literal, strlen(literal), NULL, NULL };
    return buffer;
}

/* An array of `count` fields and one more. */
static PasterHeader *one_more(const PasterHeader *headers, size_t count)
{
    PasterHeader *more = malloc((count + 1) * sizeof *more);
    if (!more)
        return NULL;
    if (count)
        memcpy(more, headers, count * sizeof *more);
    more[count] = through;
    return more;
}

/* Replaces the bytes by their upper case. They belong to another part, so they are copied, then released. */
static PasterStatus raise_case(PasterBuffer *data)
{
    uint8_t *copy = malloc(data->len ? data->len : 1);
    if (!copy)
        return PASTER_FAILED;
    for (size_t i = 0; i < data->len; i++) {
        uint8_t byte = data->data[i];
        copy[i] = byte >= 'a' && byte <= 'z' ? (uint8_t)(byte - 'a' + 'A') : byte;
    }
    if (data->release)
        data->release(data->owner);
    data->data = copy;
    data->owner = copy;
    data->release = free;
    return PASTER_READY;
}

static PasterStatus poll_head(PasterExchange *base, const PasterWaker *waker, PasterHead *out)
{
    struct exchange *exchange = (struct exchange *)base;
    PasterStatus status;

    if (!exchange->next) {
        out->status = 200;
        out->headers = &through;
        out->header_count = 1;
        out->first.kind = PASTER_FRAME_DATA;
        out->first.last = 1;
        out->first.data = lasting("Hello from middleware in C\n");
        out->body_length = out->first.data.len;
        return PASTER_READY;
    }
    status = exchange->next->table->poll_head(exchange->next, waker, out);
    if (status != PASTER_READY)
        return status; /* not yet; or it failed, and the reason is in `out` already */
    for (size_t i = 0; i < out->header_count; i++) {
        if (equal(out->headers[i].name, "content-type") && begins(out->headers[i].value, "text/plain"))
            exchange->upper = 1;
    }
    exchange->headers = one_more(out->headers, out->header_count);
    if (!exchange->headers) {
        out->error = lasting("no memory");
        return PASTER_FAILED;
    }
    out->headers = exchange->headers;
    out->header_count++;
    if (exchange->upper && out->first.kind == PASTER_FRAME_DATA && raise_case(&out->first.data) != PASTER_READY) {
        out->error = lasting("no memory");
        return PASTER_FAILED;
    }
    return PASTER_READY;
}

static PasterStatus poll_body(PasterExchange *base, const PasterWaker *waker, PasterFrame *out)
{
    struct exchange *exchange = (struct exchange *)base;
    PasterStatus status = exchange->next->table->poll_body(exchange->next, waker, out);

    if (status == PASTER_READY && exchange->upper && out->kind == PASTER_FRAME_DATA)
        return raise_case(&out->data);
    return status;
}

/* Called at the end, or earlier if the client has gone. Then the next part is told in the same way. */
static void drop(PasterExchange *base)
{
    struct exchange *exchange = (struct exchange *)base;
    if (exchange->next)
        exchange->next->table->drop(exchange->next);
    free(exchange->headers);
    free(exchange);
}

/* There is no `upgraded`: if the next part switches to WebSockets, it takes the connection over itself. */
static const PasterExchangeTable exchange_table = {
    .size_bytes = sizeof(PasterExchangeTable),
    .poll_head = poll_head,
    .poll_body = poll_body,
    .drop = drop,
};

static PasterExchange *call_middleware(void *app, const PasterRequest *request, PasterNext *next)
{
    struct exchange *exchange = calloc(1, sizeof *exchange);
    PasterHeader *headers = one_more(request->headers, request->header_count);
    int own = equal(request->target, "/hello-c");

    (void)app;
    if (exchange)
        exchange->base.table = &exchange_table;
    if (exchange && headers && !own) {
        PasterRequest changed = paster_request_copy(request);
        changed.headers = headers;
        changed.header_count++;
        exchange->next = next->table->call(next, &changed); /* this hands the body over */
    } else if (request->body) {
        request->body->table->drop(request->body); /* we own the body in any case */
    }
    next->table->drop(next); /* the exchange does not need it any more */
    if (!headers) {
        free(exchange);
        return NULL; /* paster responds with 500 */
    }
    free(headers);
    return exchange ? &exchange->base : NULL;
}

static PasterStatus create(PasterSlice settings, const PasterHost *host, const PasterSlice *saved_state, void **out,
                           PasterBuffer *error)
{
    (void)settings; /* JSON: `{}`, because the schema allows nothing else */
    (void)host;
    (void)saved_state;
    (void)error;
    *out = NULL; /* it keeps nothing */
    return PASTER_READY;
}

static void destroy(void *app)
{
    (void)app;
}

static void settings_schema(PasterBuffer *out)
{
    *out = lasting("{\"type\": \"object\", \"additionalProperties\": false}");
}

PASTER_EXPORT const PasterPlugin PASTER_PLUGIN = {
    .abi_version = PASTER_ABI_VERSION,
    .size_bytes = sizeof(PasterPlugin),
    .name = PASTER_TEXT("hello-middleware-c"),
    .version = PASTER_TEXT("1.0.0"),
    .settings_schema = settings_schema,
    .create = create,
    .destroy = destroy,
    .call_middleware = call_middleware,
};
