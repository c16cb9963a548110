"""Logging in: which tokens, transports and startup packets get in, and what the others are told."""

import json
import os
import socket
import struct
import subprocess
import time

import psycopg
import pytest

import pgproto
from conftest import TENANT_A
from pgproto import Connection, LoginError
from proxy import run_binary, sign_hs256

ALGORITHMS = ("HS256", "RS256", "ES256")


def refusal(proxy, token, user="app", dbname="eav", address=None):
    with pytest.raises(LoginError) as caught:
        Connection.connect(address or proxy.address, user, dbname, token)
    assert token not in str(caught.value.fields) or not token
    assert caught.value.fields["S"] == "FATAL"
    return caught.value


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_right_token_gets_in(proxy, keys, alg):
    token = keys.token(TENANT_A, alg=alg)
    with Connection.connect(proxy.address, "app", "eav", token) as conn:
        assert conn.scalar("SELECT current_setting('app.current_tenant_id')") == str(TENANT_A)
        assert conn.scalar("SELECT current_user::text") == "app"


def test_login_reports_what_a_server_reports(proxy, cluster):
    direct = Connection.connect(
        ("127.0.0.1", cluster.ports["primary"]), "app", "eav", cluster.password
    )
    with direct, proxy.raw(TENANT_A) as conn:
        for name in ("server_version", "server_encoding", "client_encoding", "DateStyle",
                     "integer_datetimes", "standard_conforming_strings", "TimeZone"):
            assert conn.parameters.get(name) == direct.parameters[name], name
        assert conn.pid is not None and len(conn.secret) == 4
        assert conn.status == "I"


@pytest.mark.parametrize("version, answer, key_len", [
    (pgproto.PROTOCOL_3_0, None, 4),
    (pgproto.PROTOCOL_3_0 + 1, None, 4),
    (pgproto.PROTOCOL_3_2, None, 32),
    (pgproto.PROTOCOL_3_2 + 1, (pgproto.PROTOCOL_3_2, []), 32),
    # What libpq 19 asks for to find out who cannot negotiate.
    (pgproto.PROTOCOL_3_0 + 9999, (pgproto.PROTOCOL_3_2, []), 32),
])
def test_protocol_versions(proxy, version, answer, key_len):
    with proxy.raw(TENANT_A, version=version) as conn:
        assert conn.negotiated == answer and len(conn.secret) == key_len
        assert conn.scalar("SELECT 1") == "1"


@pytest.mark.parametrize("version", [pgproto.PROTOCOL_3_0, pgproto.PROTOCOL_3_2])
def test_unknown_protocol_options_are_named(proxy, version):
    options = {f"_pq_.option{n}": "on" for n in range(40)}
    with proxy.raw(TENANT_A, version=version, **options) as conn:
        assert conn.negotiated == (version, list(options))
        assert conn.scalar("SELECT 1") == "1"


def test_same_token_logs_in_again_and_again(proxy):
    for _ in range(50):
        with proxy.raw(TENANT_A) as conn:
            assert conn.scalar("SELECT 1") == "1"


def test_role_may_be_one_of_a_list(proxy, keys):
    token = keys.token(TENANT_A, extra=("--role", "reporting"))
    with Connection.connect(proxy.address, "app", "eav", token) as conn:
        assert conn.scalar("SELECT 1") == "1"


def test_tenant_may_be_an_integer(proxy, keys):
    token = keys.hand_made({"tenant_id": TENANT_A, "role": "app", "exp": int(time.time()) + 60})
    with Connection.connect(proxy.address, "app", "eav", token) as conn:
        assert conn.scalar("SELECT current_setting('app.current_tenant_id')") == str(TENANT_A)


def claims(**changes):
    out = {"tenant_id": str(TENANT_A), "role": "app", "exp": int(time.time()) + 60, **changes}
    return {k: v for k, v in out.items() if v is not None}


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"exp": 1000}, "expired"),
        ({"exp": None}, "exp"),
        ({"nbf": 4000000000}, "not yet valid"),
        ({"role": "other"}, "role"),
        ({"role": None}, "role"),
        ({"tenant_id": None}, "tenant"),
        ({"tenant_id": "12x"}, "tenant"),
        ({"tenant_id": -5}, "tenant"),
        ({"tenant_id": 1.5}, "tenant"),
        ({"tenant_id": "9223372036854775808"}, "tenant"),
        ({"tenant_id": [TENANT_A]}, "tenant"),
    ],
)
def test_wrong_claims_are_refused_with_the_reason(proxy, keys, changes, reason):
    error = refusal(proxy, keys.hand_made(claims(**changes)))
    assert error.code == "28000"
    assert reason in error.message


@pytest.mark.parametrize("token", ["", "x", "secret", "a.b.c", "..", "eyJhbGciOiJub25lIn0.e30."])
def test_garbage_is_refused(proxy, token):
    assert refusal(proxy, token).code == "28000"


