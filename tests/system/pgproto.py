"""PostgreSQL's frontend/backend protocol (version 3.0), spoken by hand over a plain socket.

The tests need what no driver does: messages in any order, cut at any byte, wrong lengths, and
replies seen exactly as they came. Message names are those of PostgreSQL's documentation,
chapter "Message Formats". Every read has a deadline, so a hang is a failure and not a hang.
"""

import base64
import hashlib
import hmac
import os
import secrets
import socket
import ssl
import struct
import time
import weakref
from collections import namedtuple

PROTOCOL_3_0, PROTOCOL_3_2 = 196608, 196610
CANCEL_REQUEST = 80877102
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
DEFAULT_TIMEOUT = float(os.environ.get("PGUSHER_TEST_TIMEOUT", "30"))

# What an ErrorResponse says of PostgreSQL's own source code, and no client acts upon.
SOURCE_FIELDS = "FLR"


class ConnectionClosed(Exception):
    """The peer closed the connection where a message was expected."""


class Message(namedtuple("Message", "type body")):
    """One backend message: its type (one character) and its body without the length."""

    __slots__ = ()

    def fields(self):
        """ErrorResponse, NoticeResponse: {field code: text}."""
        assert self.type in "EN", self
        parts = self.body.rstrip(b"\0").split(b"\0")
        return {p[:1].decode(): p[1:].decode("utf-8", "replace") for p in parts if p}

    def values(self):
        """DataRow: list of bytes or None."""
        assert self.type == "D", self
        count, pos, out = struct.unpack_from("!H", self.body)[0], 2, []
        for _ in range(count):
            length = struct.unpack_from("!i", self.body, pos)[0]
            pos += 4
            if length < 0:
                out.append(None)
                continue
            out.append(self.body[pos : pos + length])
            pos += length
        return out

    def columns(self):
        """RowDescription: the columns' names."""
        assert self.type == "T", self
        count, pos, out = struct.unpack_from("!H", self.body)[0], 2, []
        for _ in range(count):
            end = self.body.index(b"\0", pos)
            out.append(self.body[pos:end].decode())
            pos = end + 19
        return out

    def text(self):
        """CommandComplete's tag, ParameterStatus's "name\\0value"."""
        return self.body.rstrip(b"\0").decode("utf-8", "replace")

    def __repr__(self):
        if self.type in "EN":
            return f"{self.type}{self.fields()}"
        body = self.body if len(self.body) <= 120 else self.body[:120] + b"..."
        return f"{self.type}[{len(self.body)}]{body!r}"


# ---- frontend messages -------------------------------------------------------------------


def cstr(text):
    return (text.encode() if isinstance(text, str) else text) + b"\0"


def sasl_initial(mechanism, response=None):
    """SASLInitialResponse; without a response the server asks for one."""
    body = b"\xff" * 4 if response is None else struct.pack("!I", len(response)) + response
    return message("p", cstr(mechanism) + body)


def bearer(token):
    """OAUTHBEARER's first message (RFC 7628)."""
    return b"n,,\1auth=Bearer " + token.encode() + b"\1\1"


def message(kind, body=b""):
    return kind.encode() + struct.pack("!I", len(body) + 4) + body


