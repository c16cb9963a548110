"""The probe: heartbeats, the lag of replicas, what it says when something is missing."""

import os
import time

import pytest

from cluster import wait_until
from pgproto import Connection, LoginError, PgError, rows_of
from proxy import Proxy, run_binary

TABLE = "public.replication_heartbeat"
WRITES = 'writes the heartbeats of database "lagged"'
INTERVAL_MS = 50
PROBE_PASSWORD = "probe-secret-4711"

# As sql/ has it, for databases of the tests' own.
HEARTBEAT = """
CREATE TABLE IF NOT EXISTS public.replication_heartbeat (
    id serial PRIMARY KEY,
    timestamp timestamptz DEFAULT now(),
    source varchar(50) NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS probe_test_source ON public.replication_heartbeat (source);
"""
GRANTS = """
GRANT USAGE ON SCHEMA public TO probe;
GRANT SELECT, INSERT, UPDATE ON public.replication_heartbeat TO probe;
GRANT USAGE ON SEQUENCE public.replication_heartbeat_id_seq TO probe;
"""


@pytest.fixture(scope="module")
def probe_role(cluster, tmp_path_factory):
    """Role probe, its password file, and database lagged with the table of heartbeats."""
    if not cluster.sql("SELECT 1 FROM pg_roles WHERE rolname = 'probe'"):
        cluster.sql("CREATE ROLE probe")
    cluster.sql(f"ALTER ROLE probe LOGIN PASSWORD '{PROBE_PASSWORD}'")
    path = tmp_path_factory.mktemp("probe") / "probe.password"
    path.write_text(PROBE_PASSWORD)
    path.chmod(0o600)
    # Other modules use it, too.
    if not cluster.sql("SELECT 1 FROM pg_database WHERE datname = 'lagged'"):
        cluster.sql("CREATE DATABASE lagged")
    cluster.superuser("lagged").execute(HEARTBEAT + GRANTS)
    cluster.wait_caught_up()
    return str(path)


def probing(password_file, nodes="primary, replica1, replica2", database="lagged", **freshness):
    return {
        "pgusher": {"admin_users": "dba", "workers": 1},
        "role probe": {"password_file": password_file, "tenant": "none"},
        f"database {database}": {"nodes": nodes},
        "freshness": {
            "probe_role": "probe", "heartbeat_interval": f"{INTERVAL_MS}ms", **freshness,
        },
    }


def show(proxy, what):
    """Rows as dictionaries."""
    token = proxy.keys.token(None, role="dba", alg="RS256")
    console = Connection.connect(proxy.address, "dba", "pgusher", token)
    try:
        replies = console.simple(f"SHOW {what}")
        names = next(m.columns() for m in replies if m.type == "T")
        return [dict(zip(names, row)) for row in rows_of(replies)]
    finally:
        console.close()


def node(proxy, name, database="lagged", what="NODES"):
    if what == "PATHS":
        return next(r for r in show(proxy, "PATHS") if r["path"] == f"{database}/{name}")
    return next(r for r in show(proxy, "NODES")
                if r["node"] == name and r["database"] == database)


def lag(proxy, name, database="lagged"):
    """Seconds; None: infinite."""
    value = node(proxy, name, database)["lag"]
    return None if value is None else float(value)


def wait_measured(proxy, *names, database="lagged"):
    for name in names:
        wait_until(lambda n=name: (x := lag(proxy, n, database)) is not None and x < 2,
                   f"the lag of {name} is known")


def test_lag_grows_while_replay_is_paused(cluster, probe_role, make_proxy):
    proxy = make_proxy(probing(probe_role, max_lag="2s"))
    wait_measured(proxy, "primary", "replica1", "replica2")
    assert node(proxy, "primary")["role"] == "primary"
    assert node(proxy, "replica1")["role"] == "replica"
    assert node(proxy, "replica1")["state"] == "ok"
    assert node(proxy, "replica1", what="PATHS")["usable"] == "yes"
    assert node(proxy, "replica1", what="PATHS")["fallback"] == "primary"
    cluster.pause_replica("replica1")
    try:
        wait_until(lambda: lag(proxy, "replica1") > 2.2, "the lag of the paused replica grows")
        assert lag(proxy, "replica2") < lag(proxy, "replica1")
        path = node(proxy, "replica1", what="PATHS")
        assert (path["usable"], path["reason"]) == ("no", "too far behind")
    finally:
        cluster.resume_replica("replica1")
    wait_until(lambda: lag(proxy, "replica1") < 1, "the lag falls again")


def test_the_bound_is_never_below_the_truth(cluster, probe_role, make_proxy):
    """What a replica shows is at least as new as the bound says."""
    proxy = make_proxy(probing(probe_role))
    wait_measured(proxy, "replica1")
    cluster.superuser("lagged").execute(
        "CREATE TABLE IF NOT EXISTS stamp (at timestamptz NOT NULL)")
    cluster.wait_caught_up()
    replica = cluster.superuser("lagged", "replica1")
    for _ in range(50):
        cluster.superuser("lagged").execute("TRUNCATE stamp")
        cluster.superuser("lagged").execute("INSERT INTO stamp VALUES (clock_timestamp())")
        bound = lag(proxy, "replica1")
        row = replica.execute(
            "SELECT extract(epoch FROM clock_timestamp() - max(at)) FROM stamp").fetchone()[0]
        # Not there yet: then the replica is behind the INSERT, and so must the bound be.
        assert row is not None or bound > 0


