"""isolation.md rows 20 to 25: reading as the server reads, tokens, TLS, logs, exhaustion, plans.

Each of rows 21 to 24 has tests of its own elsewhere (test_login.py and test_keys.py, test_tls.py,
test_audit.py, test_limits.py and test_faults.py); here is the attack that each row names.
"""

import re
import struct
import threading

import pytest

import pgproto as p
from conftest import TENANT_A, TENANT_B
from isolation import attacks
from isolation.scene import WAYS, WHO, values
from proxy import b64url, sign_hs256

ways = pytest.mark.parametrize("way", WAYS)


@ways
@pytest.mark.parametrize("sql", attacks.LEXER)
def test_row_20_text_is_read_as_the_server_reads_it(scene, way, sql):
    """Refused by the guard, or by the server as the syntax error that it is."""
    codes = p.codes_of(scene.try_all([sql], way))
    assert codes and codes[0] in ("42501", "42601", "22023", "42703", "42P02"), codes
    scene.nothing_crossed()


@pytest.mark.parametrize("encoding", ["SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB"])
def test_row_20_encodings_that_hide_ascii(scene, encoding):
    with pytest.raises(p.LoginError):
        scene.login(TENANT_A, client_encoding=encoding)
    scene.nothing_crossed()


TOKENS = {
    "alg none": lambda k: ".".join([b64url(b'{"alg":"none"}'), k.token(TENANT_B).split(".")[1],
                                    ""]),
    "HS256 under the public key": lambda k: sign_hs256(
        {"alg": "HS256", "typ": "JWT"},
        {"tenant_id": str(TENANT_B), "role": "app", "exp": 1 << 40},
        open(k.jwks_file, "rb").read()),
    "unknown kid": lambda k: k.hand_made({"tenant_id": "456", "role": "app", "exp": 1 << 40},
                                         {"kid": "another"}),
    "no expiry": lambda k: k.hand_made({"tenant_id": "456", "role": "app"}),
    "expired": lambda k: k.fresh_token(TENANT_B, -60),
    "not yet": lambda k: k.hand_made({"tenant_id": "456", "role": "app", "exp": 1 << 41,
                                      "nbf": 1 << 40}),
    "float": lambda k: k.hand_made({"tenant_id": 456.0, "role": "app", "exp": 1 << 40}),
    "negative": lambda k: k.hand_made({"tenant_id": -456, "role": "app", "exp": 1 << 40}),
    "leading zeros": lambda k: k.hand_made({"tenant_id": "0456", "role": "app",
                                            "exp": 1 << 40}),
    "2^63": lambda k: k.hand_made({"tenant_id": 1 << 63, "role": "app", "exp": 1 << 40}),
    "array": lambda k: k.hand_made({"tenant_id": [456], "role": "app", "exp": 1 << 40}),
    "duplicate claims": lambda k: k.hand_made(
        '{"tenant_id": "123", "tenant_id": "456", "role": "app", "exp": 1099511627776}'),
    "deep JSON": lambda k: k.hand_made(
        '{"tenant_id": "456", "role": "app", "exp": 1099511627776, "x": '
        + "[" * 4000 + "]" * 4000 + "}"),
    "huge JSON": lambda k: k.hand_made({"tenant_id": "456", "role": "app", "exp": 1 << 40,
                                        "x": "x" * 40000}),
    "SQL": lambda k: k.hand_made({"tenant_id": "456 OR 1=1", "role": "app", "exp": 1 << 40}),
    "role of another": lambda k: k.hand_made({"tenant_id": "456", "role": "postgres",
                                              "exp": 1 << 40}),
}


@pytest.mark.parametrize("name", TOKENS)
def test_row_21_tokens(scene, name):
    """Neither at the login nor inside a connection."""
    token = TOKENS[name](scene.proxy.keys)
    with pytest.raises(p.LoginError) as refused:
        scene.login(TENANT_A, secret=token)
    assert refused.value.code == ("08P01" if name == "huge JSON" else "28000")
    assert token not in str(refused.value.fields)
    assert p.codes_of(scene.attacker.simple(f"SET usher.token = '{token}'"))[0] in ("28000",
                                                                                    "42501")
    scene.nothing_crossed()


def test_row_22_bytes_before_tls(scene):
    """What came in the clear behind an SSLRequest is never taken for the client's."""
    conn = p.Connection(scene.proxy.address)
    conn.send(struct.pack("!II", 8, p.SSL_REQUEST)
              + p.startup({"user": "app", "database": scene.dbname}))
    head = conn.recv_exactly(1)
    assert head in (b"N", b"S", b"E")
    if head == b"S":
        assert conn.read_to_end() == []
    scene.nothing_crossed()


@ways
def test_row_23_nothing_secret_in_the_log(scene, way):
    secrets = ["hunter2-literal", "hunter2-setting", "hunter2-name"]
    scene.try_all([f"SELECT '{secrets[0]}'", f"SET my.thing = '{secrets[1]}'",
                   f"SELECT * FROM item WHERE name = '{secrets[2]}' AND 1/0 = 1",
                   f"SET app.current_tenant_id = '{secrets[0]}'",
                   f"SET usher.token = '{scene.proxy.keys.token(TENANT_B)[:-3]}abc'"], way)
    log = scene.proxy.log()
    assert not any(secret in log for secret in secrets)
    assert not re.search(r"eyJ[\w-]{20,}", log)
    scene.nothing_crossed()


def test_row_24_a_flood_costs_its_own_tenant(scene):
    """40 clients of the attacker's keep asking; the victim is served all the same, each time after
    at most a few of theirs."""
    stop, served = threading.Event(), [0]
    conns = [scene.login(TENANT_A) for _ in range(40)]

    def flood(conn):
        while not stop.is_set():
            conn.simple("SELECT count(*) FROM item, generate_series(1, 2000)")
            served[0] += 1

    threads = [threading.Thread(target=flood, args=(conn,)) for conn in conns]
    for thread in threads:
        thread.start()
    waits = []
    for _ in range(30):
        before = served[0]
        assert values(scene.victim.simple(WHO)) == [str(TENANT_B)]
        waits.append(served[0] - before)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert sorted(waits)[len(waits) // 2] <= 6, waits
    scene.nothing_crossed()


def test_row_25_shared_prepared_statements(scene):
    """The same text from both, shared on the server: by name, unnamed, and as a cursor."""
    sql = "SELECT name FROM item WHERE id = 1"
    for _ in range(8):
        for conn, tenant in ((scene.attacker, TENANT_A), (scene.victim, TENANT_B)):
            for name in ("", "same"):
                batch = (p.close("S", name) + p.parse(name, sql) + p.bind("", name)
                         + p.execute() + p.sync())
                assert values(conn.run(batch)) == [f"tenant {tenant} item 1"]
    scene.nothing_crossed()
