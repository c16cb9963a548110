"""stage_flush under load: tenants COPY into the staging table through PgUsher while several
flushers move rows out; every row arrives exactly once. PGUSHER_STAGE_ROWS and PGUSHER_STAGE_RUNS
make it longer."""

import os
import threading

import psycopg
import pytest

COPIERS, FLUSHERS = 8, 4
COPIES = 5
ATTRIBUTE = 999  # the tests' own
ROWS = int(os.environ.get("PGUSHER_STAGE_ROWS", "500"))
COPY = "COPY entity_values_ingest (entity_id, tenant_id, attribute_id, value_int) FROM STDIN"
TENANTS = [123, 456]


@pytest.fixture
def empty(cluster):
    yield
    cluster.sql("TRUNCATE entity_values_ingest", dbname="eav")
    cluster.sql("DELETE FROM entity_values_ts WHERE attribute_id = %s", (ATTRIBUTE,), dbname="eav")


def copy_in(proxy, keys, number, failures):
    """COPIES transactions of ROWS rows each; every third is rolled back and sent again."""
    tenant = TENANTS[number % 2]
    try:
        with psycopg.connect(host="127.0.0.1", port=proxy.port, user="app", dbname="eav",
                             password=keys.token(tenant)) as conn:
            for batch in range(COPIES):
                for attempt in range(2 if batch % 3 == 0 else 1):
                    with conn.cursor() as cur, cur.copy(COPY) as copy:
                        for row in range(ROWS):
                            entity = (number * COPIES + batch) * ROWS + row
                            copy.write_row((entity, tenant, ATTRIBUTE, entity))
                    if batch % 3 == 0 and attempt == 0:
                        conn.rollback()
                    else:
                        conn.commit()
    except Exception as error:  # noqa: BLE001  (a thread's failure must reach the test)
        failures.append(repr(error))


def flush(cluster, done, moved, failures):
    try:
        with psycopg.connect(host=cluster.socket_dir, port=cluster.ports["primary"],
                             user="postgres", dbname="eav", autocommit=True) as conn:
            conn.execute("SET SESSION AUTHORIZATION service")
            while True:
                last = done.is_set()
                n = conn.execute("SELECT stage_flush(%s)", (ROWS // 3,)).fetchone()[0]
                moved.append(n)
                if last and n == 0:
                    return
    except Exception as error:  # noqa: BLE001
        failures.append(repr(error))


@pytest.mark.parametrize("run", range(int(os.environ.get("PGUSHER_STAGE_RUNS", "2"))))
def test_each_row_moves_once(cluster, proxy, keys, empty, run):
    failures, moved, done = [], [], threading.Event()
    flushers = [threading.Thread(target=flush, args=(cluster, done, moved, failures))
                for _ in range(FLUSHERS)]
    copiers = [threading.Thread(target=copy_in, args=(proxy, keys, n, failures))
               for n in range(COPIERS)]
    for thread in flushers + copiers:
        thread.start()
    for thread in copiers:
        thread.join()
    done.set()
    for thread in flushers:
        thread.join()
    assert not failures
    total = COPIERS * COPIES * ROWS
    assert sum(moved) == total
    assert cluster.sql("SELECT count(*), count(DISTINCT entity_id), sum(value_int),"
                       " bool_and(entity_id = value_int) FROM entity_values_ts"
                       " WHERE attribute_id = %s", (ATTRIBUTE,), dbname="eav") == [(total, total, total * (total - 1) // 2, True)]
    assert cluster.sql("SELECT count(*) FROM entity_values_ingest", dbname="eav") == [(0,)]


def test_a_copy_for_another_tenant_is_refused(proxy, keys, empty, cluster):
    with psycopg.connect(host="127.0.0.1", port=proxy.port, user="app", dbname="eav",
                         password=keys.token(123)) as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            with conn.cursor() as cur, cur.copy(COPY) as copy:
                copy.write_row((1, 123, ATTRIBUTE, 1))
                copy.write_row((2, 456, ATTRIBUTE, 2))
    assert cluster.sql("SELECT count(*) FROM entity_values_ingest", dbname="eav") == [(0,)]


def test_one_tenants_open_transaction_stops_nobody_elses_values(proxy, keys, cluster, empty):
    """Tenant 123 stages a value and puts the same one beside it, in a transaction left open."""
    key = f"(7, 123, {ATTRIBUTE}, 1, date_trunc('hour', now()))"
    columns = "(entity_id, tenant_id, attribute_id, value_int, ingested_at)"
    with proxy.raw(123) as staging, proxy.raw(123) as holding, proxy.raw(456) as other:
        staging.simple(f"INSERT INTO entity_values_ingest {columns} VALUES {key}")
        other.simple(f"INSERT INTO entity_values_ingest {columns[:-14]}) VALUES"
                     f" (8, 456, {ATTRIBUTE}, 2)")
        holding.simple("BEGIN")
        holding.simple(f"INSERT INTO entity_values_ts {columns} VALUES {key}")
        with psycopg.connect(host=cluster.socket_dir, port=cluster.ports["primary"],
                             user="postgres", dbname="eav", autocommit=True) as conn:
            conn.execute("SET SESSION AUTHORIZATION service; SET statement_timeout = '30s'")
            assert conn.execute("SELECT stage_flush()").fetchone() == (1,)
            found = f"SELECT value_int FROM entity_values_ts WHERE attribute_id = {ATTRIBUTE}"
            assert other.rows(found) == [("2",)]
            holding.simple("ROLLBACK")
            assert conn.execute("SELECT stage_flush()").fetchone() == (1,)
        assert staging.rows(found) == [("1",)]


def test_new_partitions_do_not_stop_readers_behind_an_open_transaction(proxy, cluster):
    """The job gives up while a tenant's transaction is open, and others go on."""
    newest = cluster.sql(
        "SELECT max(inhrelid::regclass::text) FROM pg_inherits WHERE inhrelid::regclass::text"
        " ~ '_p\\d' AND inhparent = 'entity_values_ts'::regclass", dbname="eav")[0][0]
    cluster.sql(f"DROP TABLE {newest}", dbname="eav")
    with proxy.raw(123) as holding, proxy.raw(456) as other:
        holding.simple("BEGIN")
        holding.scalar("SELECT count(*) FROM entity_values_ts")
        with psycopg.connect(host=cluster.socket_dir, port=cluster.ports["primary"],
                             user="postgres", dbname="eav", autocommit=True) as conn:
            conn.execute("SET SESSION AUTHORIZATION service; SET statement_timeout = '30s'")
            with pytest.raises(psycopg.Error, match="lock timeout"):
                conn.execute("SELECT entity_values_maintain()")
            other.scalar("SELECT count(*) FROM entity_values_ts")
            holding.simple("ROLLBACK")
            conn.execute("SELECT entity_values_maintain()")
    assert cluster.sql("SELECT to_regclass(%s) IS NOT NULL", (newest,), dbname="eav") == [(True,)]