def startup(params, version=PROTOCOL_3_0):
    body = struct.pack("!I", version)
    body += b"".join(cstr(k) + cstr(v) for k, v in params.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def password(text):
    return message("p", cstr(text))


def query(sql):
    return message("Q", cstr(sql))


def parse(name, sql, types=()):
    body = cstr(name) + cstr(sql) + struct.pack("!H", len(types))
    return message("P", body + b"".join(struct.pack("!I", t) for t in types))


def bind(portal, name, values=(), formats=(), result_formats=()):
    body = cstr(portal) + cstr(name)
    body += struct.pack("!H", len(formats)) + b"".join(struct.pack("!H", f) for f in formats)
    body += struct.pack("!H", len(values))
    for value in values:
        if value is None:
            body += struct.pack("!i", -1)
            continue
        raw = value if isinstance(value, bytes) else str(value).encode()
        body += struct.pack("!i", len(raw)) + raw
    body += struct.pack("!H", len(result_formats))
    return message("B", body + b"".join(struct.pack("!H", f) for f in result_formats))


def describe(kind, name):
    """kind: S (statement) or P (portal)."""
    return message("D", kind.encode() + cstr(name))


def execute(portal="", max_rows=0):
    return message("E", cstr(portal) + struct.pack("!i", max_rows))


def close(kind, name):
    return message("C", kind.encode() + cstr(name))


def sync():
    return message("S")


def flush():
    return message("H")


def terminate():
    return message("X")


def copy_data(data):
    return message("d", data if isinstance(data, bytes) else data.encode())


def copy_done():
    return message("c")


def copy_fail(reason):
    return message("f", cstr(reason))


def function_call(oid, args):
    body = struct.pack("!IHH", oid, 0, len(args))
    for arg in args:
        body += struct.pack("!i", len(arg)) + arg
    return message("F", body + struct.pack("!H", 0))


def one_shot(sql, values=(), max_rows=0):
    """The unnamed statement and portal: what a driver sends for one parametrised statement."""
    return parse("", sql) + bind("", "", values) + execute("", max_rows) + sync()


# ---- the connection ----------------------------------------------------------------------


class Connection:
    """One client. `connect` logs in; the bare constructor only opens the socket."""

    # So that a test that fails leaves no transaction open for the next one to wait for.
    opened = weakref.WeakSet()

    def __init__(self, address, timeout=DEFAULT_TIMEOUT):
        """address: (host, port), or the path of a unix socket."""
        self.address = address
        self.timeout = timeout
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        Connection.opened.add(self)
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        if family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.parameters = {}
        self.pid = self.secret = None
        self.negotiated = None
        self.status = None

    @classmethod
    def connect(cls, address, user, dbname, secret, timeout=DEFAULT_TIMEOUT, tls=False, **params):
        """Logs in, or raises LoginError with the server's answer.

        PgUsher asks for a cleartext password (the token), PostgreSQL itself for SCRAM-SHA-256.
        """
        conn = cls(address, timeout)
        try:
            if tls:
                conn.start_tls()
            conn.login(user, dbname, secret, **params)
        except BaseException:
            conn.close()
            raise
        return conn

    def start_tls(self):
        self.send(struct.pack("!II", 8, SSL_REQUEST))
        answer = self.recv_exactly(1)
        if answer != b"S":
            raise LoginError({"C": "", "M": f"no TLS: {answer!r}"})
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock)

    def login(self, user, dbname, secret, version=PROTOCOL_3_0, **params):
        self.send(startup({"user": user, "database": dbname, **params}, version))
        msg = self.read()
        if msg.type == "v":
            self.negotiated = negotiated(msg)
            msg = self.read()
        if msg.type == "R" and msg.body == struct.pack("!I", 3):
            self.send(password(secret))
            msg = self.read()
        elif msg.type == "R" and msg.body.startswith(struct.pack("!I", 10)):
            msg = self._scram(secret)
        if msg.type == "E":
            raise LoginError(msg.fields())
        assert msg == Message("R", struct.pack("!I", 0)), msg
        msg = self.read_until("ZE")[-1]
        if msg.type == "E":
            raise LoginError(msg.fields())

    def _scram(self, secret):
        """RFC 5802 and 7677, without checking the server: that is not what is tested here."""
        nonce = secrets.token_urlsafe(18)
        first = f"n=,r={nonce}"
        initial = f"n,,{first}".encode()
        self.send(message("p", cstr("SCRAM-SHA-256") + struct.pack("!I", len(initial)) + initial))
        challenge = self._sasl_text(11)
        parts = dict(item.split("=", 1) for item in challenge.split(","))
        salted = hashlib.pbkdf2_hmac(
            "sha256", secret.encode(), base64.b64decode(parts["s"]), int(parts["i"])
        )
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        bare = f"c=biws,r={parts['r']}"
        signed = f"{first},{challenge},{bare}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self.send(message("p", f"{bare},p={base64.b64encode(proof).decode()}".encode()))
        self._sasl_text(12)
        return self.read()

    def _sasl_text(self, kind):
        msg = self.read()
        if msg.type == "E":
            raise LoginError(msg.fields())
        assert msg.type == "R" and msg.body[:4] == struct.pack("!I", kind), msg
        return msg.body[4:].decode()

    def send(self, data):
        self.sock.sendall(data)

    def send_cut(self, data, positions, pause=0.0):
        """Sends data in pieces that end at the given byte positions."""
        last = 0
        for pos in sorted(set(positions)) + [len(data)]:
            self.sock.sendall(data[last:pos])
            last = pos
            if pause:
                time.sleep(pause)

    def recv_exactly(self, count, deadline=None):
        deadline = deadline or time.monotonic() + self.timeout
        while len(self.buffer) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no reply in {self.timeout} s; so far {bytes(self.buffer)!r}")
            self.sock.settimeout(left)
            data = self.sock.recv(1 << 16)
            if not data:
                raise ConnectionClosed(f"closed with {bytes(self.buffer[:200])!r} in the buffer")
            self.buffer += data
        out = bytes(self.buffer[:count])
        del self.buffer[:count]
        return out

    def read(self, timeout=None):
        """The next message, noting parameters, the cancel key and the transaction status."""
        deadline = time.monotonic() + (timeout or self.timeout)
        head = self.recv_exactly(5, deadline)
        length = struct.unpack("!I", head[1:])[0]
        assert 4 <= length < 1 << 30, f"absurd length in {head!r}"
        msg = Message(chr(head[0]), self.recv_exactly(length - 4, deadline))
        if msg.type == "S":
            name, value = msg.body.split(b"\0")[:2]
            self.parameters[name.decode()] = value.decode()
        elif msg.type == "K":
            self.pid = struct.unpack_from("!I", msg.body)[0]
            self.secret = msg.body[4:]
        elif msg.type == "Z":
            self.status = msg.body.decode()
        return msg

    def read_until_ready(self, count=1):
        """All messages up to and with the count-th ReadyForQuery."""
        out = []
        while count:
            out.append(self.read())
            count -= out[-1].type == "Z"
        return out

    def read_until(self, kinds):
        """All messages up to and with the first whose type is in kinds."""
        out = [self.read()]
        while out[-1].type not in kinds:
            out.append(self.read())
        return out

    def is_silent(self, seconds=0.2):
        """True if nothing arrives, and the connection stays open, for so long."""
        if self.buffer:
            return False
        self.sock.settimeout(seconds)
        try:
            self.buffer += self.sock.recv(1 << 16)
        except (TimeoutError, ssl.SSLWantReadError):
            return True
        return False

    def read_to_end(self):
        """All messages until the peer closes; the peer must close."""
        out = []
        while True:
            try:
                out.append(self.read())
            except (ConnectionClosed, ConnectionResetError, BrokenPipeError):
                return out

    def run(self, data, ready=1):
        """Sends data and reads all up to the ready-th ReadyForQuery."""
        self.send(data)
        return self.read_until_ready(ready)

    def simple(self, sql):
        return self.run(query(sql))

    def rows(self, sql, values=None):
        """Rows of text values of one statement; an error raises PgError."""
        data = query(sql) if values is None else one_shot(sql, values)
        return rows_of(self.run(data))

    def scalar(self, sql, values=None):
        return self.rows(sql, values)[0][0]

    def cancel(self):
        """Sends a CancelRequest for this connection, and waits for it to be taken."""
        send_cancel(self.address, self.pid, self.secret, self.timeout)

    def terminate(self):
        try:
            self.send(terminate())
        except OSError:
            pass
        self.close()

    def reset(self):
        """Ends the connection with an RST, as a killed client's machine would."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def wake(self):
        """Ends the connection under a thread that waits in read."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self):
        self.sock.close()

    @classmethod
    def close_all(cls):
        for conn in list(cls.opened):
            conn.close()
        cls.opened.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.terminate()