def test_key_of_someone_else_is_refused(proxy, keys):
    stranger = keys.new_key("ES256", "stranger")
    error = refusal(proxy, keys.token(TENANT_A, key_file=stranger))
    assert error.code == "28000"
    assert "unknown key" in error.message


def test_changed_signature_is_refused(proxy, keys):
    head, body, signature = keys.token(TENANT_A).split(".")
    changed = ("B" if signature[10] == "A" else "A").join((signature[:10], signature[11:]))
    error = refusal(proxy, f"{head}.{body}.{changed}")
    assert error.code == "28000"
    assert "signature" in error.message


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", ""])
def test_algorithm_none_is_refused(proxy, keys, alg):
    signed = keys.hand_made(claims(), {"alg": alg})
    assert refusal(proxy, signed).code == "28000"
    head, body, _ = signed.split(".")
    assert refusal(proxy, f"{head}.{body}.").code == "28000"


def test_hs256_with_the_public_rsa_key_as_secret_is_refused(proxy, keys):
    with open(keys.jwks_file, encoding="utf-8") as file:
        rsa = next(k for k in json.load(file)["keys"] if k["kty"] == "RSA")
    for secret in (json.dumps(rsa).encode(), rsa["n"].encode()):
        forged = sign_hs256({"alg": "HS256", "typ": "JWT", "kid": rsa.get("kid")}, claims(), secret)
        assert refusal(proxy, forged).code == "28000"


def test_algorithm_not_on_the_list_is_refused(make_proxy, keys):
    proxy = make_proxy({"jwt": {"algorithms": "ES256"}})
    proxy.raw(TENANT_A).terminate()
    error = refusal(proxy, keys.token(TENANT_A, alg="HS256"))
    assert error.code == "28000" and "algorithm" in error.message


def test_issuer_and_audience_are_checked(make_proxy, keys):
    proxy = make_proxy({"jwt": {"issuer": "https://id.example", "audience": "eav"}})
    right = {"iss": "https://id.example", "aud": ["other", "eav"]}
    proxy.raw(TENANT_A, secret=keys.hand_made(claims(**right))).terminate()
    assert "issuer" in refusal(proxy, keys.hand_made(claims(aud="eav"))).message
    wrong_audience = claims(iss=right["iss"], aud="other")
    assert "audience" in refusal(proxy, keys.hand_made(wrong_audience)).message


def test_new_keys_are_read_when_the_file_changes(make_proxy, keys, tmp_path):
    jwks = tmp_path / "jwks.json"
    with open(keys.jwks_file, encoding="utf-8") as file:
        key_set = json.load(file)["keys"]
    elliptic = [k for k in key_set if k["kty"] == "EC"]
    jwks.write_text(json.dumps({"keys": [k for k in key_set if k["kty"] != "EC"]}))
    proxy = make_proxy({"jwt": {"jwks_file": jwks}})
    assert "unknown key" in refusal(proxy, keys.token(TENANT_A)).message
    proxy.raw(TENANT_A, secret=keys.token(TENANT_A, alg="HS256")).terminate()

    # Replaced as a whole, as deployment tools do it.
    fresh = tmp_path / "jwks.json.new"
    fresh.write_text(json.dumps({"keys": elliptic}))
    os.rename(fresh, jwks)
    deadline = time.monotonic() + 20
    while True:
        try:
            proxy.raw(TENANT_A).terminate()
            break
        except LoginError:
            assert time.monotonic() < deadline, "the new key set was not taken"
            time.sleep(0.1)
    refusal(proxy, keys.token(TENANT_A, alg="HS256"))


def test_role_without_a_section_is_refused(proxy, keys):
    token = keys.token(TENANT_A, role="postgres")
    assert refusal(proxy, token, user="postgres").code == "28000"


def test_database_without_a_section_is_refused(proxy, keys):
    error = refusal(proxy, keys.token(TENANT_A), dbname="elsewhere")
    assert error.code in ("3D000", "28000")
    assert "elsewhere" in error.message