def test_a_writer_that_dies_is_followed(cluster, probe_role, make_proxy, keys, tmp_path):
    first = make_proxy(probing(probe_role))
    wait_until(lambda: WRITES in first.log(), "the first one writes")
    second = make_proxy(probing(probe_role))
    wait_measured(second, "replica1")
    assert WRITES not in second.log()
    first.process.kill()
    first.process.wait()
    first.process = None
    wait_until(lambda: WRITES in second.log(), "the second one writes")
    wait_measured(second, "replica1")


def test_a_writer_that_hangs_is_followed(cluster, probe_role, make_proxy):
    """Somebody has the lock and does nothing with it."""
    holder = cluster.superuser("lagged")
    holder.execute(
        "SELECT pg_advisory_lock(%s, hashtext(%s))", (0x50677573, TABLE))
    try:
        proxy = make_proxy(probing(probe_role))
        wait_measured(proxy, "replica1")
        assert WRITES not in proxy.log()
    finally:
        holder.execute("SELECT pg_advisory_unlock_all()")


def test_a_silent_node_grows_and_a_lost_one_is_unknown(cluster, probe_role, make_proxy):
    proxy = make_proxy(probing(probe_role))
    wait_measured(proxy, "replica2")
    cluster.restart("replica2")
    proxy.wait_log('node "replica2" database "lagged": 08006')
    proxy.wait_log('node "replica2" database "lagged" answers again')
    wait_measured(proxy, "replica2")


def test_no_table_and_no_grant_are_said(cluster, probe_role, make_proxy):
    cluster.sql("CREATE DATABASE bare")
    proxy = make_proxy(probing(probe_role, database="bare"))
    wait_until(lambda: node(proxy, "replica1", "bare")["state"] == "no heartbeat table", "state")
    wait_until(lambda: node(proxy, "primary", "bare")["role"] == "primary", "role")
    assert lag(proxy, "replica1", "bare") is None
    assert node(proxy, "replica1", "bare", "PATHS")["usable"] == "no"
    assert node(proxy, "primary", "bare", "PATHS")["usable"] == "yes"
    cluster.superuser("bare").execute(HEARTBEAT)
    wait_until(lambda: node(proxy, "primary", "bare")["state"]
               == "no grant on the heartbeat table", "state", 30)
    assert "grant SELECT, INSERT, UPDATE" in node(proxy, "primary", "bare")["hint"]
    cluster.superuser("bare").execute("DROP INDEX probe_test_source; " + GRANTS)
    wait_until(lambda: node(proxy, "primary", "bare")["state"]
               == "the heartbeat table cannot be written", "state", 30)
    cluster.superuser("bare").execute(HEARTBEAT)
    wait_until(lambda: lag(proxy, "replica1", "bare") is not None, "the lag is known", 30)
    for word in ("no heartbeat table", "no grant on the heartbeat table"):
        lines = [x for x in proxy.log().splitlines()
                 if f'"primary" database "bare": {word}' in x]
        assert len(lines) == 1, lines


def test_a_lock_on_the_table_is_soon_forgotten(cluster, probe_role, make_proxy):
    """As a VACUUM's, which cuts off the table's end, there and on the standbys that replay it."""
    proxy = make_proxy(probing(probe_role))
    wait_measured(proxy, "replica1")
    holder = cluster.superuser("lagged")
    with holder.transaction():
        holder.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        wait_until(lambda: node(proxy, "primary")["state"] == "the heartbeat table cannot be written",
                   "it is locked")
    begun = time.monotonic()
    wait_until(lambda: node(proxy, "primary")["state"] == "ok" and lag(proxy, "replica1") < 1,
               "it is measured")
    assert time.monotonic() - begun < 2.5


def test_no_probe_role(cluster, make_proxy):
    proxy = make_proxy({"pgusher": {"admin_users": "dba"}})
    row = node(proxy, "primary", "eav")
    assert (row["state"], row["lag"], row["role"]) == ("no probe_role", None, "unknown")
    assert "set probe_role" in row["hint"]
    assert "no probe_role in [freshness]" in proxy.log()


