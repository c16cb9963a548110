"""The PostgreSQL cluster of the tests: scripts/cluster.sh, and ways to look at it and harm it.

The cluster belongs to the test session (fixture `cluster` in conftest.py). Everything here
reaches PostgreSQL directly, never through PgUsher: as the superuser to observe, or as the
tenant's role with the context set by hand, as the thing to compare with.
"""

import os
import re
import shlex
import subprocess
import time

import psycopg

REPO = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
SCRIPT = os.path.join(REPO, "scripts", "cluster.sh")
SETTING = "app.current_tenant_id"


def wait_until(condition, what, timeout=15.0, pause=0.02):
    """Polls until condition() is true and returns its value; fails after timeout seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(pause)


class Cluster:
    """A primary and two streaming replicas in a folder; `stop` removes all of it."""

    def __init__(self, folder):
        self.folder = str(folder)
        self._superusers = {}

    def _script(self, *args):
        # A session of its own: Ctrl-C goes to pytest alone, which then stops the cluster.
        done = subprocess.run(
            [SCRIPT, args[0], self.folder, *args[1:]],
            capture_output=True, text=True, timeout=180, start_new_session=True,
        )
        if done.returncode:
            raise RuntimeError(f"cluster.sh {' '.join(args)}: {done.stdout}{done.stderr}")

    def start(self):
        self._script("start")
        with open(os.path.join(self.folder, "cluster.env"), encoding="utf-8") as file:
            env = dict(word.split("=", 1) for word in shlex.split(file.read()))
        self.bin = env["PG_BIN"]
        self.base = env["PG_BASE"]
        self.socket_dir = env["SOCKET_DIR"]
        self.cert = env["SERVER_CERT"]
        self.password_file = env["APP_PASSWORD_FILE"]
        self.ports = {n: int(env[f"{n.upper()}_PORT"]) for n in ("primary", "replica1", "replica2")}
        with open(self.password_file, encoding="utf-8") as file:
            self.password = file.read().strip()

    def major(self, program="postgres"):
        """Its version's first number. psql's may be another (scripts/fetch-postgres.sh)."""
        said = subprocess.run([os.path.join(self.bin, program), "--version"], text=True, check=True,
                              capture_output=True).stdout
        return int(re.search(r"[0-9]+", said).group())

    def stop(self):
        for conn in self._superusers.values():
            conn.close()
        self._superusers.clear()
        self._script("stop")

    def deploy(self, dbname, template=None):
        self._script("deploy", dbname, *([template] if template else []))

    def pause_replica(self, node):
        self._script("pause", node)

    def resume_replica(self, node):
        self._script("resume", node)

    def wait_caught_up(self):
        self._script("caught-up")

    def restart(self, node="primary"):
        self.forget(node)
        self._script("restart", node)

    def start_node(self, node):
        """One that was killed."""
        self.forget(node)
        try:
            self._script("restart", node)
        except RuntimeError as error:
            raise RuntimeError(f"{error}{self.log(node)[-2000:]}") from error

    def forget(self, node):
        """The direct connections there, which the node's end would break."""
        for key in [k for k in self._superusers if k[0] == node]:
            self._superusers.pop(key).close()

    def log(self, node="primary"):
        with open(os.path.join(self.base, f"{node}.log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    # ---- direct connections ----

    def superuser(self, dbname="postgres", node="primary"):
        """The superuser's connection, one a database and node, in autocommit."""
        key = (node, dbname)
        conn = self._superusers.get(key)
        if conn is None or conn.closed:
            conn = psycopg.connect(
                host=self.socket_dir, port=self.ports[node], user="postgres", dbname=dbname,
                autocommit=True, application_name="pgusher-test",
                # A lock that a test forgot must fail the next one, not hang it.
                options="-c lock_timeout=20s -c statement_timeout=120s",
            )
            self._superusers[key] = conn
        return conn

    def sql(self, statement, params=None, dbname="postgres"):
        """Runs as the superuser; the rows, if it returns any."""
        cursor = self.superuser(dbname).execute(statement, params)
        return cursor.fetchall() if cursor.description else []

    def close_superuser(self, dbname):
        """A database can be copied only while nobody is connected to it."""
        for key in [k for k in self._superusers if k[1] == dbname]:
            self._superusers.pop(key).close()

    def app(self, dbname, tenant=None, node="primary"):
        """Role app, direct, with the context set for the whole session: one tenant's view."""
        conn = psycopg.connect(
            host="127.0.0.1", port=self.ports[node], user="app", password=self.password,
            dbname=dbname, autocommit=True,
        )
        if tenant is not None:
            conn.execute("SELECT set_config(%s, %s, false)", (SETTING, str(tenant)))
        return conn

    # ---- what PgUsher's server connections do ----

    def backends(self, dbname=None, state=None):
        """The proxy's server connections: pg_stat_activity's rows of role app."""
        rows = self.superuser().execute(
            "SELECT pid, state, query, datname, wait_event_type, client_addr, application_name"
            " FROM pg_stat_activity WHERE usename = 'app'"
            " AND (%(db)s::text IS NULL OR datname = %(db)s)"
            " AND (%(state)s::text IS NULL OR state = %(state)s) ORDER BY pid",
            {"db": dbname, "state": state},
        )
        names = [c.name for c in rows.description]
        return [dict(zip(names, row)) for row in rows.fetchall()]

    def backend_running(self, text, dbname=None):
        """The pid of the backend whose active query contains text; waits for it."""
        def found():
            return [b["pid"] for b in self.backends(dbname, "active") if text in b["query"]]
        return wait_until(found, f"a backend that runs {text!r}")[0]

    def kill_backend(self, pid):
        assert self.sql("SELECT pg_terminate_backend(%s, 5000)", (pid,)) == [(True,)]
