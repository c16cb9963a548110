"""A driver's own test suite, direct and through PgUsher: whose tests differ?

usage: suite.py RESULTS-FOLDER COMMAND [ARGUMENT...]

COMMAND runs three times, each on a new cluster: direct, in session mode and in transaction mode,
with PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE in its environment, as a superuser of a
tenant's (direct the tenant is a setting of the role), guard off, for any database. What it prints
goes to RESULTS-FOLDER/MODE.out. Lines with the name of a test and its outcome, as pytest -v,
unittest -v and go test -v write them, are compared. It is no part of `make check`: the suites are
not ours.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "system"))

from cluster import Cluster  # noqa: E402
from proxy import Keys, Proxy  # noqa: E402

MODES = ("direct", "session", "transaction")
TENANT, DATABASE, ROLE = 123, "suite", "suite"
GO = re.compile(r"^\s*--- (PASS|FAIL|SKIP): (\S+)")
PYTEST = re.compile(r"^(\S+::\S+) (PASSED|FAILED|SKIPPED|ERROR|XFAIL|XPASS)")
UNITTEST = re.compile(r"^(test\w+ \([\w.]+\)).* \.\.\. (ok|FAIL|ERROR|skipped|expected failure)")


def prepared(cluster):
    with open(cluster.password_file, encoding="utf-8") as file:
        password = file.read().strip()
    cluster.sql(f"CREATE ROLE {ROLE} SUPERUSER LOGIN PASSWORD '{password}'")
    cluster.sql(f"ALTER ROLE {ROLE} SET app.current_tenant_id = '{TENANT}'")
    cluster.sql(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
    cluster.sql("CREATE EXTENSION hstore", dbname=DATABASE)
    return password


def run(command, out, port, password):
    env = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": ROLE,
           "PGPASSWORD": password, "PGDATABASE": DATABASE}
    with open(out, "w", encoding="utf-8") as file:
        subprocess.run(command, env=env, stdout=file, stderr=subprocess.STDOUT, check=False,
                       stdin=subprocess.DEVNULL, timeout=1200)


def run_mode(mode, command, results):
    work = tempfile.mkdtemp(prefix="suite")
    cluster = Cluster(os.path.join(work, "cluster"))
    out = os.path.join(results, f"{mode}.out")
    try:
        cluster.start()
        password = prepared(cluster)
        if mode == "direct":
            run(command, out, cluster.ports["primary"], password)
            return
        os.mkdir(os.path.join(work, "keys"))
        os.mkdir(os.path.join(work, "proxy"))
        keys = Keys(os.path.join(work, "keys"))
        settings = {
            "pgusher": {"pool_mode": mode, "workers": 1, "max_server_conn": 40},
            "role suite": {"password_file": cluster.password_file},
            "guard": {"mode": "off"},
        }
        with Proxy(cluster, keys, os.path.join(work, "proxy"), settings,
                   databases=("*",)) as proxy:
            run(command, out, proxy.port, keys.token(TENANT, role=ROLE))
    finally:
        cluster.stop()
        shutil.rmtree(work, ignore_errors=True)


def outcomes(path):
    found = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            for pattern, name, outcome in ((GO, 2, 1), (PYTEST, 1, 2), (UNITTEST, 1, 2)):
                match = pattern.match(line)
                if match:
                    found[match[name]] = match[outcome]
    return found


def report(results):
    seen = {mode: outcomes(os.path.join(results, f"{mode}.out")) for mode in MODES}
    for mode, tests in seen.items():
        passed = sum(outcome in ("PASS", "PASSED", "ok") for outcome in tests.values())
        print(f"{mode}: {passed} of {len(tests)} pass")
    for name in sorted(set().union(*seen.values())):
        row = [seen[mode].get(name, "absent") for mode in MODES]
        if len(set(row)) > 1:
            print(f"{name}: " + ", ".join(f"{mode} {was}" for mode, was in zip(MODES, row)))


def main():
    results, command = os.path.abspath(sys.argv[1]), sys.argv[2:]
    os.makedirs(results, exist_ok=True)
    for mode in MODES:
        run_mode(mode, command, results)
    report(results)


if __name__ == "__main__":
    main()
