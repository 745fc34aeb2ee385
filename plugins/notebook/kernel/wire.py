"""The built-in Python kernel of the paster notebook: Jupyter's messages, with only the standard library.

The files of this folder are joined to one, in the order of `BUILT_IN_SOURCE` (src/kernel/specs/mod.rs): this one is the first.
Run as `python paster_kernel.py SOCKET`. Each line on the Unix socket is one message as JSON, in both directions, with the
keys channel, header, parent_header, metadata and content. Works with Python 3.8 and newer.
"""

import ast
import asyncio
import builtins
import codecs
import inspect
import io
import itertools
import json
import keyword
import linecache
import os
import queue
import re
import signal
import socket
import sys
import threading
import time
import traceback
import types
import uuid
from base64 import b64encode
from datetime import datetime, timezone

VERSION = "1.0"
# How long output text is collected before it is sent to the page, in seconds.
FLUSH = 0.03


class Connection:
    """The socket, shared by all threads."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.lock = threading.Lock()
        self.session = uuid.uuid4().hex
        self.numbers = itertools.count(1)

    def send(self, channel, msg_type, content, parent, metadata=None):
        message = {
            "channel": channel,
            "header": {
                "msg_id": "%s_%d" % (self.session, next(self.numbers)),
                "msg_type": msg_type,
                "session": self.session,
                "username": "kernel",
                "date": datetime.now(timezone.utc).isoformat().replace("+00:00", "Z"),
                "version": "5.4",
            },
            "parent_header": parent.get("header", {}) if parent else {},
            "metadata": metadata or {},
            "content": content,
        }
        line = to_json(message).encode("utf-8", "replace") + b"\n"
        with HELD, self.lock:
            self.socket.sendall(line)


def to_json(value):
    """JSON that every reader accepts: NaN and infinities become null, unknown values their repr.

    Lone surrogates stay characters of the text, for the encoder to replace: as an escape no reader takes them.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=repr)
    except ValueError:
        return json.dumps(without_nan(value), ensure_ascii=False, default=repr)


def without_nan(value):
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return value


class Stream(io.TextIOBase):
    """sys.stdout or sys.stderr: collects what is written and sends it."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, kernel, name, descriptor):
        self.kernel = kernel
        self.name = name
        self.descriptor = descriptor
        self.lock = threading.RLock()
        self.parts = []
        self.parent = None
        self.size = 0

    def fileno(self):
        return self.descriptor

    def writable(self):
        return True

    def isatty(self):
        return False

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not %s" % type(text).__name__)
        if not text:
            return 0
        with HELD, self.lock:
            parent = self.kernel.parent
            if parent is not self.parent and self.parts:
                self._send()
            self.parent = parent
            self.parts.append(text)
            self.size += len(text)
            if self.size > 1 << 18:
                self._send()
            else:
                self.kernel.flush_soon.set()
        return len(text)

    def flush(self):
        with HELD, self.lock:
            self._send()

    def _send(self):
        if self.parts:
            text = "".join(self.parts)
            parent = self.parent
            self.parts = []
            self.size = 0
            self.kernel.connection.send("iopub", "stream", {"name": self.name, "text": text}, parent)



class Interrupts:
    """SIGINT raises KeyboardInterrupt in a running cell, and does nothing between cells."""

    def __init__(self):
        self.running = False
        signal.signal(signal.SIGINT, self.handle)

    def handle(self, number, frame):
        if self.running:
            if HELD.depth:
                HELD.pending = True
            else:
                raise KeyboardInterrupt


class Held:
    """`with HELD:` keeps KeyboardInterrupt out of the main thread, so that a message is sent completely or not at all."""

    def __init__(self):
        self.main = threading.main_thread().ident
        self.depth = 0
        self.pending = False

    def __enter__(self):
        if threading.get_ident() == self.main:
            self.depth += 1

    def __exit__(self, *error):
        if threading.get_ident() == self.main:
            self.depth -= 1
            if self.pending and not self.depth:
                self.pending = False
                raise KeyboardInterrupt


HELD = Held()


class Closed(io.TextIOBase):
    """sys.stdin: input() asks the page; all other reads return nothing."""

    def readable(self):
        return True

    def read(self, size=-1):
        return ""

    def readline(self, size=-1):
        return ""


async def as_coroutine(awaitable):
    return await awaitable
