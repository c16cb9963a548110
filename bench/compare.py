#!/usr/bin/python3
"""PgUsher and PgBouncer over the same PostgreSQL, measured in turns, as ratios.

Two questions are asked. What does one SELECT cost through PgUsher, which gives it its tenant
context, against PgBouncer, which gives it none? And what against PgBouncer if the application
sets the context itself: BEGIN, SET LOCAL, SELECT, COMMIT?

The machine is shared and its speed wanders, so nothing is measured in a block: each round runs
every cell once, the programs that are compared right after each other and in another order in
each round, and a ratio is taken within a round. pgbench that reports any error fails the run.

Everything lives in one temporary folder and is ended with this program, Ctrl-C included: the
cluster (scripts/cluster.sh), both proxies (children in sessions of their own, so that Ctrl-C
reaches only us), the files.
"""

import collections
import contextlib
import os
import pwd
import random
import re
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

REPO = os.path.realpath(os.path.join(os.path.dirname(__file__), ".."))
CLUSTER = os.path.join(REPO, "scripts", "cluster.sh")
BINARY = os.environ.get("PGUSHER_BIN") or os.path.join(REPO, "build", "pgusher")
DATABASE = "bench"
SCALE = 10
TENANT = "123"
SERVERS = 20
CLIENTS = (1, 16, 64)
TICKS = os.sysconf("SC_CLK_TCK")

# What the application sends when nobody sets the context for it: four statements, four round
# trips. The SELECT is that of `pgbench -S`.
TENANT_SCRIPT = f"""\\set aid random(1, 100000 * :scale)
BEGIN;
SET LOCAL app.current_tenant_id = '{TENANT}';
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
COMMIT;
"""

# Before this version PgBouncer knew nothing of prepared statements in transaction mode, and
# `pgbench -M prepared` through it fails. Debian 12 has 1.18.
PREPARED_SINCE = (1, 21)

Sample = collections.namedtuple("Sample", "tps cpu_us")
# who: the key of its samples; process: the proxy, whose processor time counts; env: pgbench's
# way to it; args: what pgbench sends.
Target = collections.namedtuple("Target", "who process env args")


class BenchError(Exception):
    """The comparison cannot be made, or a run of it cannot be trusted."""


def whole_number(name, default):
    text = os.environ.get(name) or str(default)
    if not re.fullmatch(r"[1-9]\d{0,4}", text):
        raise BenchError(f"{name} is not a whole number of at least 1: {text!r}")
    return int(text)


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