def test_unix_socket(make_proxy, keys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("s")
    proxy = make_proxy({"pgusher": {"unix_socket_dir": folder}})
    path = f"{folder}/.s.PGSQL.{proxy.port}"
    with Connection.connect(path, "app", "eav", keys.token(TENANT_A)) as conn:
        assert conn.scalar("SELECT current_setting('app.current_tenant_id')") == str(TENANT_A)
    assert refusal(proxy, "garbage", address=path).code == "28000"
    proxy.stop()
    assert not os.path.exists(path)


@pytest.mark.parametrize("field", ["user", "database"])
def test_names_are_quoted_in_the_log(make_proxy, keys, field):
    proxy = make_proxy(databases=("eav", "*"))
    token = keys.token(TENANT_A)
    for name in (b'x" database=eav tenant=456 \x9b31m\n', token.encode()):
        packet = {"user": b"app", "database": b"eav", field: name}
        body = struct.pack("!I", 196608)
        body += b"".join(k.encode() + b"\0" + v + b"\0" for k, v in packet.items()) + b"\0"
        with Connection(proxy.address) as conn:
            conn.send(struct.pack("!I", len(body) + 4) + body)
            assert conn.read().type == "R"
            conn.send(pgproto.password(token))
            ends(conn)
    proxy.wait_log(rf'{field}="x\x22 database=eav tenant=456 \x9b31m\x0a"')
    proxy.wait_log(f"{field}=(a token?)")
    assert token[:40] not in proxy.log()


def test_every_worker_tells_the_parameters(make_proxy):
    """One server in all: most workers only ever see it lent by the one that opened it."""
    proxy = make_proxy({"pgusher": {"workers": 4, "max_server_conn": 1}})
    for _ in range(24):
        with proxy.raw(TENANT_A) as conn:
            assert conn.parameters["server_encoding"] == "UTF8", conn.parameters
            assert conn.parameters["TimeZone"] and conn.parameters["server_version"]


# ---- TLS ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "server.crt", folder / "server.key"
    subprocess.run(
        ["openssl", "req", "-new", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-newkey", "rsa:2048", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
         "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )
    return {"client_tls_cert_file": cert, "client_tls_key_file": key}


def test_tls_disable_answers_no(proxy, keys):
    with Connection(proxy.address) as conn:
        for request in (pgproto.GSSENC_REQUEST, pgproto.SSL_REQUEST):
            conn.send(struct.pack("!II", 8, request))
            assert conn.recv_exactly(1) == b"N"
        conn.login("app", "eav", keys.token(TENANT_A))
        assert conn.scalar("SELECT 1") == "1"


def test_tls_allow_takes_both(make_proxy, keys, certificate):
    proxy = make_proxy({"pgusher": {"client_tls_sslmode": "allow", **certificate}})
    for tls in (True, False):
        with proxy.raw(TENANT_A, tls=tls) as conn:
            big = conn.scalar("SELECT repeat('x', 300000)")
            assert len(big) == 300000
            assert conn.rows("SELECT length($1)", ["y" * 200000]) == [("200000",)]


def test_tls_require_refuses_plain(make_proxy, keys, certificate):
    proxy = make_proxy({"pgusher": {"client_tls_sslmode": "require", **certificate}})
    proxy.raw(TENANT_A, tls=True).terminate()
    error = refusal(proxy, keys.token(TENANT_A))
    assert error.code == "28000" and "TLS" in error.message
    verified = {**proxy.dsn(TENANT_A), "sslmode": "verify-full",
                "sslrootcert": str(certificate["client_tls_cert_file"])}
    with psycopg.connect(**verified) as conn:
        assert conn.execute("SELECT count(*) FROM entities").fetchone()


def test_plaintext_after_ssl_request_closes(make_proxy, keys, certificate):
    """Bytes that came before TLS must never count as if they had come through it."""
    proxy = make_proxy({"pgusher": {"client_tls_sslmode": "allow", **certificate}})
    with Connection(proxy.address) as conn:
        early = pgproto.startup({"user": "app", "database": "eav"})
        conn.send(struct.pack("!II", 8, pgproto.SSL_REQUEST) + early)
        received = b""
        try:
            while chunk := conn.sock.recv(1000):
                received += chunk
        except ConnectionResetError:
            pass
        assert received in (b"", b"S") or received.startswith(b"E")
    proxy.raw(TENANT_A, tls=True).terminate()


# ---- packets no driver sends -------------------------------------------------------------


def ends(conn):
    """The connection is closed by the other side; all it said before, raw."""
    conn.sock.settimeout(15)
    out = bytes(conn.buffer)
    try:
        while chunk := conn.sock.recv(1000):
            out += chunk
    except ConnectionResetError:
        pass
    return out


@pytest.mark.parametrize(
    "packet",
    [
        struct.pack("!I", 0),
        struct.pack("!I", 7) + b"\0" * 3,
        struct.pack("!I", 0x7FFFFFFF) + b"\0" * 8,
        struct.pack("!I", 0x80000000) + b"\0" * 8,
        struct.pack("!II", 10001, 196608) + b"x" * 100,
        struct.pack("!II", 8, 0x00020000),
        struct.pack("!II", 8, 99999999),
        struct.pack("!II", 9, 196608) + b"\0",
        struct.pack("!II", 13, 196608) + b"user\0",
        struct.pack("!II", 14, 196608) + b"user\0x",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
    ids=["len0", "len7", "len-huge", "len-negative", "over-10000", "version-2", "unknown-code",
         "no-user", "no-value", "no-terminator", "http"],
)
def test_malformed_startup_is_closed(proxy, packet):
    with Connection(proxy.address) as conn:
        conn.send(packet)
        said = ends(conn)
        assert said == b"" or said.startswith(b"E"), said


def test_second_ssl_request_closes(proxy):
    with Connection(proxy.address) as conn:
        for _ in range(2):
            conn.send(struct.pack("!II", 8, pgproto.SSL_REQUEST))
        said = ends(conn)
        assert said[:1] == b"N" and (said == b"N" or said[1:2] == b"E"), said


@pytest.mark.parametrize("value", ["true", "on", "database", "1"])
def test_replication_is_refused(proxy, keys, value):
    with pytest.raises(LoginError) as caught:
        proxy.raw(TENANT_A, replication=value)
    assert caught.value.code == "0A000"


def test_replication_off_is_no_replication(proxy):
    proxy.raw(TENANT_A, replication="false").terminate()


def asked_for_password(proxy):
    conn = Connection(proxy.address)
    conn.send(pgproto.startup({"user": "app", "database": "eav"}))
    assert conn.read() == pgproto.Message("R", struct.pack("!I", 3))
    return conn


def test_long_token_gets_in(proxy, keys):
    token = keys.hand_made(claims(padding="x" * 8000))
    proxy.raw(TENANT_A, secret=token).terminate()


def test_password_over_16_kb_is_refused(proxy):
    with asked_for_password(proxy) as conn:
        conn.send(pgproto.password("x" * 17000))
        said = ends(conn)
        assert said == b"" or said.startswith(b"E"), said


@pytest.mark.parametrize("length", [0, 3, 0x7FFFFFFF, 0xFFFFFFFF])
def test_password_of_wrong_length_closes(proxy, length):
    with asked_for_password(proxy) as conn:
        conn.send(b"p" + struct.pack("!I", length))
        said = ends(conn)
        assert said == b"" or said.startswith(b"E"), said


def test_query_instead_of_a_password_closes(proxy):
    with asked_for_password(proxy) as conn:
        conn.send(pgproto.query("SELECT 1"))
        said = ends(conn)
        assert said == b"" or said.startswith(b"E"), said


def test_login_cut_at_every_byte(proxy, keys):
    packet = pgproto.startup({"user": "app", "database": "eav"})
    secret = pgproto.password(keys.token(TENANT_A))
    with Connection(proxy.address) as conn:
        conn.send_cut(packet, range(1, len(packet)), pause=0.0005)
        assert conn.read().type == "R"
        conn.send_cut(secret, range(1, len(secret)), pause=0.0001)
        assert conn.read() == pgproto.Message("R", struct.pack("!I", 0))
        conn.read_until_ready()


def test_silent_client_is_closed_after_client_login_timeout(make_proxy):
    proxy = make_proxy({"pgusher": {"client_login_timeout": "300ms"}})
    with Connection(proxy.address) as silent, asked_for_password(proxy) as half:
        began = time.monotonic()
        ends(silent)
        ends(half)
        assert 0.2 < time.monotonic() - began < 10


def test_max_client_conn(make_proxy):
    proxy = make_proxy({"pgusher": {"max_client_conn": 3}})
    clients = [proxy.raw(TENANT_A) for _ in range(3)]
    with pytest.raises((LoginError, ConnectionError)) as caught:
        proxy.raw(TENANT_A)
    assert getattr(caught.value, "code", "53300") == "53300"
    clients.pop().terminate()
    deadline = time.monotonic() + 10
    while True:
        try:
            clients.append(proxy.raw(TENANT_A))
            break
        except LoginError:
            assert time.monotonic() < deadline
    for conn in clients:
        conn.terminate()


# ---- the command line --------------------------------------------------------------------


def test_check_accepts_what_serve_runs(proxy):
    done = run_binary("check", "-c", proxy.ini)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["check", "serve"])
def test_bad_ini_names_file_line_and_key(proxy, tmp_path, command):
    ini = tmp_path / "bad.ini"
    with open(proxy.ini, encoding="utf-8") as file:
        ini.write_text(file.read().replace("[jwt]\n", "[jwt]\njwks_fiel = x\n"))
    line = ini.read_text().splitlines().index("jwks_fiel = x") + 1
    done = run_binary(command, "-c", str(ini))
    assert done.returncode == 1
    assert f"{ini}:{line}: " in done.stderr and "jwks_fiel" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_taken_port_is_a_clear_error(proxy, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ini = tmp_path / "taken.ini"
        with open(proxy.ini, encoding="utf-8") as file:
            text = file.read()
        ini.write_text(text.replace(f"listen_port = {proxy.port}", f"listen_port = {port}"))
        done = run_binary("serve", "-c", str(ini))
        assert done.returncode == 1
        assert str(port) in done.stderr + done.stdout
