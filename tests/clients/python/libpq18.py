"""PostgreSQL 18's libpq, which psycopg's wheel ships: the token by SASL OAUTHBEARER, from a hook of
the application's (PQsetAuthDataHook), and protocol 3.2 with its long cancel keys."""

import ctypes
import glob
import os
import threading
import time

import psycopg
import psycopg_binary

from checks import BRIEF_S, TENANT_A, TENANT_B, ask, fetch_token, none, ok, refused

ISSUER = "https://id.example.com"
DISCOVERY = f"{ISSUER}/.well-known/openid-configuration"
BEARER_TOKEN = 1  # PQAUTHDATA_OAUTH_BEARER_TOKEN
# Which psycopg has loaded already: the same file is the same library.
WHEEL = os.path.dirname(os.path.dirname(psycopg_binary.__file__))
LIBPQ = ctypes.CDLL(glob.glob(os.path.join(WHEEL, "psycopg_binary.libs", "libpq-*.so*"))[0])


class BearerRequest(ctypes.Structure):
    """PGoauthBearerRequest of libpq-fe.h."""

    _fields_ = [("openid_configuration", ctypes.c_char_p), ("scope", ctypes.c_char_p),
                ("poll", ctypes.c_void_p), ("cleanup", ctypes.c_void_p),
                ("token", ctypes.c_char_p), ("user", ctypes.c_void_p)]


class Hook:
    """Gives libpq the token; keeps what it was asked with."""

    def __init__(self):
        self.token, self.asked = None, []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self.function = kind(self._call)
        LIBPQ.PQsetAuthDataHook(self.function)

    def _call(self, what, _conn, data):
        if what != BEARER_TOKEN:
            return 0
        request = ctypes.cast(data, ctypes.POINTER(BearerRequest)).contents
        self.asked.append((request.openid_configuration.decode(), request.scope))
        request.token = self.token  # libpq copies it at once
        return 1


HOOK = Hook()


def connect(tenant, seconds=None, token=None, **more):
    HOOK.token = (token or fetch_token(tenant, seconds)).encode()
    HOOK.asked.clear()
    return psycopg.connect(**{
        "require_auth": "oauth", "oauth_issuer": ISSUER, "oauth_client_id": "client",
        "options": "-c usher.auth=oauth", "max_protocol_version": "latest", "autocommit": True,
        **more})


def bodies(conn):
    return [row[0] for row in conn.execute("SELECT body FROM note ORDER BY id")]


def check_login():
    # By the issuer libpq asks PgUsher where its tokens are from; by the document's address not.
    for issuer in (ISSUER, DISCOVERY):
        with connect(TENANT_A, oauth_issuer=issuer) as conn:
            assert conn.execute("SELECT current_user").fetchone() == (os.environ["PGUSER"],)
            # libpq's rules: this token went out by OAUTHBEARER and in no other way.
            assert not conn.pgconn.used_password
            assert LIBPQ.PQfullProtocolVersion(ctypes.c_void_p(conn.pgconn.pgconn_ptr)) == 30002
        scope = b"openid" if issuer == ISSUER else None
        assert HOOK.asked == [(DISCOVERY, scope)], HOOK.asked
    # Without OAUTHBEARER it would be a password, which require_auth keeps back.
    refused(lambda: connect(TENANT_A, options=""), psycopg.OperationalError)
    error = refused(lambda: connect(TENANT_A, oauth_issuer="https://other.example.com"),
                    psycopg.OperationalError)
    assert "incompatible with oauth_issuer" in str(error), error
    error = refused(lambda: connect(TENANT_A, token="no.token.this"), psycopg.OperationalError)
    ok("login", str(error).rsplit("FATAL:", 1)[-1].strip())


def check_tenants():
    for tenant in (TENANT_A, TENANT_B):
        with connect(tenant) as conn:
            conn.execute("INSERT INTO note (body) VALUES (%s)", (f"{tenant}",))
    for tenant in (TENANT_A, TENANT_B):
        with connect(tenant) as conn:
            assert bodies(conn) == [f"{tenant}"], bodies(conn)
    ok("tenants", "each sees its own rows")


def check_renewal():
    conn = connect(TENANT_A, BRIEF_S)
    time.sleep(BRIEF_S + 1)
    error = refused(lambda: bodies(conn), psycopg.Error)
    assert error.sqlstate == "28000", error
    ok("renewal", error.diag.message_primary)


def check_cancel():
    with connect(TENANT_A) as conn:
        for cancel in (conn.cancel_safe, conn.cancel):  # PQcancelCreate, PQgetCancel
            threading.Timer(0.3, cancel).start()
            error = refused(lambda: conn.execute("SELECT pg_sleep(60)"),
                            psycopg.errors.QueryCanceled)
    ok("cancel", f"{error.diag.message_primary}, by PQcancelCreate and PQgetCancel")


def check_restart():
    ask("restart")
    with connect(TENANT_A) as conn:
        assert bodies(conn) == [f"{TENANT_A}"]
    ok("restart", "a new connection")


def check_source():
    with connect(TENANT_A) as conn:
        port = conn.execute("SELECT inet_server_port()").fetchone()[0]
        source = conn.execute("SHOW usher.data_source").fetchone()[0]
        assert source == ask("node", port), source
    ok("source", source)


if __name__ == "__main__":
    check_login()
    check_tenants()
    check_renewal()
    for check in ("prepared", "savepoint", "batch", "copy"):
        none(check, "psycopg3.py has it, with the same libpq")
    check_cancel()
    check_restart()
    check_source()
