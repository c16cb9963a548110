"""pgbench's pipelines and psql's scripts beside a direct run: what they print must be the same."""

import os
import re
import subprocess

import pytest

from conftest import TENANT_A

MODES = pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])

# Each tells what it has read by a row of tool_log, which is compared.
GSET = r"""
\set id 3 + :client_id
SELECT id, name FROM item WHERE id = :id \gset got_
SELECT count(*) AS n, max(id) AS top FROM item \aset
INSERT INTO tool_log VALUES ('gset', :got_id, CAST(:n AS int) + CAST(:top AS int));
"""
ASET = r"""
SELECT count(*) AS n FROM item \; SELECT min(id) AS low FROM item \aset
INSERT INTO tool_log VALUES ('aset', :client_id, :n + :low);
"""
BLOCK = r"""
BEGIN;
INSERT INTO tool_log VALUES ('block', :client_id, 1);
SELECT count(*) AS n FROM tool_log WHERE what = 'block' AND client = :client_id \gset
INSERT INTO tool_log VALUES ('seen', :client_id, :n);
COMMIT;
"""
PIPELINE = r"""
\startpipeline
INSERT INTO tool_log VALUES ('pipe', :client_id, 1);
SELECT name FROM item WHERE id = 3;
BEGIN;
INSERT INTO tool_log VALUES ('pipe', :client_id, 2);
COMMIT;
INSERT INTO tool_log VALUES ('pipe', :client_id, 3);
\endpipeline
SELECT count(*) AS n FROM item \gset
INSERT INTO tool_log VALUES ('behind', :client_id, :n);
"""
SYNCS = r"""
\startpipeline
INSERT INTO tool_log VALUES ('sync', :client_id, 1);
\syncpipeline
SELECT name FROM item WHERE id = 3;
\syncpipeline
INSERT INTO tool_log VALUES ('sync', :client_id, 2);
\endpipeline
"""

PSQL = r"""
SELECT format('SELECT %s AS made, count(*) FROM item WHERE id <= %s', n, n)
FROM generate_series(1, 3) n \gexec
SELECT 'SELECT wrong' UNION ALL SELECT 'SELECT 5 AS right' \gexec
SELECT id, name FROM item WHERE id = 4 \gset one_
\echo :one_id :one_name
SELECT id, name, id * 2 AS twice FROM item WHERE id = 5 \gx
SELECT 1 AS a, 2 AS b \gdesc
\copy (SELECT id, name FROM item ORDER BY id LIMIT 3) TO STDOUT CSV HEADER
CREATE TEMP TABLE copied (id int, name text);
\copy copied FROM PSTDIN CSV
1,one
2,"two, too"
\.
TABLE copied;
\copy copied FROM PSTDIN CSV
3,three
x,wrong
\.
SELECT count(*) FROM copied;
SELECT 7 AS seven \; SELECT 8 AS eight;
\if :{?one_id}
SELECT 'branch';
\endif
BEGIN;
SAVEPOINT a;
SELECT 1/0;
ROLLBACK TO a;
SELECT 'still here';
COMMIT;
\set FETCH_COUNT 2
SELECT id FROM item ORDER BY id LIMIT 5;
\unset FETCH_COUNT
\crosstabview
SELECT id % 2 AS odd, id % 3 AS third, count(*) FROM item GROUP BY 1, 2 ORDER BY 1, 2 \crosstabview
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT 1/0;
SELECT 'rolled back to its own savepoint';
COMMIT;
"""
BIND = r"""
SELECT $1::int + 1 AS next, $2 AS text \bind 41 'x' \g
SELECT name FROM item WHERE id = $1 \bind 3 \gset
\echo :name
SELECT $1::int \bind wrong \g
SELECT 'after';
"""


@pytest.fixture
def tool_log(cluster, items):
    cluster.sql("DROP TABLE IF EXISTS tool_log;"
                "CREATE TABLE tool_log (what text, client bigint, n bigint);"
                "GRANT SELECT, INSERT ON tool_log TO app", dbname="eav")
    yield lambda: sorted(cluster.sql("DELETE FROM tool_log RETURNING *", dbname="eav"))
    cluster.sql("DROP TABLE tool_log", dbname="eav")


