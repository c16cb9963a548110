"""pgbench through the proxy, 64 clients on 10 servers: every transaction succeeds, and the
books balance. By count; with PGUSHER_SOAK=1 a minute each."""

import os
import re
import subprocess

import pytest

from conftest import TENANT_A

SOAK = os.environ.get("PGUSHER_SOAK") == "1"
CLIENTS, SERVERS = 64, 10
SCALE = 2


@pytest.fixture(scope="module")
def bench_database(cluster):
    """pgbench's own tables: no row-level security, so they test the pooling alone."""
    cluster.deploy("bench", template="pristine")
    subprocess.run(
        [os.path.join(cluster.bin, "pgbench"), "-i", "-q", "-s", str(SCALE), "-h",
         cluster.socket_dir, "-p", str(cluster.ports["primary"]), "-U", "postgres", "bench"],
        check=True, capture_output=True, timeout=120,
    )
    cluster.sql(
        "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON pgbench_accounts, pgbench_branches,"
        " pgbench_tellers, pgbench_history TO app", dbname="bench",
    )


@pytest.fixture
def pgbench(make_proxy, bench_database, cluster):
    proxy = make_proxy({"pgusher": {"max_server_conn": SERVERS}}, databases=("bench",))

    def run(*args, transactions):
        amount = ["-T", "60"] if SOAK else ["-t", str(transactions)]
        done = subprocess.run(
            [os.path.join(cluster.bin, "pgbench"), "-n", "-c", str(CLIENTS), "-j", "2",
             "-s", str(SCALE), *amount, *args],
            env=proxy.psql_env(TENANT_A, "bench"), capture_output=True, text=True,
            timeout=600, check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert "aborted" not in said and "ERROR" not in said, said
        assert re.search(r"number of failed transactions: 0 ", said), said
        processed = int(re.search(r"actually processed: (\d+)", said).group(1))
        assert SOAK or processed == CLIENTS * transactions
        used = cluster.backends("bench")
        assert 1 <= len(used) <= SERVERS
        return processed

    return run


MODES = pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])


@MODES
def test_select_only(pgbench, mode):
    pgbench("-S", "-M", mode, transactions=100)


@MODES
def test_tpcb_like(pgbench, cluster, mode):
    cluster.sql("TRUNCATE pgbench_history", dbname="bench")
    before = cluster.sql("SELECT sum(abalance) FROM pgbench_accounts", dbname="bench")[0][0]
    processed = pgbench("-M", mode, transactions=20)
    history = "SELECT count(*), sum(delta) FROM pgbench_history"
    [(rows, delta)] = cluster.sql(history, dbname="bench")
    assert rows == processed
    after = cluster.sql("SELECT sum(abalance) FROM pgbench_accounts", dbname="bench")[0][0]
    assert after - before == delta
    [(branches, tellers)] = cluster.sql(
        "SELECT (SELECT sum(bbalance) FROM pgbench_branches),"
        " (SELECT sum(tbalance) FROM pgbench_tellers)", dbname="bench",
    )
    assert branches == tellers == after


@MODES
def test_tenant_transactions(pgbench, tmp_path, mode):
    """Rows under row-level security, in transactions and without."""
    script = tmp_path / "tenant.sql"
    script.write_text(
        "\\set id random(1, 1000)\n"
        f"INSERT INTO item VALUES (:id, {TENANT_A}, 'b', 1) ON CONFLICT (id, tenant_id)"
        " DO UPDATE SET n = item.n % 1000 + 1;\n"
        "BEGIN;\nSELECT 1 / count(*) FROM item WHERE id = :id;\nSAVEPOINT s;\n"
        "UPDATE item SET name = 'c' WHERE id = :id;\nROLLBACK TO s;\nEND;\n"
    )
    pgbench("-M", mode, "-f", str(script), transactions=20)
