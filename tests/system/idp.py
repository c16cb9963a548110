"""An issuer of the tests' own: an https server that publishes a key set, and misbehaves on demand.

Its certificate comes from a CA made for it by openssl. `answer` says how the next requests are
dealt with; `requests` counts them, so that tests can tell a refresh from none.
"""

import http.server
import itertools
import json
import os
import ssl
import subprocess
import threading

from cluster import wait_until


def make_ca(folder):
    """A CA and a certificate for localhost under it: (ca file, certificate, key)."""
    def openssl(*args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)

    ca, ca_key = folder / "ca.crt", folder / "ca.key"
    cert, key, csr = folder / "idp.crt", folder / "idp.key", folder / "idp.csr"
    ext = folder / "ext"
    ext.write_text("subjectAltName=DNS:localhost\n")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-new", "-x509", *curve, "-days", 2, "-subj", "/CN=test CA",
            "-keyout", ca_key, "-out", ca)
    openssl("req", "-new", *curve, "-subj", "/CN=localhost", "-keyout", key, "-out", csr)
    openssl("x509", "-req", "-in", csr, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
            "-days", 2, "-extfile", ext, "-out", cert)
    return ca, cert, key


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        idp = self.server.idp
        with idp.lock:
            idp.requests += 1
            answer = idp.answer
        try:
            answer(self)
        except (BrokenPipeError, ConnectionError, ssl.SSLError):
            pass

    def say(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that refused our certificate, for one."""


class Idp:
    """Serves until stopped; https with a certificate for localhost, or http without."""

    def __init__(self, certificate=None, port=0):
        self.lock = threading.Lock()
        self.requests = 0
        self.keys = []
        self.answer = self.publish
        self.certificate = certificate
        self.server = None
        self.port = port
        self.start()

    def start(self):
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.idp = self
        self.port = self.server.server_address[1]
        if self.certificate:
            _, cert, key = self.certificate
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            # The handshake in the connection's own thread: one that fails must not stop the rest.
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://localhost:{self.port}/keys?hint=nobodys-business"

    def publish(self, handler):
        handler.say(json.dumps({"keys": self.keys}).encode())

    def wait_requests(self, n, timeout=30):
        wait_until(lambda: self.requests >= n, f"{n} requests at the issuer", timeout)


def public_of(keys, path):
    """The public JWK of a private key's file."""
    return keys.public(path)[0]


unique = itertools.count()


def named_key(keys, name, alg="ES256"):
    """A fresh private key with the kid `name`: its file and its public JWK."""
    path = keys.new_key(alg, f"{name}-{next(unique)}")  # tokens are remembered by the file
    with open(path, encoding="utf-8") as file:
        jwk = json.load(file)
    jwk["kid"] = name
    with open(path, "w", encoding="utf-8") as file:
        json.dump(jwk, file)
    os.chmod(path, 0o600)
    return path, public_of(keys, path)
