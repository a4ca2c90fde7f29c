"""A pooler in transaction mode, as small as possible: it alternates between two server sessions.

It speaks the protocol: it answers the client's startup itself, passes messages on, and changes the server session
whenever that one says ReadyForQuery outside of a transaction.

Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from typing import Any

import psycopg

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104
_PARAMETERS = ("server_version", "server_encoding", "client_encoding", "DateStyle", "TimeZone", "IntervalStyle",
               "integer_datetimes", "standard_conforming_strings")  # fmt: skip


class TransactionPooler:
    """Listens on a port of this machine; `backends` may be asked directly while no client is served."""

    def __init__(self, **conninfo: Any) -> None:
        conninfo = {name: value for name, value in conninfo.items() if value}
        self.backends = [psycopg.connect(**conninfo, sslmode="disable", autocommit=True) for _ in range(2)]
        self._sockets = [socket.socket(fileno=os.dup(backend.pgconn.socket)) for backend in self.backends]
        for backend in self._sockets:
            backend.setblocking(True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._next = 0
        self._threads: list[threading.Thread] = []
        self._start(self._listen)

    def close(self) -> None:
        """Stop listening; clients must have left."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
        for backend in self._sockets:
            backend.close()
        for connection in self.backends:
            connection.close()

    def _start(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client:
            self._answer_startup(client)
            waiting, requests = b"", 0
            answers = b""
            while True:
                server = self._sockets[self._next]
                ready, _, _ = select.select([client, server], [], [])
                if client in ready:
                    data = client.recv(65536)
                    kinds, waiting = _split(waiting + data)
                    if not data or b"X" in kinds:
                        return
                    requests += kinds.count(b"Q") + kinds.count(b"S") + kinds.count(b"F")
                    server.sendall(data)
                if server in ready:
                    data = server.recv(65536)
                    messages, answers = _messages(answers + data)
                    ended = [body for kind, body in messages if kind == b"Z"]
                    requests -= len(ended)
                    if ended and requests == 0 and ended[-1] == b"I":
                        self._next = 1 - self._next
                    client.sendall(data)

    def _answer_startup(self, client: socket.socket) -> None:
        while True:
            (length,) = struct.unpack("!i", _exactly(client, 4))
            (code,) = struct.unpack("!i", _exactly(client, length - 4)[:4])
            if code not in (_SSL_REQUEST, _GSS_REQUEST):
                break
            client.sendall(b"N")
        pgconn = self.backends[0].pgconn
        values = [(name, pgconn.parameter_status(name.encode()) or b"") for name in _PARAMETERS]
        parts = [_message(b"R", struct.pack("!i", 0))]
        parts += [_message(b"S", name.encode() + b"\0" + value + b"\0") for name, value in values]
        parts += [_message(b"K", struct.pack("!ii", 1, 1)), _message(b"Z", b"I")]
        client.sendall(b"".join(parts))


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _messages(data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the whole messages in a stream, and the rest."""
    found = []
    while len(data) >= 5:
        (length,) = struct.unpack("!i", data[1:5])
        if len(data) < length + 1:
            break
        found.append((data[:1], data[5 : length + 1]))
        data = data[length + 1 :]
    return found, data


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    found, rest = _messages(data)
    return [kind for kind, _ in found], rest


def _exactly(client: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += client.recv(length - len(data))
    return data
