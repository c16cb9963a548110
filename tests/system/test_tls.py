"""TLS on both sides, option by option: what is refused, what is agreed on, what is read again."""

import shutil
import signal
import socket
import ssl
import struct
import subprocess

import pgproto
import psycopg
import pytest
from cluster import wait_until
from conftest import TENANT_A
from pgproto import Connection, ConnectionClosed, LoginError
from proxy import run_binary

# ---- certificates ------------------------------------------------------------------------


class Authority:
    """A certificate authority in a folder, and what it signs."""

    def __init__(self, folder, name):
        self.folder = folder
        self.name = name
        self.crt, self.key = self._request(name, "-x509", "-days", "2")

    def _request(self, cn, *args, stem=None):
        stem = self.folder / f"{self.name}-{stem or cn}"
        crt, key = stem.with_suffix(".crt"), stem.with_suffix(".key")
        _openssl("req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-subj", f"/CN={cn}", "-keyout", key, "-out", crt, *args)
        return crt, key

    def sign(self, cn, alternative=None, days=2, stem=None):
        """(certificate, key)"""
        csr, key = self._request(cn, stem=stem)
        ext = csr.with_suffix(".ext")
        ext.write_text(f"subjectAltName={alternative}\n" if alternative else "\n")
        crt = csr.with_suffix(".pem")
        _openssl("x509", "-req", "-in", csr, "-CA", self.crt, "-CAkey", self.key,
                 "-CAcreateserial", "-days", str(days), "-extfile", ext, "-out", crt)
        return crt, key