def environments(cluster, proxy):
    """Direct, with the tenant as the session's setting, and through PgUsher with its token."""
    direct = {**proxy.psql_env(TENANT_A), "PGHOST": "127.0.0.1",
              "PGPORT": str(cluster.ports["primary"]), "PGPASSWORD": cluster.password,
              "PGOPTIONS": f"-c app.current_tenant_id={TENANT_A}"}
    return direct, proxy.psql_env(TENANT_A)


def version(cluster, tool):
    said = subprocess.run([os.path.join(cluster.bin, tool), "--version"], capture_output=True,
                          text=True, check=True)
    return int(re.search(r"\) (\d+)", said.stdout).group(1))


def run_pgbench(cluster, env, script, mode):
    done = subprocess.run(
        [os.path.join(cluster.bin, "pgbench"), "-n", "-M", mode, "-c", "4", "-j", "2", "-t", "5",
         "-f", "-"], input=script, env=env, capture_output=True, text=True, timeout=120,
        check=False)
    said = done.stdout + done.stderr
    # Threads of pgbench's write their lines into one another.
    return (done.returncode, re.findall(r"actually processed: (\S+)", said),
            set(re.findall(r"ERROR: .*|cannot use \w+ mode", said)))


@MODES
@pytest.mark.parametrize("script", [GSET, ASET, BLOCK, PIPELINE, SYNCS],
                         ids=["gset", "aset", "block", "pipeline", "syncpipeline"])
def test_pgbench_script(cluster, make_proxy, tool_log, script, mode):
    if "\\syncpipeline" in script and version(cluster, "pgbench") < 17:
        pytest.skip("pgbench knows \\syncpipeline from 17 on")
    proxy = make_proxy({"pgusher": {"max_server_conn": 2}})
    runs = []
    for env in environments(cluster, proxy):
        runs.append((run_pgbench(cluster, env, script, mode), tool_log()))
    # Pipelines need the extended protocol, strings of statements the simple one.
    can_run = {"simple": (GSET, ASET, BLOCK)}.get(mode, (GSET, BLOCK, PIPELINE, SYNCS))
    if script in can_run:
        assert runs[0][0][0] == 0 and runs[0][1]
    assert runs[1] == runs[0]


def run_psql(cluster, env, script):
    done = subprocess.run([os.path.join(cluster.bin, "psql"), "-X", "-f", "-"], input=script,
                          env=env, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def test_psql_script(cluster, proxy, items):
    direct, seen = (run_psql(cluster, env, PSQL) for env in environments(cluster, proxy))
    assert direct[0] == 0 and "rolled back to its own savepoint" in direct[1]
    assert seen == direct


def test_psql_bind(cluster, proxy, items):
    if version(cluster, "psql") < 16:
        pytest.skip("psql knows \\bind from 16 on")
    direct, seen = (run_psql(cluster, env, BIND) for env in environments(cluster, proxy))
    assert direct[0] == 0 and "after" in direct[1]
    assert seen == direct


def test_psql_watch(cluster, proxy, items):
    """Ends by itself: the statement fails once the sequence, and with it the count, is used up."""
    cluster.sql("CREATE SEQUENCE watched MAXVALUE 3; GRANT USAGE ON SEQUENCE watched TO app",
                dbname="eav")
    try:
        runs = []
        for env in environments(cluster, proxy):
            cluster.sql("ALTER SEQUENCE watched RESTART", dbname="eav")
            runs.append(run_psql(cluster, {**env, "PAGER": ""},
                                 "SELECT nextval('watched') AS n \\watch 0.01\n"))
    finally:
        cluster.sql("DROP SEQUENCE watched", dbname="eav")
    # Each answer has the time of day above it.
    shown = [(status, re.findall(r"^ +(\d+)$", out, re.M), err) for status, out, err in runs]
    assert shown[0][1] == ["1", "2", "3"] and "watched" in shown[0][2]
    assert shown[1] == shown[0]
