//! A request and its response: the input and output of `call`, and the rest of the stack for a middleware.

use crate::{Address, Body, Buffer, Frame, Header, Io, LENGTH_UNKNOWN, Slice, Status, Waker};

/// The request's connection can be taken over: respond with 101 and wait for `upgraded`.
pub const REQUEST_UPGRADABLE: u32 = 1;
/// The client's connection is TLS.
pub const REQUEST_SECURE: u32 = 2;

/// A request. All slices are borrowed for the duration of `call`. The body belongs to the plugin from then
/// on.
#[repr(C)]
pub struct Request {
    /// Size of this table in bytes.
    pub size_bytes: usize,
    /// `REQUEST_…` flags.
    pub flags: u32,
    /// HTTP version: 9, 10, 11, 20 or 30.
    pub version: u16,
    /// Port of the effective host; 0 if none was given.
    pub host_port: u16,
    /// Method, in upper case: `GET`.
    pub method: Slice,
    /// Path and query after the gate, percent-encoded, without the mount's prefix: `/a/b?c=d`.
    pub target: Slice,
    /// Header fields, in order of arrival.
    pub headers: *const Header,
    /// Number of header fields.
    pub header_count: usize,
    /// The body, or null if there is none. The plugin drops it.
    pub body: *mut Body,
    /// Length of the body in bytes, or `LENGTH_UNKNOWN`.
    pub body_length: u64,
    /// The client's address.
    pub client: Address,
    /// The other end of the socket.
    pub peer: Address,
    /// The effective host, in lower case, without a port.
    pub host: Slice,
    /// The address that the server listens on: `127.0.0.1:8080` or `unix:/run/app.sock`.
    pub listen: Slice,
    /// The prefix that mounts removed from the path: empty or `/a/b`.
    pub script_name: Slice,
    /// The server's name in the config.
    pub server: Slice,
    /// Scheme of the target, if it has one.
    pub scheme: Slice,
    /// Authority of the target, if it has one (`CONNECT`, HTTP/2).
    pub authority: Slice,
    /// The `:protocol` of an extended CONNECT (RFC 8441); otherwise empty.
    pub protocol: Slice,
    /// The user that the client authenticated as; otherwise empty. Never from a header field that the client
    /// could have written.
    pub user: Slice,
    /// How the client authenticated: `Basic`, `CLIENT_CERT`, or what a web server in front reported;
    /// otherwise empty.
    pub auth_type: Slice,
    /// The request's id, if the middleware `request_id` set one; otherwise empty.
    pub request_id: Slice,
    /// The client's TLS certificate, verified against the server's authorities, or null.
    pub certificate: *const ClientCertificate,
    /// The data of the session as a JSON object, if the middleware `session` is in the stack; otherwise empty.
    pub session: Slice,
    /// The groups of `user`, separated by commas; otherwise empty. No name contains a comma.
    pub groups: Slice,
}

/// What a client's TLS certificate states. Borrowed for the duration of `call`.
#[repr(C)]
pub struct ClientCertificate {
    /// Size of this table in bytes.
    pub size_bytes: usize,
    /// Distinguished name of the subject by RFC 4514: `CN=ada,O=Example,C=DE`.
    pub subject: Slice,
    /// Common name of the subject; otherwise empty.
    pub common_name: Slice,
    /// Serial number in hexadecimal digits: `01A2`; empty if unknown.
    pub serial: Slice,
    /// SHA-256 of the certificate in lower-case hexadecimal digits; empty if unknown.
    pub sha256: Slice,
    /// Subject alternative names: `DNS:a.example`, `email:ada@a.example`, `URI:spiffe://a.example/ada`, `IP:192.0.2.7`.
    pub names: *const Slice,
    /// Number of subject alternative names.
    pub name_count: usize,
}

/// The head of a response, written by `poll_head`. The caller sets `size_bytes` and clears the rest.
#[repr(C)]
pub struct Head {
    /// Size of this table in bytes.
    pub size_bytes: usize,
    /// Status, 100 to 999.
    pub status: u32,
    /// Header fields, valid until the same thread next calls any function of the side that wrote the head.
    pub headers: *const Header,
    /// Number of header fields.
    pub header_count: usize,
    /// Length of the body in bytes, or `LENGTH_UNKNOWN`.
    pub body_length: u64,
    /// The body's first frame, if it is ready. With `FRAME_NONE` the host calls `poll_body`.
    pub first: Frame,
    /// With `FAILED` and `PANICKED`: the reason, for the log and the error page in development.
    pub error: Buffer,
    /// A small body, complete, lent like `headers`, which saves a buffer. Then `first` is `FRAME_END`. Only
    /// used if `size_bytes` shows that the host knows this field.
    pub body: Slice,
    /// What the plugin has changed in the session, as JSON: `{"set": {"KEY": VALUE}, "remove": ["KEY"], "renew": true,
    /// "end": true}`, where every part may be missing. Empty if nothing has changed. Only used if `size_bytes` shows that
    /// the host knows this field.
    pub session: Buffer,
}

/// One request and its response, made by a plugin, or by the host for `NextTable.call`: then the plugin is the
/// caller. The caller, here the host, calls `poll_head` until it is not pending. Then it calls
/// `poll_body` until the body ends, or `upgraded` after a response that switches protocols. Then it calls
/// `drop`. A `drop` before the end means that the client has gone.
#[repr(C)]
pub struct Exchange {
    /// Its functions.
    pub table: *const ExchangeTable,
}

