"""Logging in by SASL OAUTHBEARER: the real binary and scripted clients, which send what libpq sends
and what no libpq would. tests/clients/python/libpq18.py does it with PostgreSQL 18's libpq."""

import json
import struct

import psycopg
import pytest

import pgproto as p
from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from pgproto import Connection
from test_audit import Log

ISSUER = "https://id.example.com"
DISCOVERY = f"{ISSUER}/.well-known/openid-configuration"
OAUTH = {"pgusher": {"auth_type": "oauth"}, "oauth": {"issuer": ISSUER, "scope": "openid tenant"}}
OFFER = p.Message("R", struct.pack("!I", 10) + b"OAUTHBEARER\0\0")
QUESTION = b"n,,\1auth=\1\1"


@pytest.fixture
def oauth(make_proxy):
    return make_proxy(OAUTH)


def offered(proxy, **params):
    conn = Connection(proxy.address)
    conn.send(p.startup({"user": "app", "database": "eav", **params}))
    assert conn.read() == OFFER
    return conn


def is_welcome(conn, tenant):
    assert conn.read() == p.Message("R", struct.pack("!I", 0))
    conn.read_until_ready()
    assert conn.scalar("SELECT current_setting('app.current_tenant_id')") == str(tenant)


def is_challenged(conn):
    """The JSON of a refusal."""
    msg = conn.read()
    assert msg.type == "R" and msg.body[:4] == struct.pack("!I", 11), msg
    return json.loads(msg.body[4:])


def is_refused(conn):
    """The error that closes the connection."""
    said = conn.read_to_end()
    assert [m.type for m in said] == ["E"], said
    return said[0].fields()


@pytest.mark.parametrize("alg", ["HS256", "RS256", "ES256"])
def test_token_gets_in(oauth, keys, alg):
    with offered(oauth) as conn:
        conn.send(p.sasl_initial("OAUTHBEARER", p.bearer(keys.token(TENANT_A, alg=alg))))
        is_welcome(conn, TENANT_A)


def test_token_in_a_second_message(oauth, keys):
    with offered(oauth) as conn:
        conn.send(p.sasl_initial("OAUTHBEARER"))
        assert conn.read() == p.Message("R", struct.pack("!I", 11))
        conn.send(p.message("p", p.bearer(keys.token(TENANT_B))))
        is_welcome(conn, TENANT_B)


def test_long_token_in_pieces(oauth, keys):
    token = keys.hand_made({"tenant_id": str(TENANT_A), "role": "app", "exp": 4000000000,
                            "padding": "x" * 11000})
    data = p.sasl_initial("OAUTHBEARER", p.bearer(token))
    with offered(oauth) as conn:
        conn.send_cut(data, range(0, len(data), 3000), pause=0.02)
        is_welcome(conn, TENANT_A)


def test_client_chooses(proxy, oauth, keys):
    """Where the ini does not say oauth a client may, and the other way round."""
    with offered(proxy, options="-c usher.auth=oauth") as conn:
        conn.send(p.sasl_initial("OAUTHBEARER", p.bearer(keys.token(TENANT_A))))
        is_welcome(conn, TENANT_A)
    with oauth.raw(TENANT_A, **{"usher.auth": "password"}) as conn:
        assert conn.scalar("SELECT 1") == "1"
    with psycopg.connect(**oauth.dsn(TENANT_A), options="-c usher.auth=password") as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    with Connection(proxy.address) as conn:
        conn.send(p.startup({"user": "app", "usher.auth": "md5"}))
        error = is_refused(conn)
        assert (error["C"], error["H"]) == ("22023", "Available values: password, oauth.")


def test_question_for_the_issuer(oauth):
    with offered(oauth) as conn:
        conn.send(p.sasl_initial("OAUTHBEARER", QUESTION))
        assert is_challenged(conn) == {
            "status": "invalid_token", "openid-configuration": DISCOVERY, "scope": "openid tenant"}
        conn.send(p.message("p", b"\1"))
        error = is_refused(conn)
        assert (error["S"], error["C"], error["M"]) == ("FATAL", "28000", "no token was given")


def test_question_is_no_refused_login(make_proxy, tmp_path):
    """With or without the last word, which libpq does not say."""
    log = Log(make_proxy, tmp_path / "audit.jsonl", auth_type="oauth")
    for last_word in (b"\1", None):
        conn = offered(log.proxy)
        conn.send(p.sasl_initial("OAUTHBEARER", QUESTION))
        is_challenged(conn)
        if last_word:
            conn.send(p.message("p", last_word))
            is_refused(conn)
        conn.close()
    conn = offered(log.proxy)
    conn.send(p.sasl_initial("OAUTHBEARER", p.bearer("x.y.z")))
    is_challenged(conn)
    conn.close()
    assert [r["reason"] for r in log.wait(event="auth", action="login")] == ["malformed"]


@pytest.mark.parametrize("ttl, role, reason", [
    (-100, "app", "the token has expired"), (100, "other", "the token does not allow this role"),
])
def test_token_is_refused_with_the_reason(oauth, keys, ttl, role, reason):
    token = keys.fresh_token(TENANT_A, ttl, role)
    with offered(oauth) as conn:
        conn.send(p.sasl_initial("OAUTHBEARER", p.bearer(token)))
        assert is_challenged(conn)["status"] == "invalid_token"
        conn.send(p.message("p", b"\1"))
        error = is_refused(conn)
        assert (error["C"], error["M"]) == ("28000", reason)
    oauth.wait_log(reason)


