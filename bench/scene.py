"""The scene of the benchmarks: a throw-away PostgreSQL, and proxies before it, alone or several on
one port. Everything lives in one temporary folder and is ended with the program, Ctrl-C included:
the cluster (scripts/cluster.sh), the proxies (children in sessions of their own, so that Ctrl-C
reaches only us), the files."""

import base64
import contextlib
import hmac
import json
import os
import pwd
import random
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

REPO = os.path.realpath(os.path.join(os.path.dirname(__file__), ".."))
CLUSTER = os.path.join(REPO, "scripts", "cluster.sh")
BINARY = os.environ.get("PGUSHER_BIN") or os.path.join(REPO, "build", "pgusher")
DATABASE = "bench"
SCALE = 10
TENANT = "123"
TICKS = os.sysconf("SC_CLK_TCK")

# Before this version PgBouncer knew nothing of prepared statements in transaction mode, and
# `pgbench -M prepared` through it fails. Debian 12 has 1.18.
PREPARED_SINCE = (1, 21)


class BenchError(Exception):
    """The comparison cannot be made, or a run of it cannot be trusted."""


def whole_number(name, default):
    text = os.environ.get(name) or str(default)
    if not re.fullmatch(r"[1-9]\d{0,4}", text):
        raise BenchError(f"{name} is not a whole number of at least 1: {text!r}")
    return int(text)


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def built(name):
    """A program of bench/*.c, beside the binary."""
    path = os.path.join(os.path.dirname(BINARY), "bench", name)
    if not os.path.exists(path):
        raise BenchError(f"there is no {path}; `make bench` builds it")
    return path


# ---- signals -----------------------------------------------------------------------------


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP end the program by an exception, so that all is cleaned up.

    Not while processes are started or ended: half of that leaves some behind.
    """

    def __init__(self):
        self.held = 0
        self.pending = None
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._on_signal)

    def _on_signal(self, signum, _frame):
        if self.held:
            self.pending = signum
            return
        raise SystemExit(128 + signum)

    @contextlib.contextmanager
    def hold(self):
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1
        if self.pending is not None and not self.held:
            raise SystemExit(128 + self.pending)


# ---- programs ----------------------------------------------------------------------------


def clean_env(**extra):
    """What the caller's environment says about other servers must not lead us astray."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    # LC_ALL: pgbench's words are read, so they must be the untranslated ones.
    return {**env, "LC_ALL": "C.UTF-8", "PGSSLMODE": "disable", "PGCONNECT_TIMEOUT": "10", **extra}


def output_of(*command, env=None, timeout=120):
    """A program's standard output; BenchError with all it said if it fails."""
    done = subprocess.run(
        command, env=env or clean_env(), cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=timeout, start_new_session=True, check=False,
    )
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def write_file(path, text, mode=0o600):
    with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, mode)) as file:
        file.write(text)
    return path


def free_port():
    """Below the kernel's ephemeral range, where an outgoing connection might take it."""
    for _ in range(200):
        port = random.randrange(20000, 32000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise BenchError("no free port found")


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def tail(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()[-2000:]


class Daemon:
    """A proxy's process, which must stay alive and the same for all of the measurement."""

    def __init__(self, name, command, log, port, user=None):
        self.name = name
        self.command = command
        self.log = log
        as_user = {}
        if user:
            as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                command, cwd="/", env=clean_env(), stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True, **as_user,
            )
        self.port = port

    def wait_ready(self):
        deadline = time.monotonic() + 20
        while not listens(self.port):
            self.must_live()
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} does not listen: {tail(self.log)}")
            time.sleep(0.05)

    def must_live(self):
        if self.process.poll() is not None:
            status = self.process.returncode
            raise BenchError(f"{self.name} ended with {status}: {tail(self.log)}")

    def rss_bytes(self):
        """Resident memory, without what other processes may share (the program, libraries)."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            return int(re.search(r"^RssAnon:\s+(\d+) kB", file.read(), re.M).group(1)) * 1024

    def cpu_s(self):
        """User and system time of all of its threads, in the kernel's ticks (10 ms)."""
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as file:
            # The program's name, in brackets, may hold anything; fields are counted behind it.
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---- the cluster -------------------------------------------------------------------------