/// Functions of an exchange.
#[repr(C)]
pub struct ExchangeTable {
    /// Size of this table in bytes.
    pub size_bytes: usize,
    /// Asks for the head. `READY`: `out` is written. `FAILED`, `PANICKED`: `out.error` is written, and the
    /// host responds with 500.
    pub poll_head:
        unsafe extern "C" fn(exchange: *mut Exchange, waker: *const Waker, out: *mut Head) -> Status,
    /// Asks for the next frame of the body. `READY`: `out` is written. Not called again after a frame that
    /// ends the body (`last`, trailers, end, error). `PANICKED` counts as an error frame.
    pub poll_body:
        unsafe extern "C" fn(exchange: *mut Exchange, waker: *const Waker, out: *mut Frame) -> Status,
    /// Passes the connection on after a 101, or a 2xx to CONNECT. `io` belongs to the plugin from then on.
    /// Null if the plugin never upgrades.
    pub upgraded: Option<unsafe extern "C" fn(exchange: *mut Exchange, io: *mut Io)>,
    /// Ends it.
    pub drop: unsafe extern "C" fn(exchange: *mut Exchange),
}

/// The rest of a stack for one request, made by the host for a middleware, which drops it. It may be dropped
/// before the exchanges that it has made.
#[repr(C)]
pub struct Next {
    /// Its functions.
    pub table: *const NextTable,
}

/// Functions of the rest of a stack.
#[repr(C)]
pub struct NextTable {
    /// Size of this table in bytes.
    pub size_bytes: usize,
    /// Passes a request on. The request is borrowed for the call; its body, which may be the one that
    /// arrived, belongs to the host from then on. The exchange, which is never null, belongs to the plugin: it
    /// polls and drops it as the host does with the plugin's own, and may return it as its own. Dropping it
    /// before the end cancels the request. May be called several times, for instance to try again.
    ///
    /// The method, target, scheme, authority, header fields, body and these facts are taken from the request:
    /// `client`, `host`, `host_port`, `script_name`, `user`, `auth_type`, `groups`, `request_id` and
    /// `REQUEST_SECURE`. The others stay as they arrived. The host corrects `content-length` if the body is
    /// another one or was begun to be read.
    ///
    /// A head with 101, or a 2xx to CONNECT, means that the next part takes the connection over: the
    /// middleware passes the head on, and its own `upgraded` is not called.
    pub call: unsafe extern "C" fn(next: *mut Next, request: *const Request) -> *mut Exchange,
    /// Makes changes in the session before a request is passed on: JSON as in `Head.session`. `FAILED` if there
    /// is no session, or if it is not such JSON.
    pub change_session: unsafe extern "C" fn(next: *mut Next, changes: Slice) -> Status,
    /// Ends it.
    pub drop: unsafe extern "C" fn(next: *mut Next),
}

impl Request {
    /// An empty request: the values of fields that an older host does not know.
    pub const EMPTY: Request = Request {
        size_bytes: size_of::<Request>(),
        flags: 0,
        version: 11,
        host_port: 0,
        method: Slice::EMPTY,
        target: Slice::EMPTY,
        headers: core::ptr::null(),
        header_count: 0,
        body: core::ptr::null_mut(),
        body_length: 0,
        client: Address::NONE,
        peer: Address::NONE,
        host: Slice::EMPTY,
        listen: Slice::EMPTY,
        script_name: Slice::EMPTY,
        server: Slice::EMPTY,
        scheme: Slice::EMPTY,
        authority: Slice::EMPTY,
        protocol: Slice::EMPTY,
        user: Slice::EMPTY,
        auth_type: Slice::EMPTY,
        request_id: Slice::EMPTY,
        certificate: core::ptr::null(),
        session: Slice::EMPTY,
        groups: Slice::EMPTY,
    };

    /// The request at `raw`. A shorter one, from an older host, is completed in `room`.
    /// # Safety
    /// `raw` must point to as many bytes as its `size_bytes` states, which live as long as `room`.
    pub unsafe fn read(raw: *const Request, room: &mut Option<Request>) -> &Request {
        // SAFETY: guaranteed by the caller; no more than `size_bytes` is read, and no more than `room` holds
        // is written.
        unsafe {
            let size = (*raw).size_bytes;
            if size >= size_of::<Request>() {
                return &*raw;
            }
            let room = room.insert(Request::EMPTY);
            core::ptr::copy_nonoverlapping(raw.cast::<u8>(), core::ptr::from_mut(room).cast::<u8>(), size);
            room
        }
    }
}

impl Head {
    /// A head that is not written yet.
    pub const EMPTY: Head = Head {
        size_bytes: size_of::<Head>(),
        status: 0,
        headers: core::ptr::null(),
        header_count: 0,
        body_length: LENGTH_UNKNOWN,
        first: Frame::NONE,
        error: Buffer::EMPTY,
        body: Slice::EMPTY,
        session: Buffer::EMPTY,
    };

    /// Whether the host that made it reads `body`.
    pub const fn has_body(&self) -> bool {
        self.size_bytes >= core::mem::offset_of!(Head, body) + size_of::<Slice>()
    }

    /// Whether the host that made it reads `session`.
    pub const fn has_session(&self) -> bool {
        self.size_bytes >= core::mem::offset_of!(Head, session) + size_of::<Buffer>()
    }
}
