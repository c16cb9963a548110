#!/usr/bin/python3
"""PostgreSQL's own regression tests through PgUsher, beside a direct run: whose output differs?

usage: regress.py REGRESS-FOLDER RESULTS-FOLDER [FILE...]

REGRESS-FOLDER is what scripts/fetch-regress.sh has fetched. Each file of the schedule runs in psql:
direct twice (what differs there is the test's own affair), then through PgUsher as a role without a
tenant, with the guard off, in session and in transaction mode; each time in a cluster of its own.
Prints the files that differ, with the first differing lines; the outputs are left in
RESULTS-FOLDER/{direct,again,session,transaction}. Always exit status 0: why a file differs is for a
reader (docs/parity.md).

PostgreSQL's expected outputs are not looked at: regress.so is not there, so some tests fail in
all four.
"""

import difflib
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))

from cluster import Cluster  # noqa: E402
from proxy import Keys, Proxy  # noqa: E402

MODES = ("direct", "again", "session", "transaction")
FILE_TIMEOUT = 120
# pg_regress.c: what it sets for every test.
PSQL = ["psql", "-X", "-a", "-q", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"]
PGOPTIONS = "-c intervalstyle=postgres_verbose -c timezone=PST8PDT -c datestyle=Postgres,MDY"


def schedule(folder, wanted):
    with open(os.path.join(folder, "parallel_schedule"), encoding="utf-8") as file:
        lines = [line for line in file if line.startswith("test:")]
    names = [name for line in lines for name in line.split()[1:]]
    return [n for n in names if not wanted or n in wanted or n == "test_setup"]


def environment(cluster, folder, **connection):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return {**env, "PGUSER": "regress", "PGDATABASE": "regression", "PGOPTIONS": PGOPTIONS,
            "PG_ABS_SRCDIR": folder, "PG_ABS_BUILDDIR": folder, "PG_DLSUFFIX": ".so",
            "PG_LIBDIR": "$libdir", **{k.upper(): str(v) for k, v in connection.items()}}


def run_files(names, folder, results, env):
    os.makedirs(results, exist_ok=True)
    for name in names:
        out = os.path.join(results, f"{name}.out")
        with open(os.path.join(folder, "sql", f"{name}.sql"), "rb") as sql, open(out, "wb") as file:
            try:
                subprocess.run(PSQL, stdin=sql, stdout=file, stderr=subprocess.STDOUT, env=env,
                               timeout=FILE_TIMEOUT, check=False)
            except subprocess.TimeoutExpired:
                file.write(b"TIMEOUT\n")


def run_mode(mode, names, folder, results):
    work = tempfile.mkdtemp(prefix="regress")
    cluster = Cluster(os.path.join(work, "cluster"))
    try:
        cluster.start()
        with open(cluster.password_file, encoding="utf-8") as file:
            password = file.read().strip()
        cluster.sql(f"CREATE ROLE regress SUPERUSER LOGIN PASSWORD '{password}'")
        cluster.sql("CREATE DATABASE regression TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8'")
        cluster.sql("ALTER DATABASE regression SET lc_messages TO 'C'")
        if mode in ("direct", "again"):
            env = environment(cluster, folder, pghost="127.0.0.1", pgport=cluster.ports["primary"],
                              pgpassword=password)
            run_files(names, folder, results, env)
            return
        os.mkdir(os.path.join(work, "keys"))
        keys = Keys(os.path.join(work, "keys"))
        os.mkdir(os.path.join(work, "proxy"))
        settings = {
            "pgusher": {"pool_mode": mode, "workers": 1, "max_server_conn": 4},
            "role regress": {"password_file": cluster.password_file, "tenant": "none"},
            "guard": {"mode": "off"},
        }
        with Proxy(cluster, keys, os.path.join(work, "proxy"), settings,
                   databases=("regression",)) as proxy:
            env = environment(cluster, folder, pghost="127.0.0.1", pgport=proxy.port,
                              pgpassword=keys.token(None, role="regress"))
            run_files(names, folder, results, env)
    finally:
        cluster.stop()
        shutil.rmtree(work, ignore_errors=True)


def read(results, mode, name):
    path = os.path.join(results, mode, f"{name}.out")
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().splitlines()


def report(names, results):
    for mode in MODES[1:]:
        differ = []
        for name in names:
            lines = list(difflib.unified_diff(read(results, "direct", name),
                                              read(results, mode, name), lineterm="", n=0))[2:]
            if lines:
                differ.append((name, [line for line in lines if line[0] in "+-"]))
        print(f"== {mode}: {len(differ)} of {len(names)} files differ from the direct run")
        for name, lines in differ:
            print(f"{name} ({len(lines)} lines)")
            print("\n".join(f"    {line[:160]}" for line in lines[:4]))


def main():
    source, results = (os.path.abspath(path) for path in sys.argv[1:3])
    wanted = sys.argv[3:]
    # The server reads data/ too, and it is another user.
    folder = tempfile.mkdtemp(prefix="regress-data")
    try:
        for part in ("sql", "data"):
            shutil.copytree(os.path.join(source, part), os.path.join(folder, part))
        os.mkdir(os.path.join(folder, "results"))
        os.chmod(os.path.join(folder, "results"), 0o777)
        os.chmod(folder, 0o755)
        names = schedule(source, wanted)
        for mode in MODES:
            run_mode(mode, names, folder, os.path.join(results, mode))
        report(names, results)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