class Cluster:
    """scripts/cluster.sh's PostgreSQL with pgbench's tables, readable for role app."""

    def __init__(self, folder):
        self.folder = folder

    def start(self):
        output_of(CLUSTER, "start", self.folder, timeout=300)
        with open(os.path.join(self.folder, "cluster.env"), encoding="utf-8") as file:
            env = dict(word.split("=", 1) for word in shlex.split(file.read()))
        self.bin = env["PG_BIN"]
        self.port = int(env["PRIMARY_PORT"])
        self.ports = {n: int(env[f"{n.upper()}_PORT"]) for n in ("primary", "replica1", "replica2")}
        self.base = env["PG_BASE"]
        self.password_file = env["APP_PASSWORD_FILE"]
        self.probe_password_file = env["PROBE_PASSWORD_FILE"]
        self.superuser = clean_env(
            PGHOST=env["SOCKET_DIR"], PGPORT=str(self.port), PGUSER="postgres"
        )

    def stop(self):
        output_of(CLUSTER, "stop", self.folder, timeout=300)

    def program(self, name):
        return os.path.join(self.bin, name)

    def sql(self, database, *statements):
        commands = [word for text in statements for word in ("-c", text)]
        output_of(self.program("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database,
                  *commands, env=self.superuser)

    def query(self, text, database="postgres"):
        return output_of(self.program("psql"), "-XqAt", "-d", database, "-c", text,
                         env=self.superuser).strip()

    def wait_unused(self):
        """Until PostgreSQL has let go of the server connections of a proxy that ended."""
        deadline = time.monotonic() + 60
        while self.query("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'") != "0":
            if time.monotonic() > deadline:
                raise BenchError("PostgreSQL still has connections of role app")
            time.sleep(0.1)

    def fill(self):
        self.sql("postgres", f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        output_of(self.program("pgbench"), "-i", "-q", "-s", str(SCALE), DATABASE,
                  env=self.superuser, timeout=600)
        tables = "pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history"
        # What the load left to do is done now, so that it does not happen in the first round.
        self.sql(DATABASE, f"GRANT SELECT ON {tables} TO app", "VACUUM ANALYZE", "CHECKPOINT")
        output_of(CLUSTER, "caught-up", self.folder, timeout=300)


# ---- the proxies -------------------------------------------------------------------------


class Keys:
    """A key of each algorithm, the key set, a token, and a certificate for both proxies."""

    def __init__(self, folder):
        self.rsa, self.kid = f"{folder}/rs256.pem", "bench-rs256"
        output_of("openssl", "genrsa", "-out", self.rsa, "2048")
        es256 = write_file(f"{folder}/es256.jwk", output_of(BINARY, "token", "--new-key", "ES256"))
        self.oct = json.loads(output_of(BINARY, "token", "--new-key", "HS256"))
        shown = [output_of(BINARY, "token", "--key", es256, "--public"),
                 output_of(BINARY, "token", "--key", self.rsa, "--public", "--kid", self.kid)]
        # A shared secret has no public half.
        members = [key for text in shown for key in json.loads(text)["keys"]] + [self.oct]
        self.jwks = write_file(f"{folder}/jwks.json", json.dumps({"keys": members}))
        self.token = output_of(BINARY, "token", "--key", es256, "--tenant", TENANT, "--role",
                               "app", "--ttl", "12h").strip()
        self.tls_key, self.tls_cert = f"{folder}/tls.key", f"{folder}/tls.crt"
        output_of("openssl", "req", "-new", "-x509", "-nodes", "-days", "2", "-subj",
                  "/CN=localhost", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                  "-keyout", self.tls_key, "-out", self.tls_cert)
        if os.geteuid() == 0:
            os.chown(self.tls_key, pwd.getpwnam("postgres").pw_uid, -1)

    def mint(self, alg, count, path, tenants=False):
        """count different tokens, one a line, of as many tenants (HS256 only) or of one;
        `pgusher token` makes one a process."""
        if alg == "RS256":
            text = output_of(built("mint"), self.rsa, self.kid, str(count), TENANT, "app",
                             timeout=600)
        else:
            text = "".join(
                f"{self._hs256(number, str(number + 1) if tenants else TENANT)}\n"
                for number in range(count))
        return write_file(path, text)

    def _hs256(self, number, tenant):
        head = b64url(json.dumps({"alg": "HS256", "typ": "JWT", "kid": self.oct["kid"]}).encode())
        claims = {"tenant_id": tenant, "role": "app", "exp": int(time.time()) + 12 * 3600,
                  "jti": f"bench-{number}"}
        signed = f"{head}.{b64url(json.dumps(claims).encode())}"
        key = base64.urlsafe_b64decode(self.oct["k"] + "==")
        return f"{signed}.{b64url(hmac.digest(key, signed.encode(), 'sha256'))}"


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Scene:
    """Where proxies are started; each measurement has the ones that it needs."""

    def __init__(self, folder, cluster):
        self.folder, self.cluster = folder, cluster
        self.keys = Keys(folder)
        self.version, self.bouncer_line = pgbouncer_version()
        self.user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        self.count = 0
        with open(cluster.password_file, encoding="utf-8") as file:
            self.password = file.read().strip()
        # The server's own secret: so PgBouncer can log in with what the client's SCRAM gave it,
        # and need not make one up at each login.
        self.scram = cluster.query("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")
        self.token_file = write_file(f"{folder}/token.txt", self.keys.token + "\n")
        self.password_file = write_file(f"{folder}/password.txt", self.password + "\n")

    def _folder(self):
        self.count += 1
        made = f"{self.folder}/{self.count}"
        os.mkdir(made, 0o711)
        return made

    def pgusher(self, stack, servers, processes=1, *, extra="", prefix=(), workers=None,
                nodes=("primary",)):
        """extra: more sections of the ini file; prefix: a program that runs it."""
        port, daemons = free_port(), []
        for number in range(1, processes + 1):
            ini = write_file(f"{self._folder()}/pgusher.ini", f"""[pgusher]
listen_addr = 127.0.0.1
listen_port = {port}
workers = {workers or os.environ.get("BENCH_WORKERS") or "auto"}
peer_id = {number}
max_server_conn = {servers // processes}
client_tls_sslmode = allow
client_tls_key_file = {self.keys.tls_key}
client_tls_cert_file = {self.keys.tls_cert}
server_tls_sslmode = disable
log_connections = no
log_disconnections = no
shutdown_timeout = 5s

[jwt]
jwks_file = {self.keys.jwks}
algorithms = HS256, RS256, ES256

{self._nodes(nodes)}
[database {DATABASE}]
nodes = {", ".join(nodes)}

[role app]
password_file = {self.cluster.password_file}

{extra}""")
            daemons.append(self._start(stack, "PgUsher", [*prefix, BINARY, "serve", "-c", ini],
                                       f"{ini}.log", port))
        return Proxy("PgUsher", daemons, clean_env(
            PGHOST="127.0.0.1", PGPORT=str(port), PGUSER="app", PGPASSWORD=self.keys.token),
            self.token_file)

    def _nodes(self, names):
        return "".join(f"[node {name}]\nhost = 127.0.0.1\nport = {self.cluster.ports[name]}\n\n"
                       for name in names)

    def pgbouncer(self, stack, servers, processes=1, auth="trust"):
        """Debian's PgBouncer. It refuses to run as root."""
        port, daemons = free_port(), []
        for _ in range(processes):
            folder = self._folder()
            secret = self.scram if auth == "scram-sha-256" else self.password
            users = write_file(f"{folder}/users.txt", f'"app" "{secret}"\n')
            prepared = "max_prepared_statements = 200\n" if self.version >= PREPARED_SINCE else ""
            ini = write_file(f"{folder}/pgbouncer.ini", f"""[databases]
{DATABASE} = host=127.0.0.1 port={self.cluster.port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
so_reuseport = {int(processes > 1)}
unix_socket_dir =
pool_mode = transaction
default_pool_size = {servers // processes}
max_client_conn = 20000
listen_backlog = 4096
auth_type = {auth}
auth_file = {users}
client_tls_sslmode = allow
client_tls_key_file = {self.keys.tls_key}
client_tls_cert_file = {self.keys.tls_cert}
server_tls_sslmode = disable
log_connections = 0
log_disconnections = 0
log_stats = 0
{prepared}""")
            if self.user:
                for path in (folder, users, ini):
                    os.chown(path, self.user.pw_uid, self.user.pw_gid)
            daemons.append(self._start(stack, "PgBouncer", [pgbouncer_binary(), ini],
                                       f"{self.folder}/{self.count}.log", port, self.user))
        return Proxy("PgBouncer", daemons, clean_env(
            PGHOST="127.0.0.1", PGPORT=str(port), PGUSER="app", PGPASSWORD=self.password),
            self.password_file)

    def start(self, who, stack, servers, processes=1, auth="trust"):
        if who == "usher":
            return self.pgusher(stack, servers, processes)
        return self.pgbouncer(stack, servers, processes, auth)

    @staticmethod
    def _start(stack, name, command, log, port, user=None):
        daemon = Daemon(name, command, log, port, user)
        stack.callback(daemon.stop)
        daemon.wait_ready()
        return daemon


class Proxy:
    """One or more processes on one port, as clients see them."""

    def __init__(self, name, daemons, env, secrets_file):
        self.name, self.daemons, self.env = name, daemons, env
        self.secrets_file = secrets_file
        self.port = daemons[0].port

    def must_live(self):
        for daemon in self.daemons:
            daemon.must_live()

    def cpu_s(self):
        return sum(daemon.cpu_s() for daemon in self.daemons)

    def rss_bytes(self):
        return sum(daemon.rss_bytes() for daemon in self.daemons)


def descriptor_limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def pgbouncer_binary():
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not found:
        raise BenchError("there is no pgbouncer; scripts/deps.sh bench installs it")
    return found


def pgbouncer_version():
    said = output_of(pgbouncer_binary(), "--version")
    found = re.match(r"PgBouncer (\d+)\.(\d+)", said)
    if not found:
        raise BenchError(f"no version in what pgbouncer says: {said!r}")
    return tuple(map(int, found.groups())), said.splitlines()[0]