def send_cancel(address, pid, secret, timeout=DEFAULT_TIMEOUT):
    """A CancelRequest on a connection of its own; the server answers by closing it."""
    with Connection(address, timeout) as conn:
        body = struct.pack("!II", CANCEL_REQUEST, pid) + secret
        conn.send(struct.pack("!I", len(body) + 4) + body)
        assert conn.read_to_end() == []


# ---- reading replies ---------------------------------------------------------------------


class PgError(Exception):
    """An ErrorResponse; code is its SQLSTATE."""

    def __init__(self, fields):
        super().__init__(f"{fields.get('C')}: {fields.get('M')}")
        self.fields = fields
        self.code = fields.get("C")
        self.message = fields.get("M")


class LoginError(PgError):
    """An ErrorResponse before the first ReadyForQuery."""


def errors_of(messages):
    return [m.fields() for m in messages if m.type == "E"]


def negotiated(msg):
    """What NegotiateProtocolVersion says: the version, and the options that are not known."""
    version, count = struct.unpack_from("!II", msg.body)
    names = msg.body[8:].split(b"\0")[:-1]
    assert msg.type == "v" and len(names) == count, msg
    return version, [name.decode() for name in names]


def codes_of(messages):
    return [e["C"] for e in errors_of(messages)]


def rows_of(messages):
    """All DataRows as tuples of text; an error raises PgError."""
    for fields in errors_of(messages):
        raise PgError(fields)
    return [
        tuple(None if v is None else v.decode() for v in m.values())
        for m in messages
        if m.type == "D"
    ]


def tags_of(messages):
    return [m.text() for m in messages if m.type == "C"]


def types_of(messages):
    return "".join(m.type for m in messages if m.type not in "NS")


def comparable(messages):
    """The messages without what may differ between two servers or two ways to reach one.

    ParameterStatus and BackendKeyData are dropped; an error's or notice's place in
    PostgreSQL's source code is too, because the proxy has none.
    """
    out = []
    for msg in messages:
        if msg.type in "SK":
            continue
        if msg.type in "EN":
            kept = {k: v for k, v in msg.fields().items() if k not in SOURCE_FIELDS}
            out.append((msg.type, tuple(sorted(kept.items()))))
        else:
            out.append((msg.type, msg.body))
    return out