@pytest.mark.parametrize("overrides, said", [
    ({"freshness": {"probe_role": "nobody"}}, "there is no section [role nobody]"),
    ({"freshness": {"probe_role": "app"}}, "[role app] must have tenant = none"),
    ({"freshness": {"heartbeat_interval": "1ms"}}, "must be 20 ms at least"),
    ({"freshness": {"heartbeat_table": "a; DROP TABLE b"}}, "is not a schema and a table"),
    ({"tenants": {"directory_query": "SELECT 1, true"}}, "needs probe_role in [freshness]"),
    *(({"tenants": {"directory_query": query}}, "directory_query: must be one SELECT") for query in (
        "DROP TABLE tenants", "SELECT 1, true; DROP TABLE tenants", "SELECT 1, true INTO t", "SELEC",
        "WITH x AS (DELETE FROM tenants RETURNING *) SELECT tenant_id, true FROM x", "(",
        "EXPLAIN SELECT 1", "COPY tenants TO '/tmp/x'", "-- nothing")),
])
def test_configuration_errors(cluster, keys, tmp_path, overrides, said):
    made = Proxy(cluster, keys, tmp_path, overrides)
    checked = run_binary("check", "-c", made.ini)
    assert checked.returncode == 1
    assert said in checked.stderr + checked.stdout
    assert os.path.basename(made.ini) in checked.stderr + checked.stdout


# ---- the tenant directory ------------------------------------------------------------------


@pytest.fixture
def tenant_list(cluster, probe_role):
    eav = cluster.superuser("eav")
    eav.execute("CREATE TABLE IF NOT EXISTS tenant_list (tenant_id bigint, is_active bool)")
    eav.execute("GRANT SELECT ON tenant_list TO probe; GRANT USAGE ON SCHEMA public TO probe")
    eav.execute("TRUNCATE tenant_list")
    eav.execute("INSERT INTO tenant_list VALUES (123, true), (456, true), (789, false),"
                " (790, NULL), (NULL, true)")
    return eav


def directed(password_file, query="SELECT tenant_id, is_active FROM tenant_list"):
    return {
        "role probe": {"password_file": password_file, "tenant": "none"},
        "freshness": {"probe_role": "probe", "heartbeat_interval": "50ms"},
        "tenants": {"directory_query": query, "directory_refresh": "100ms"},
    }


def refusal(proxy, tenant):
    """What a login of the tenant is told: (SQLSTATE, message); None: it is let in."""
    try:
        proxy.raw(tenant).close()
    except LoginError as error:
        return error.fields["C"], error.fields["M"]
    return None


def test_only_active_tenants_are_let_in(cluster, probe_role, tenant_list, make_proxy):
    proxy = make_proxy(directed(probe_role))
    proxy.wait_log("tenant directory: 2 active tenants")
    assert wait_until(lambda: refusal(proxy, 123) is None, "an active tenant logs in")
    for tenant in (789, 790, 999):
        assert refusal(proxy, tenant) == ("28000", "the tenant is not active")


def test_a_tenant_made_inactive_is_ended(cluster, probe_role, tenant_list, make_proxy):
    proxy = make_proxy(directed(probe_role))
    wait_until(lambda: refusal(proxy, 123) is None, "an active tenant logs in")
    idle, busy, other = proxy.raw(123), proxy.raw(123), proxy.raw(456)
    switched = proxy.raw(456)
    switched.simple(f"SET usher.token = '{proxy.keys.token(123)}'")
    busy.simple("BEGIN")
    busy.simple("SELECT 1")
    tenant_list.execute("UPDATE tenant_list SET is_active = false WHERE tenant_id = 123")
    for conn in (idle, busy, switched):
        told = [m.fields() for m in conn.read_to_end() if m.type == "E"]
        assert [(e["C"], e["M"]) for e in told] == [("28000", "the tenant is not active")]
    assert refusal(proxy, 123) == ("28000", "the tenant is not active")
    with pytest.raises(PgError, match="not active"):
        rows_of(other.simple(f"SET usher.token = '{proxy.keys.token(123)}'"))
    assert rows_of(other.simple("SELECT 1")) == [("1",)]
    tenant_list.execute("UPDATE tenant_list SET is_active = true WHERE tenant_id = 123")
    wait_until(lambda: refusal(proxy, 123) is None, "active again")


def test_no_directory_no_login(cluster, probe_role, tenant_list, make_proxy):
    """Fail closed before the first answer; after it the last answer stays."""
    tenant_list.execute("ALTER TABLE tenant_list RENAME TO tenant_list_away")
    try:
        proxy = make_proxy(directed(probe_role))
        proxy.wait_log("directory_query failed: 42P01")
        assert refusal(proxy, 123) == (
            "28000", "the tenant directory is not loaded yet: try again")
    finally:
        tenant_list.execute("ALTER TABLE tenant_list_away RENAME TO tenant_list")
    wait_until(lambda: refusal(proxy, 123) is None, "loaded")
    tenant_list.execute("ALTER TABLE tenant_list RENAME TO tenant_list_away")
    try:
        wait_until(lambda: proxy.log().count("directory_query failed: 42P01") == 2, "it failed")
        assert "the last answer stays" in proxy.log()
        assert refusal(proxy, 123) is None
    finally:
        tenant_list.execute("ALTER TABLE tenant_list_away RENAME TO tenant_list")


def test_a_directory_of_the_wrong_shape_is_said(cluster, probe_role, tenant_list, make_proxy):
    proxy = make_proxy(directed(probe_role, "SELECT 'x', true"))
    proxy.wait_log("its columns must be (bigint, boolean)")