# ---- the scene ---------------------------------------------------------------------------


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
        self.password_file = env["APP_PASSWORD_FILE"]
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

    def fill(self):
        self.sql("postgres", f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        output_of(self.program("pgbench"), "-i", "-q", "-s", str(SCALE), DATABASE,
                  env=self.superuser, timeout=600)
        tables = "pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history"
        # What the load left to do is done now, so that it does not happen in the first round.
        self.sql(DATABASE, f"GRANT SELECT ON {tables} TO app", "VACUUM ANALYZE", "CHECKPOINT")
        output_of(CLUSTER, "caught-up", self.folder, timeout=300)


def start_pgusher(stack, folder, cluster):
    """PgUsher with its keys; (process, environment of its clients)."""
    key = write_file(f"{folder}/key.jwk", output_of(BINARY, "token", "--new-key", "ES256"))
    jwks = write_file(f"{folder}/jwks.json", output_of(BINARY, "token", "--key", key, "--public"))
    token = output_of(BINARY, "token", "--key", key, "--tenant", TENANT, "--role", "app",
                      "--ttl", "12h").strip()
    port = free_port()
    ini = write_file(f"{folder}/pgusher.ini", f"""[pgusher]
listen_addr = 127.0.0.1
listen_port = {port}
max_server_conn = {SERVERS}
client_tls_sslmode = disable
server_tls_sslmode = disable
log_connections = no
log_disconnections = no
shutdown_timeout = 5s

[jwt]
jwks_file = {jwks}
algorithms = ES256

[node primary]
host = 127.0.0.1
port = {cluster.port}

[database {DATABASE}]
nodes = primary

[role app]
password_file = {cluster.password_file}
""")
    daemon = Daemon("PgUsher", [BINARY, "serve", "-c", ini], f"{folder}/pgusher.log", port)
    stack.callback(daemon.stop)
    daemon.wait_ready()
    return daemon, clean_env(PGHOST="127.0.0.1", PGPORT=str(port), PGUSER="app", PGPASSWORD=token)


def start_pgbouncer(stack, folder, cluster, version):
    """Debian's PgBouncer; (process, environment of its clients). It refuses to run as root."""
    user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    folder = os.path.join(folder, "pgbouncer")
    os.mkdir(folder, 0o700)
    with open(cluster.password_file, encoding="utf-8") as file:
        password = file.read().strip()
    port = free_port()
    users = write_file(f"{folder}/users.txt", f'"app" "{password}"\n')
    prepared = "max_prepared_statements = 200\n" if version >= PREPARED_SINCE else ""
    ini = write_file(f"{folder}/pgbouncer.ini", f"""[databases]
{DATABASE} = host=127.0.0.1 port={cluster.port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = {SERVERS}
max_client_conn = 1000
auth_type = trust
auth_file = {users}
client_tls_sslmode = disable
server_tls_sslmode = disable
log_connections = 0
log_disconnections = 0
log_stats = 0
{prepared}""")
    if user:
        for path in (folder, users, ini):
            os.chown(path, user.pw_uid, user.pw_gid)
    log = os.path.join(os.path.dirname(folder), "pgbouncer.log")
    daemon = Daemon("PgBouncer", [pgbouncer_binary(), ini], log, port, user)
    stack.callback(daemon.stop)
    daemon.wait_ready()
    return daemon, clean_env(PGHOST="127.0.0.1", PGPORT=str(port), PGUSER="app")


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


# ---- measuring ---------------------------------------------------------------------------


class Bench:
    """The cluster, both proxies before it, and the three ways to send a tenant's SELECT."""

    def __init__(self, stack, interrupts):
        self.rounds = whole_number("BENCH_ROUNDS", 5)
        self.seconds = whole_number("BENCH_SECONDS", 3)
        self.version, bouncer_line = pgbouncer_version()
        with interrupts.hold():
            folder = tempfile.mkdtemp(prefix="pgusher-bench.", dir="/tmp")
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            # PostgreSQL and PgBouncer run as another user; the secrets are closed one by one.
            os.chmod(folder, 0o711)
            self.cluster = Cluster(os.path.join(folder, "cluster"))
            stack.callback(self.cluster.stop)
            self.cluster.start()
        self.cluster.fill()
        with interrupts.hold():
            usher, usher_env = start_pgusher(stack, folder, self.cluster)
            bouncer, bouncer_env = start_pgbouncer(stack, folder, self.cluster, self.version)
        script = write_file(f"{folder}/tenant.sql", TENANT_SCRIPT)
        self.targets = (
            Target("usher", usher, usher_env, ("-S",)),
            Target("plain", bouncer, bouncer_env, ("-S",)),
            Target("tenant", bouncer, bouncer_env, ("-f", script, "-s", str(SCALE))),
        )
        self.versions = [
            output_of(BINARY, "--version").strip(), bouncer_line,
            output_of(self.cluster.program("pgbench"), "--version").strip(),
            output_of(self.cluster.program("postgres"), "--version").strip(),
        ]
        self.samples = collections.defaultdict(list)

    def can_prepare(self, target):
        return target.who == "usher" or self.version >= PREPARED_SINCE

    def modes(self):
        """`extended` stands in where PgBouncer cannot do `prepared`."""
        if self.version >= PREPARED_SINCE:
            return ("simple", "prepared")
        return ("simple", "extended", "prepared")

    def check_context(self):
        """The comparison means nothing unless PgUsher really sets the context, and only it."""
        ask = "SELECT COALESCE(current_setting('app.current_tenant_id', true), '')"
        for target in self.targets[:2]:
            said = output_of(self.cluster.program("psql"), "-XqAt", "-c", ask, DATABASE,
                             env=target.env).strip()
            expected = TENANT if target.who == "usher" else ""
            if said != expected:
                raise BenchError(f"context through {target.process.name}: {said!r}")

    def run(self, target, mode, clients, seconds):
        """One run of pgbench."""
        before = target.process.cpu_s()
        jobs = min(clients, os.cpu_count() or 1)
        command = [
            self.cluster.program("pgbench"), "-n", "-M", mode, "-c", str(clients),
            "-j", str(jobs), "-T", str(seconds), *target.args, DATABASE,
        ]
        done = subprocess.run(
            command, env=target.env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=seconds + 60, start_new_session=True, check=False,
        )
        target.process.must_live()
        count, tps = read_pgbench(done, " ".join(command))
        return Sample(tps, (target.process.cpu_s() - before) * 1e6 / count)

    def warm_up(self):
        """Opens all server connections and fills the caches; not counted."""
        for target in self.targets:
            self.run(target, "simple", max(CLIENTS), 1)

    def round(self, number):
        """Every cell once; who goes first changes from round to round."""
        shift = number % len(self.targets)
        order = self.targets[shift:] + self.targets[:shift]
        for mode in self.modes():
            for clients in CLIENTS:
                for target in order:
                    if mode == "prepared" and not self.can_prepare(target):
                        continue
                    sample = self.run(target, mode, clients, self.seconds)
                    self.samples[mode, clients, target.who].append(sample)


def read_pgbench(done, what):
    """(transactions, tps) of a run without any error; pgbench's own words decide."""
    complete = f"{done.stdout}{done.stderr}"
    count = re.search(r"^number of transactions actually processed: (\d+)", done.stdout, re.M)
    failed = re.search(r"^number of failed transactions: (\d+)", done.stdout, re.M)
    tps = re.search(r"^tps = ([\d.]+) \(without initial connection time\)", done.stdout, re.M)
    bad = re.search(r"error|fatal|aborted|warning", done.stderr, re.I)
    if done.returncode or bad or not count or not failed or not tps:
        raise BenchError(f"{what}: exit status {done.returncode}: {complete[-3000:]}")
    if int(failed.group(1)) or not int(count.group(1)):
        raise BenchError(f"{what}: failed transactions, or none at all: {complete[-3000:]}")
    return int(count.group(1)), float(tps.group(1))


# ---- the tables --------------------------------------------------------------------------


def spread(values, form):
    """Median (min..max)."""
    middle, low, high = (form.format(v) for v in (statistics.median(values), min(values),
                                                  max(values)))
    return f"{middle} ({low}..{high})"


def row(samples, mode, clients, other):
    usher, bouncer = samples[mode, clients, "usher"], samples.get((mode, clients, other), [])
    cells = [mode, str(clients)]
    for field, form in ((0, "{:,.0f}"), (1, "{:.1f}")):
        mine = [sample[field] for sample in usher]
        theirs = [sample[field] for sample in bouncer]
        cells.append(spread(mine, form))
        cells.append(spread(theirs, form) if theirs else "–")
        # Within a round, because the machine is another one in the next.
        ratios = [a / b for a, b in zip(mine, theirs) if b]
        cells.append(spread(ratios, "{:.2f}") if ratios else "–")
    return cells


def table(bench, other):
    head = ["mode", "clients", "PgUsher tps", "PgBouncer tps", "ratio",
            "PgUsher CPU µs", "PgBouncer CPU µs", "ratio"]
    # The first table has PgUsher's figures alone too; they need not be there twice.
    rows = [row(bench.samples, mode, clients, other)
            for mode in bench.modes() for clients in CLIENTS
            if other == "plain" or (mode, clients, other) in bench.samples]
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    rows[:0] = [head, ["-" * width for width in widths]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"
        for cells in rows
    )


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        found = re.search(r"^model name\s*: (.*)", file.read(), re.M)
    return f"{os.cpu_count()} x {found.group(1).strip() if found else os.uname().machine}"


def report(bench, load_before):
    print(f"{time.strftime('%Y-%m-%d %H:%M')}; {'; '.join(bench.versions)}")
    print(f"{processor()}, Linux {os.uname().release}; load average {load_before:.2f} before, "
          f"{os.getloadavg()[0]:.2f} after")
    print(f"{bench.rounds} rounds of {bench.seconds} s a cell, in turns; pgbench scale {SCALE}; "
          f"{SERVERS} server connections each; median (min..max); ratio: PgUsher / PgBouncer "
          "in the same round")
    print("\n(1) One SELECT (pgbench -S): with tenant context through PgUsher, without any through "
          "PgBouncer\n")
    print(table(bench, "plain"))
    print("\n(2) A tenant's SELECT: PgUsher sets the context; through PgBouncer the application "
          "sends\nBEGIN; SET LOCAL; SELECT; COMMIT\n")
    print(table(bench, "tenant"))
    if bench.version < PREPARED_SINCE:
        print(f"\n–: PgBouncer {'.'.join(map(str, bench.version))} cannot do this; it keeps "
              "prepared statements in\ntransaction mode only since 1.21")


def compare(interrupts):
    stack = contextlib.ExitStack()
    try:
        load_before = os.getloadavg()[0]
        note("making a cluster and pgbench's tables")
        bench = Bench(stack, interrupts)
        bench.check_context()
        bench.warm_up()
        for number in range(bench.rounds):
            note(f"round {number + 1} of {bench.rounds}")
            bench.round(number)
        report(bench, load_before)
    finally:
        with interrupts.hold():
            stack.close()


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main():
    sys.stdout.reconfigure(encoding="utf-8")
    interrupts = Interrupts()
    try:
        compare(interrupts)
    except (BenchError, OSError, subprocess.SubprocessError) as error:
        note(f"failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
