"""A PgUsher of the tests' own: keys, tokens, ini file, process and log.

The binary is build/pgusher, or what PGUSHER_BIN names (sanitizer builds). Whoever starts a
Proxy stops it; `stop` also checks that it ended well and that no sanitizer complained.
"""

import base64
import functools
import hashlib
import hmac
import json
import os
import re
import resource
import signal
import socket
import subprocess
import time

from cluster import REPO, wait_until
from pgproto import Connection

BINARY = os.environ.get("PGUSHER_BIN") or os.path.join(REPO, "build", "pgusher")
SANITIZER_REPORT = re.compile(
    r"(ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:"
    r"|SUMMARY: \w*Sanitizer)"
)
# Under a sanitizer all is several times slower; nothing here measures speed.
START_TIMEOUT = 30.0
STOP_TIMEOUT = 60.0


def run_binary(*args, timeout=60):
    """Runs a subcommand to its end: CompletedProcess with text output."""
    return subprocess.run(
        [BINARY, *args], capture_output=True, text=True, timeout=timeout, check=False
    )


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# ---- keys and tokens ---------------------------------------------------------------------


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Keys:
    """One key of each algorithm, the public key set, and tokens signed with them."""

    ALGORITHMS = ("HS256", "RS256", "ES256")

    def __init__(self, folder):
        self.folder = str(folder)
        self.jwks_file = os.path.join(self.folder, "jwks.json")
        self.files = {alg: self.new_key(alg) for alg in self.ALGORITHMS}
        public = [key for alg in ("RS256", "ES256") for key in self.public(self.files[alg])]
        with open(self.files["HS256"], encoding="utf-8") as file:
            public.append(json.load(file))  # a shared secret has no public half
        self._write(self.jwks_file, json.dumps({"keys": public}))

    def new_key(self, alg, name=None):
        """A fresh private key that is in no key set yet; the file's name."""
        path = os.path.join(self.folder, f"{name or alg}.jwk")
        made = run_binary("token", "--new-key", alg)
        assert made.returncode == 0, made.stderr
        self._write(path, made.stdout)
        return path

    @staticmethod
    def public(path):
        shown = run_binary("token", "--key", path, "--public")
        assert shown.returncode == 0, shown.stderr
        return json.loads(shown.stdout)["keys"]

    @staticmethod
    def _write(path, text):
        with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            file.write(text)

    @functools.lru_cache(maxsize=None)
    def token(self, tenant, role="app", alg="ES256", key_file=None, extra=()):
        """A token as `pgusher token` signs it; extra: further arguments, as a tuple."""
        args = ["token", "--key", key_file or self.files[alg], "--ttl", "1h"]
        args += ["--role", role] if role else []
        args += ["--tenant", str(tenant)] if tenant is not None else ["--no-tenant"]
        made = run_binary(*args, *extra)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def fresh_token(self, tenant, ttl_s, role="app"):
        """A token that expires ttl_s seconds from now (also in the past), made by hand."""
        now = int(time.time())
        return self.hand_made({"tenant_id": str(tenant), "role": role, "exp": now + ttl_s})

    def hand_made(self, claims, header=None):
        """Claims that `pgusher token` would not sign, or their text, under the HS256 key."""
        with open(self.files["HS256"], encoding="utf-8") as file:
            key = json.load(file)
        head = {"alg": "HS256", "typ": "JWT", "kid": key.get("kid"), **(header or {})}
        return sign_hs256(head, claims, unb64url(key["k"]))


def sign_hs256(header, claims, secret):
    """A JWT with any header at all, signed as if it were HS256."""
    head = {k: v for k, v in header.items() if v is not None}
    claims = claims if isinstance(claims, str) else json.dumps(claims)
    signed = ".".join(b64url(part.encode()) for part in (json.dumps(head), claims))
    return f"{signed}.{b64url(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


# ---- the process -------------------------------------------------------------------------


def merge_ini(base, overrides):
    """Sections merged key by key; a key set to None is left out, a section too."""
    out = {name: dict(keys) for name, keys in base.items()}
    for name, keys in overrides.items():
        if keys is None:
            out.pop(name, None)
            continue
        out.setdefault(name, {}).update(keys)
    return out


