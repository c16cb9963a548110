#!/usr/bin/python3
"""What TLS clients cost PgUsher: resident bytes of an idle logged-in one, processor time of a login.

    bench/tls_idle.py [CLIENTS]        2000 by default; PGUSHER_BIN chooses the binary

Bytes are what the process's private memory grows by, divided by the clients, without the first
200 (arenas, caches, server connections). Everything is made in a temporary folder and removed.
"""

import os
import pathlib
import resource
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
REPO = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "tests" / "system"))

import pgproto  # noqa: E402
from cluster import Cluster  # noqa: E402
from proxy import Keys, Proxy  # noqa: E402

FIRST = 200
LOGINS = 1000
READY = b"Z\0\0\0\5I"


def login(address, token, ctx=None, session=None):
    sock = socket.create_connection(address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(60)
    if ctx:
        sock.sendall(struct.pack("!II", 8, pgproto.SSL_REQUEST))
        assert sock.recv(1) == b"S"
        sock = ctx.wrap_socket(sock, session=session)
    sock.sendall(pgproto.startup({"user": "app", "database": "eav"}))
    sock.recv(1000)
    sock.sendall(pgproto.password(token))
    answer = b""
    while not answer.endswith(READY):
        answer += sock.recv(10000)
    return sock


def private_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        sizes = dict(line.split(":", 1) for line in file.read().splitlines()[1:])
    return int(sizes["Private_Dirty"].split()[0]) * 1024


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def context(version):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    ctx.minimum_version = ctx.maximum_version = version
    return ctx


def idle(proxy, token, name, ctx, count):
    held = [login(proxy.address, token, ctx) for _ in range(FIRST)]
    before = private_bytes(proxy.process.pid)
    held += [login(proxy.address, token, ctx) for _ in range(count)]
    grown = private_bytes(proxy.process.pid) - before
    print(f"{name}: {grown / count:.0f} bytes an idle client", flush=True)
    for sock in held:
        sock.close()


def logins(proxy, token, name, ctx):
    session = login(proxy.address, token, ctx).session
    for kind in ("full", "resumed"):
        before = cpu_s(proxy.process.pid)
        for _ in range(LOGINS):
            sock = login(proxy.address, token, ctx, session if kind == "resumed" else None)
            assert sock.session_reused == (kind == "resumed")
            session = sock.session
            sock.close()
        spent = (cpu_s(proxy.process.pid) - before) / LOGINS
        print(f"{name}: {spent * 1e6:.0f} us a login, {kind}", flush=True)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * count + 1000,) * 2)
    with tempfile.TemporaryDirectory(prefix="pgusher-tls.", ignore_cleanup_errors=True) as folder:
        folder = pathlib.Path(folder)
        cluster = Cluster(folder / "cluster")
        crt, key = folder / "server.crt", folder / "server.key"
        subprocess.run(
            ["openssl", "req", "-new", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-newkey", "rsa:2048", "-keyout", key, "-out", crt], check=True, capture_output=True,
        )
        options = {"client_tls_sslmode": "allow", "client_tls_cert_file": crt,
                   "client_tls_key_file": key, "log_connections": "no", "log_disconnections": "no"}
        try:
            cluster.start()
            cluster.deploy("eav")
            for name in ("plain", "TLSv1_2", "TLSv1_3"):
                (folder / name).mkdir()
                keys = Keys(folder / name)
                ctx = None if name == "plain" else context(ssl.TLSVersion[name])
                with Proxy(cluster, keys, folder / name, {"pgusher": options}) as proxy:
                    idle(proxy, keys.token(123), name, ctx, count)
                    if ctx:
                        time.sleep(0.5)
                        logins(proxy, keys.token(123), name, ctx)
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