@pytest.mark.parametrize("response", [
    b"n,,\1auth=Bearer\1\1", b"n,,\1auth=Bearer \1\1", b"n,,\1auth=Basic YTpi\1\1",
    b"n,,\1auth=Bearer a b\1\1", b"n,,\1auth=Bearer " + b"x" * 16385 + b"\1\1",
])
def test_what_is_no_bearer_token(oauth, response):
    with offered(oauth) as conn:
        conn.send(p.sasl_initial("OAUTHBEARER", response))
        assert is_challenged(conn)["status"] == "invalid_token"
        conn.send(p.message("p", b"\1"))
        assert is_refused(conn)["M"] == "the token (password) is not a well-formed JWT"


@pytest.mark.parametrize("code, text, response", [
    ("08P01", "empty", b""),
    ("08P01", "zero byte", b"n,,\1auth=Bearer a\1\1\0"),
    ("08P01", "channel binding", b"p=tls-exporter,,\1auth=Bearer a\1\1"),
    ("08P01", "channel-binding flag", b"c,,\1auth=Bearer a\1\1"),
    ("08P01", "comma", b"n\1auth=Bearer a\1\1"),
    ("0A000", None, b"n,a=app,\1auth=Bearer a\1\1"),
    ("08P01", "attribute", b"n,b=app,\1auth=Bearer a\1\1"),
    ("08P01", "behind the header", b"n,,auth=Bearer a\1\1"),
    ("08P01", "not terminated", b"n,,\1auth=Bearer a"),
    ("08P01", "final separator is missing", b"n,,\1auth=Bearer a\1"),
    ("08P01", "behind the final separator", b"n,,\1auth=Bearer a\1\1\1"),
    ("08P01", "without a value", b"n,,\1auth\1\1"),
    ("08P01", "empty key", b"n,,\1=x\1auth=Bearer a\1\1"),
    ("08P01", "made of letters", b"n,,\1a1=x\1auth=Bearer a\1\1"),
    ("08P01", "must not have", b"n,,\1auth=Bearer \xff\1\1"),
    ("08P01", "more than one", b"n,,\1auth=Bearer a\1auth=Bearer b\1\1"),
    ("08P01", "no value of auth", b"n,,\1host=x\1\1"),
])
@pytest.mark.parametrize("is_second", [False, True])
def test_malformed_message(proxy, code, text, response, is_second):
    with offered(proxy, **{"usher.auth": "oauth"}) as conn:
        if is_second:
            conn.send(p.sasl_initial("OAUTHBEARER"))
            assert conn.read().body == struct.pack("!I", 11)
            conn.send(p.message("p", response))
        else:
            conn.send(p.sasl_initial("OAUTHBEARER", response))
        error = is_refused(conn)
        assert error["C"] == code and (text or "") in error.get("D", "")
        if text:
            assert error["M"] == "malformed OAUTHBEARER message"


@pytest.mark.parametrize("data", [
    p.query("SELECT 1"), p.password("eyJ"), p.message("p", b"OAUTHBEARER\0"),
    p.message("p", b"OAUTHBEARER\0\0\0\0\5n,,"), p.message("p", b"OAUTHBEARER\0\xff\xff\xff\xfex"),
    p.sasl_initial("SCRAM-SHA-256", b"n,,n=,r=x"), p.sasl_initial("", b"n,,"),
    b"p" + struct.pack("!I", 1 << 20),
])
def test_other_messages(proxy, data):
    with offered(proxy, **{"usher.auth": "oauth"}) as conn:
        conn.send(data)
        assert is_refused(conn)["C"] == "08P01"


@pytest.mark.parametrize("data", [p.message("p", b""), p.message("p", b"\1\1"), p.query("SELECT 1"),
                                  p.message("p", b"n,,\1auth=\1\1")])
def test_what_follows_a_refusal(oauth, data):
    with offered(oauth) as conn:
        conn.send(p.sasl_initial("OAUTHBEARER", p.bearer("x.y.z")))
        is_challenged(conn)
        conn.send(data)
        assert is_refused(conn)["C"] == "08P01"


def test_reload(make_proxy):
    """Who connects after it is asked the new way."""
    proxy = make_proxy({"pgusher": {"auth_type": "password"}})
    proxy.raw(TENANT_A).terminate()
    proxy.sections["pgusher"]["auth_type"] = "oauth"
    proxy.sections["oauth"] = {"issuer": f"{ISSUER}/.well-known/oauth-authorization-server"}
    proxy.write_ini()
    proxy.process.send_signal(1)

    def offer():
        with Connection(proxy.address) as conn:
            conn.send(p.startup({"user": "app", "database": "eav"}))
            return conn.read() == OFFER

    wait_until(offer, "OAUTHBEARER is offered")
    with offered(proxy) as conn:
        conn.send(p.sasl_initial("OAUTHBEARER", QUESTION))
        assert is_challenged(conn) == {
            "status": "invalid_token",
            "openid-configuration": f"{ISSUER}/.well-known/oauth-authorization-server"}


def test_console(make_proxy, keys):
    proxy = make_proxy({"pgusher": {"auth_type": "oauth", "admin_users": "dba"}})
    conn = Connection(proxy.address)
    conn.send(p.startup({"user": "dba", "database": "pgusher"}, p.PROTOCOL_3_2))
    assert conn.read() == OFFER
    conn.send(p.sasl_initial("OAUTHBEARER", p.bearer(keys.token(None, role="dba"))))
    assert conn.read() == p.Message("R", struct.pack("!I", 0))
    conn.read_until_ready()
    assert len(conn.secret) == 32
    assert p.tags_of(conn.simple("SHOW VERSION")) == ["SHOW"]
    conn.terminate()