def _openssl(*args):
    done = subprocess.run(["openssl", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


SERVER_NAMES = "IP:127.0.0.1,DNS:localhost"


class Certificates:
    def __init__(self, folder):
        self.ca = Authority(folder, "ca")
        self.foreign = Authority(folder, "foreign")
        self.server = self.ca.sign("localhost", SERVER_NAMES, stem="server")
        self.other_server = self.ca.sign("localhost", SERVER_NAMES, stem="server2")
        self.app = self.ca.sign("app")
        self.by_name = self.ca.sign("someone", "DNS:app")
        self.somebody = self.ca.sign("somebody")
        self.expired = self.ca.sign("app", days=-1, stem="expired")
        self.not_ours = self.foreign.sign("app")

    @property
    def ini(self):
        return {"client_tls_sslmode": "require", "client_tls_cert_file": self.server[0],
                "client_tls_key_file": self.server[1]}


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certs"))


def context(cert=None, version=None, ciphers=None, alpn=None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if cert:
        made.load_cert_chain(*cert)
    if version:
        made.minimum_version = made.maximum_version = version
    if ciphers:
        made.set_ciphers(ciphers)
    if alpn:
        made.set_alpn_protocols(alpn)
    return made


class Client(Connection):
    """A client whose TLS is as the test wants it."""

    def secure(self, ctx, session=None):
        self.send(struct.pack("!II", 8, pgproto.SSL_REQUEST))
        assert self.recv_exactly(1) == b"S"
        return self.direct(ctx, session)

    def direct(self, ctx, session=None):
        self.sock = ctx.wrap_socket(self.sock, session=session)
        return self


def logged_in(proxy, ctx, direct=False, session=None):
    client = Client(proxy.address)
    (client.direct if direct else client.secure)(ctx, session)
    client.login("app", "eav", proxy.keys.token(TENANT_A))
    assert client.scalar("SELECT 1") == "1"
    return client


def refused_handshake(proxy, ctx, direct=False):
    """What the client hears. Under TLS 1.3 it may believe itself connected until it reads."""
    client = Client(proxy.address)
    with pytest.raises((ssl.SSLError, ConnectionClosed, ConnectionError)) as info:
        (client.direct if direct else client.secure)(ctx)
        client.login("app", "eav", proxy.keys.token(TENANT_A))
    return str(info.value)


VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)

# ---- versions, ciphers, groups -------------------------------------------------------------


def test_protocols(make_proxy, certs):
    for only, name in zip(VERSIONS, ("tlsv1.2", "tlsv1.3")):
        proxy = make_proxy({"pgusher": {**certs.ini, "client_tls_protocols": name}})
        for version in VERSIONS:
            if version == only:
                logged_in(proxy, context(version=version)).terminate()
            else:
                refused_handshake(proxy, context(version=version))
                proxy.wait_log("TLS failed: unsupported protocol")


def test_no_renegotiation(make_proxy, certs):
    """openssl's client asks for one at a line "R"."""
    proxy = make_proxy({"pgusher": certs.ini})
    with subprocess.Popen(
            ["openssl", "s_client", "-connect", "%s:%d" % proxy.address, "-starttls", "postgres",
             "-tls1_2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True) as client:
        client.stdin.write("R\n")
        client.stdin.flush()
        said = []
        for line in client.stdout:
            said.append(line)
            if "no renegotiation" in line:
                break
        client.kill()
    assert "RENEGOTIATING\n" in said and "no renegotiation" in said[-1], said


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_below_1_2_is_refused_by_default(make_proxy, certs):
    proxy = make_proxy({"pgusher": certs.ini})
    old = context(ciphers="ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    refused_handshake(proxy, old)
    proxy.wait_log("TLS failed: unsupported protocol")
    everything = {"client_tls_protocols": "all", "client_tls_ciphers": "ALL:@SECLEVEL=0"}
    proxy = make_proxy({"pgusher": {**certs.ini, **everything}})
    with logged_in(proxy, old) as client:
        assert client.sock.version() == "TLSv1.1"


def test_ciphers(make_proxy, certs):
    proxy = make_proxy({"pgusher": {
        **certs.ini, "client_tls_ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256",
        "client_tls13_ciphers": "TLS_CHACHA20_POLY1305_SHA256",
    }})
    with logged_in(proxy, context(version=ssl.TLSVersion.TLSv1_3)) as client:
        assert client.sock.cipher()[0] == "TLS_CHACHA20_POLY1305_SHA256"
    with logged_in(proxy, context(version=ssl.TLSVersion.TLSv1_2)) as client:
        assert client.sock.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"
    wrong = context(version=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    refused_handshake(proxy, wrong)
    proxy.wait_log("TLS failed: no shared cipher")


def test_curve(make_proxy, certs):
    proxy = make_proxy({"pgusher": {**certs.ini, "client_tls_ecdhcurve": "secp384r1"}})
    logged_in(proxy, context()).terminate()
    narrow = context(version=ssl.TLSVersion.TLSv1_3)
    narrow.set_ecdh_curve("prime256v1")
    refused_handshake(proxy, narrow)
    proxy.wait_log("TLS failed: no suitable key share")


# ---- clients' certificates -----------------------------------------------------------------


def verifying(certs, mode):
    return {"pgusher": {**certs.ini, "client_tls_sslmode": mode,
                        "client_tls_ca_file": certs.ca.crt}}


@pytest.mark.parametrize("version", VERSIONS)
def test_verify_ca(make_proxy, certs, version):
    proxy = make_proxy(verifying(certs, "verify-ca"))
    logged_in(proxy, context(certs.app, version)).terminate()
    logged_in(proxy, context(certs.somebody, version)).terminate()
    for cert, why in (
        (None, "peer did not return a certificate"),
        (certs.not_ours, "unable to get local issuer certificate"),
        (certs.expired, "certificate has expired"),
    ):
        refused_handshake(proxy, context(cert, version))
        proxy.wait_log(f"TLS failed: {why}")
    with pytest.raises(LoginError) as info:
        proxy.raw(TENANT_A)
    assert info.value.code == "28000" and "TLS" in info.value.message


def test_verify_full(make_proxy, certs):
    proxy = make_proxy(verifying(certs, "verify-full"))
    logged_in(proxy, context(certs.app)).terminate()
    logged_in(proxy, context(certs.by_name)).terminate()
    with pytest.raises(LoginError) as info:
        logged_in(proxy, context(certs.somebody))
    assert info.value.code == "28000" and "client certificate" in info.value.message
    refused_handshake(proxy, context())


def test_libpq_with_its_certificate(make_proxy, certs):
    proxy = make_proxy(verifying(certs, "verify-full"))
    dsn = {**proxy.dsn(TENANT_A), "sslmode": "verify-full", "sslrootcert": str(certs.ca.crt),
           "sslcert": str(certs.app[0]), "sslkey": str(certs.app[1])}
    with psycopg.connect(**dsn) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_unix_socket_needs_no_certificate(make_proxy, certs, tmp_path):
    ini = verifying(certs, "verify-full")
    ini["pgusher"]["unix_socket_dir"] = tmp_path
    proxy = make_proxy(ini)
    path = f"{tmp_path}/.s.PGSQL.{proxy.port}"
    with Connection.connect(path, "app", "eav", proxy.keys.token(TENANT_A)) as client:
        assert client.scalar("SELECT 1") == "1"


# ---- direct TLS ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_direct_tls(make_proxy, certs, version):
    proxy = make_proxy({"pgusher": certs.ini})
    ctx = context(version=version, alpn=["postgresql"])
    with logged_in(proxy, ctx, direct=True) as client:
        assert client.sock.selected_alpn_protocol() == "postgresql"
    # Behind SSLRequest it is answered too, and not demanded.
    with logged_in(proxy, ctx) as client:
        assert client.sock.selected_alpn_protocol() == "postgresql"
    with logged_in(proxy, context(version=version)) as client:
        assert client.sock.selected_alpn_protocol() is None


def test_direct_tls_needs_alpn(make_proxy, certs):
    proxy = make_proxy({"pgusher": certs.ini})
    for alpn in (None, ["http/1.1"]):
        for version in VERSIONS:
            said = refused_handshake(proxy, context(version=version, alpn=alpn), direct=True)
            assert "application protocol" in said
    assert "application protocol" in refused_handshake(proxy, context(alpn=["h2"]))


def test_direct_tls_byte_by_byte(make_proxy, certs):
    """A ClientHello that comes in pieces is as good as a whole one."""
    proxy = make_proxy({"pgusher": certs.ini})
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(alpn=["postgresql"]).wrap_bio(incoming, outgoing)
    with socket.create_connection(proxy.address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(10):
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    sock.sendall(bytes([byte]))
                incoming.write(sock.recv(65536))
            else:
                break
        assert tls.selected_alpn_protocol() == "postgresql"


def test_no_direct_tls_where_tls_is_off(proxy):
    refused_handshake(proxy, context(alpn=["postgresql"]), direct=True)


# ---- resumption ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("tickets", (True, False))
def test_resumption_over_workers(make_proxy, certs, version, tickets):
    """Whichever worker a new connection gets, it resumes what another one began."""
    if version == ssl.TLSVersion.TLSv1_3 and not tickets:
        pytest.skip("TLS 1.3 resumes by ticket only")
    proxy = make_proxy({"pgusher": {**certs.ini, "workers": 4}})
    ctx = context(version=version)
    if not tickets:
        ctx.options |= ssl.OP_NO_TICKET
    session = None
    for i in range(12):
        with logged_in(proxy, ctx, session=session) as client:
            assert client.sock.session_reused == (i > 0)
            session = client.sock.session
            assert session.has_ticket == tickets
            client.sock.unwrap()


def test_resumption_after_reload(make_proxy, certs):
    proxy = make_proxy({"pgusher": certs.ini})
    ctx = context()
    with logged_in(proxy, ctx) as client:
        session = client.sock.session
        client.sock.unwrap()
    reload_tls(proxy)
    assert logged_in(proxy, ctx, session=session).sock.session_reused


# ---- reload --------------------------------------------------------------------------------


def reload_tls(proxy, expect="certificate read from"):
    count = proxy.log().count(expect)
    proxy.process.send_signal(signal.SIGHUP)
    wait_until(lambda: proxy.log().count(expect) > count, f"{expect!r} in the log")


def shown(proxy):
    client = Client(proxy.address).secure(context())
    try:
        return client.sock.getpeercert(binary_form=True)
    finally:
        client.close()


def der(path):
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def test_certificate_is_replaced(make_proxy, certs, tmp_path):
    crt, key = tmp_path / "server.crt", tmp_path / "server.key"

    def put(pair):
        shutil.copy(pair[0], crt)
        shutil.copy(pair[1], key)

    put(certs.server)
    proxy = make_proxy({"pgusher": {**certs.ini, "client_tls_cert_file": crt,
                                    "client_tls_key_file": key}})
    assert shown(proxy) == der(certs.server[0])
    with logged_in(proxy, context()) as old:
        put(certs.other_server)
        reload_tls(proxy)
        # Both workers have taken it: their letters were posted before the log line.
        for _ in range(8):
            assert shown(proxy) == der(certs.other_server[0])
        assert old.scalar("SELECT 2") == "2"
        # A certificate without its key, no certificate at all: the old ones stay.
        shutil.copy(certs.server[0], crt)
        reload_tls(proxy, ": client_tls_key_file: the private key in")
        crt.write_text("nothing")
        reload_tls(proxy, ": client_tls_cert_file: cannot load")
        crt.unlink()
        reload_tls(proxy, ": client_tls_cert_file: cannot read")
        for _ in range(4):
            assert shown(proxy) == der(certs.other_server[0])
        assert old.scalar("SELECT 3") == "3"


def test_authorities_are_replaced(make_proxy, certs, tmp_path):
    ca = tmp_path / "ca.crt"
    shutil.copy(certs.ca.crt, ca)
    ini = verifying(certs, "verify-ca")
    ini["pgusher"]["client_tls_ca_file"] = ca
    proxy = make_proxy(ini)
    logged_in(proxy, context(certs.app)).terminate()
    shutil.copy(certs.foreign.crt, ca)
    reload_tls(proxy)
    refused_handshake(proxy, context(certs.app))
    logged_in(proxy, context(certs.not_ours)).terminate()


# ---- PostgreSQL's side -----------------------------------------------------------------------

STATE = "SELECT ssl::text, version, cipher, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def server_side(make_proxy, **options):
    host = options.pop("host", "127.0.0.1")
    return make_proxy({"pgusher": options, "node primary": {"host": host}})


def state(proxy):
    with proxy.raw(TENANT_A) as client:
        return client.rows(STATE)[0]


def no_server(proxy, why):
    """A client that logs in waits for a first server, and the log says why there is none."""
    with Connection(proxy.address) as client:
        client.send(pgproto.startup({"user": "app", "database": "eav"}))
        assert client.read().type == "R"
        client.send(pgproto.password(proxy.keys.token(TENANT_A)))
        proxy.wait_log(why)


def test_server_modes(make_proxy, cluster, certs):
    assert state(server_side(make_proxy, server_tls_sslmode="disable"))[0] == "false"
    for mode in ("prefer", "require"):
        assert state(server_side(make_proxy, server_tls_sslmode=mode))[0] == "true"
    # The cluster's certificate is its own authority, for the name localhost.
    ours = {"server_tls_ca_file": cluster.cert}
    for mode, host in (("verify-ca", "127.0.0.1"), ("verify-full", "localhost")):
        proxy = server_side(make_proxy, server_tls_sslmode=mode, host=host, **ours)
        assert state(proxy)[0] == "true"
    proxy = server_side(make_proxy, server_tls_sslmode="verify-full", **ours)
    no_server(proxy, "does not match host name")
    for mode in ("verify-ca", "verify-full", "require"):
        proxy = server_side(make_proxy, server_tls_sslmode=mode, host="localhost",
                            server_tls_ca_file=certs.foreign.crt)
        no_server(proxy, "certificate verify failed")
    # As with PgBouncer nothing is verified here, and no plain text follows.
    proxy = server_side(make_proxy, server_tls_sslmode="prefer",
                        server_tls_ca_file=certs.foreign.crt)
    assert state(proxy)[0] == "true"


def test_server_protocols_and_ciphers(make_proxy):
    proxy = server_side(make_proxy, server_tls_sslmode="require", server_tls_protocols="tlsv1.2",
                        server_tls_ciphers="ECDHE-RSA-AES128-GCM-SHA256")
    assert state(proxy)[1:3] == ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256")
    proxy = server_side(make_proxy, server_tls_sslmode="require",
                        server_tls13_ciphers="TLS_CHACHA20_POLY1305_SHA256")
    assert state(proxy)[1:3] == ("TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256")
    # What PostgreSQL cannot do: it offers no TLS below 1.2.
    proxy = server_side(make_proxy, server_tls_sslmode="require", server_tls_protocols="tlsv1.1",
                        server_tls_ciphers="ALL:@SECLEVEL=0")
    no_server(proxy, "SSL error")


@pytest.fixture
def cluster_verifies(cluster, certs):
    """PostgreSQL asks its clients for certificates."""
    path = f"{cluster.base}/primary/clients-ca.crt"
    shutil.copy(certs.ca.crt, path)
    subprocess.run(["chmod", "644", path], check=True)
    cluster.sql(f"ALTER SYSTEM SET ssl_ca_file = '{path}'")
    cluster.sql("SELECT pg_reload_conf()")
    yield
    cluster.sql("ALTER SYSTEM RESET ssl_ca_file")
    cluster.sql("SELECT pg_reload_conf()")


def test_server_sees_our_certificate(make_proxy, certs, cluster_verifies):
    ours = {"server_tls_cert_file": certs.app[0], "server_tls_key_file": certs.app[1]}
    proxy = server_side(make_proxy, server_tls_sslmode="require", **ours)
    assert state(proxy)[3] == "/CN=app"
    proxy = server_side(make_proxy, server_tls_sslmode="require")
    assert state(proxy)[3] in ("", None)


# ---- pgusher check -------------------------------------------------------------------------


@pytest.fixture
def check(make_proxy, certs, tmp_path):
    """Runs `pgusher check` over a working configuration with some TLS options changed."""
    base = make_proxy({"pgusher": certs.ini})

    def run(key, **options):
        lines = open(base.ini, encoding="utf-8").read().splitlines()
        for name, value in options.items():
            lines = [l for l in lines if not l.startswith(f"{name} =")]
            lines.insert(1, f"{name} = {value}")
        ini = tmp_path / "check.ini"
        ini.write_text("\n".join(lines) + "\n")
        done = run_binary("check", "-c", str(ini))
        if key is None:
            assert (done.returncode, done.stderr) == (0, "")
            return ""
        number = next(i for i, l in enumerate(lines, 1) if l.startswith(f"{key} ="))
        assert done.returncode == 1
        assert done.stderr.startswith(f"{ini}:{number}: {key}: "), done.stderr
        # Whatever check refuses, serve does not start with.
        served = run_binary("serve", "-c", str(ini))
        assert served.returncode == 1 and f"{ini}:{number}: {key}: " in served.stderr
        return done.stderr

    return run


def test_check(check, certs, tmp_path):
    check(None)
    junk = tmp_path / "junk.pem"
    junk.write_text("junk\n")
    bad_key = tmp_path / "open.key"
    shutil.copy(certs.app[1], bad_key)
    bad_key.chmod(0o644)
    crt, key, ca = "client_tls_cert_file", "client_tls_key_file", "client_tls_ca_file"
    assert str(junk) in check(crt, **{crt: junk})
    assert "does not belong to the certificate" in check(key, **{key: certs.app[1]})
    assert str(junk) in check(ca, **{ca: junk, "client_tls_sslmode": "verify-ca"})
    assert "No such file" in check(ca, **{ca: tmp_path / "none"})
    assert "is needed" in check("client_tls_sslmode", client_tls_sslmode="verify-full")
    assert "is none of" in check("client_tls_protocols", client_tls_protocols="sslv3")
    assert "finds no cipher" in check("client_tls_ciphers", client_tls_ciphers="FOO")
    assert "has no" in check("client_tls13_ciphers", client_tls13_ciphers="FOO")
    assert "has no" in check("client_tls_ecdhcurve", client_tls_ecdhcurve="FOO")
    assert "is none of" in check("client_tls_dheparams", client_tls_dheparams="4096")
    assert "gap" in check("server_tls_protocols", server_tls_protocols="tlsv1.1,tlsv1.3")
    assert "finds no cipher" in check("server_tls_ciphers", server_tls_ciphers="FOO")
    assert "has no" in check("server_tls13_ciphers", server_tls13_ciphers="FOO")
    assert str(junk) in check("server_tls_ca_file", server_tls_ca_file=junk)
    ours = {"server_tls_cert_file": certs.app[0], "server_tls_key_file": certs.app[1]}
    check(None, **ours)
    assert "does not belong" in check("server_tls_key_file", **{
        **ours, "server_tls_key_file": certs.server[1]})
    assert "chmod" in check("server_tls_key_file", **{**ours, "server_tls_key_file": bad_key})