def ini_text(sections):
    lines = []
    for name, keys in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {value}" for key, value in keys.items() if value is not None]
        lines.append("")
    return "\n".join(lines)


class Proxy:
    """`pgusher serve` in front of a Cluster, in a folder of its own."""

    def __init__(self, cluster, keys, folder, overrides=None, databases=("eav",),
                 descriptors=None, binary=BINARY):
        """descriptors: what `ulimit -n` is for it."""
        self.cluster = cluster
        self.binary = binary
        self.descriptors = descriptors
        self.keys = keys
        self.folder = str(folder)
        self.port = free_port()
        self.process = None
        self.output = os.path.join(self.folder, "pgusher.log")
        self.ini = os.path.join(self.folder, "pgusher.ini")
        self.sections = merge_ini(self._defaults(databases), overrides or {})
        self.write_ini()

    def _defaults(self, databases):
        nodes = {
            f"node {name}": {"host": "127.0.0.1", "port": port}
            for name, port in self.cluster.ports.items()
        }
        return {
            "pgusher": {
                "listen_addr": "127.0.0.1",
                "listen_port": self.port,
                "workers": 2,
                "max_server_conn": 10,
                "server_login_retry": "200ms",
                "shutdown_timeout": "10s",
            },
            "jwt": {
                "jwks_file": self.keys.jwks_file,
                "algorithms": "HS256, RS256, ES256",
                "leeway": "0",
            },
            **nodes,
            **{f"database {name}": {"nodes": "primary"} for name in databases},
            "role app": {"password_file": self.cluster.password_file},
            # What pins a server or leaves something behind is refused in strict, which
            # test_guard.py tries.
            "guard": {"mode": "standard"},
        }

    def write_ini(self):
        with open(self.ini, "w", encoding="utf-8") as file:
            file.write(ini_text(self.sections))

    def start(self):
        with open(self.output, "ab") as log:
            # Its own session: Ctrl-C ends pytest, whose teardown then ends the proxy.
            self.process = subprocess.Popen(
                [self.binary, "serve", "-c", self.ini, "-v"], stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=self._limit if self.descriptors else None,
            )
        wait_until(self._listens, f"{self.binary} listens on {self.port}", START_TIMEOUT)
        return self

    def _limit(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

    def _listens(self):
        if self.process.poll() is not None:
            raise AssertionError(f"pgusher ended with {self.process.returncode}: {self.log()}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def log(self):
        with open(self.output, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_log(self, text, timeout=15.0):
        return wait_until(lambda: text in self.log(), f"{text!r} in the log", timeout)

    def stop(self):
        """SIGTERM, and all that must be true of a proxy that ended."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"SIGTERM did not end pgusher: {self.log()[-4000:]}") from None
        finally:
            self.process = None
        log = self.log()
        report = SANITIZER_REPORT.search(log)
        assert not report, log[max(0, report.start() - 200) :][:8000]
        assert status == 0, f"exit status {status}: {log[-4000:]}"
        assert not re.search(r"eyJ[\w-]{20,}\.", log), "a token is in the log"

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # ---- clients ----

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    def raw(self, tenant, dbname="eav", secret=None, **params):
        """A raw-protocol client logged in as the tenant."""
        token = secret if secret is not None else self.keys.token(tenant)
        return Connection.connect(self.address, "app", dbname, token, **params)

    def dsn(self, tenant, dbname="eav"):
        """Keyword arguments for psycopg.connect and, by upper-case PG names, for psql."""
        return {
            "host": "127.0.0.1", "port": self.port, "user": "app",
            "password": self.keys.token(tenant), "dbname": dbname,
        }

    def psql_env(self, tenant, dbname="eav"):
        dsn = self.dsn(tenant, dbname)
        env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        return {
            **env, "PGHOST": dsn["host"], "PGPORT": str(dsn["port"]), "PGUSER": dsn["user"],
            "PGPASSWORD": dsn["password"], "PGDATABASE": dbname, "PGSSLMODE": "prefer",
            "PSQL_HISTORY": "/dev/null", "PAGER": "cat", "PSQLRC": "/dev/null",
        }
