"""Where reads go: replicas within their budget, one's own writes, blocks, batches, faults.

The function where_am_i tells the node. It says that it is STABLE, so that it counts as a read.
"""

import json
import re
import time
from datetime import datetime

import psycopg
import pytest

from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from pgproto import (PgError, bind, describe, execute, message, one_shot, parse, rows_of, sync,
                     types_of)
from test_probe import PROBE_PASSWORD, show

WHERE = "SELECT where_am_i()"


@pytest.fixture(scope="module")
def probe_file(cluster, tmp_path_factory):
    """Role probe, which may do in eav what it needs; its password file."""
    if not cluster.sql("SELECT 1 FROM pg_roles WHERE rolname = 'probe'"):
        cluster.sql("CREATE ROLE probe")
    cluster.sql(f"ALTER ROLE probe LOGIN PASSWORD '{PROBE_PASSWORD}'")
    cluster.superuser("eav").execute(
        "CREATE OR REPLACE FUNCTION where_am_i() RETURNS text LANGUAGE sql STABLE AS"
        " $$ SELECT current_setting('port') $$;"
        "CREATE OR REPLACE FUNCTION seen(name text) RETURNS text LANGUAGE sql STABLE AS"
        " $$ SELECT current_setting(name, true) $$;"
        "CREATE SEQUENCE IF NOT EXISTS liar_seq; GRANT USAGE ON SEQUENCE liar_seq TO app;"
        "CREATE OR REPLACE FUNCTION liar() RETURNS bigint LANGUAGE plpgsql STABLE AS"
        " $$ BEGIN RETURN nextval('liar_seq'); END $$;"
        "GRANT SELECT, INSERT, UPDATE ON public.replication_heartbeat TO probe;"
        "GRANT USAGE ON SEQUENCE public.replication_heartbeat_id_seq TO probe")
    path = tmp_path_factory.mktemp("routing") / "probe.password"
    path.write_text(PROBE_PASSWORD)
    path.chmod(0o600)
    cluster.wait_caught_up()
    return str(path)


def routing(probe_file, **freshness):
    return {
        "pgusher": {"admin_users": "dba", "workers": 1},
        "role probe": {"password_file": probe_file, "tenant": "none"},
        "database eav": {"nodes": "primary, replica1, replica2"},
        "freshness": {"probe_role": "probe", "heartbeat_interval": "50ms", **freshness},
        "guard": {"trusted_functions": "where_am_i, seen, liar"},
        "audit": {},
    }


def paths(proxy):
    return {row["path"].split("/")[1]: row for row in show(proxy, "PATHS")}


def wait_usable(proxy, *names):
    wait_until(lambda: all(paths(proxy)[n]["usable"] == "yes" for n in names),
               f"{names} are usable")


def warm_up(cluster, proxy, ini):
    """Until each replica has a connection: a read that waits too long for one goes elsewhere."""
    wanted, seen = {n for n in REPLICAS if f"node {n}" not in ini}, set()

    def read():
        with proxy.raw(TENANT_A) as conn:
            seen.add(where(cluster, conn, f"/* consistency='eventual' */ {WHERE}"))
        return wanted <= seen

    if "pool_mode" not in ini["database eav"]:
        wait_until(read, "both replicas are read from")


@pytest.fixture
def routed(cluster, probe_file, make_proxy, tmp_path):
    """A proxy whose reads go to replicas; routed(max_lag=...) for other options."""
    def make(sections=None, **freshness):
        ini = routing(probe_file, **freshness)
        ini["audit"]["file"] = str(tmp_path / "audit.jsonl")
        for name, keys in (sections or {}).items():
            ini.setdefault(name, {}).update(keys)
        proxy = make_proxy(ini)
        wait_usable(proxy, "primary", "replica1", "replica2")
        # Functions are known, and so is what only reads.
        proxy.wait_log("function catalogue")
        warm_up(cluster, proxy, ini)
        return proxy
    return make


def node_of(cluster, answer):
    return {str(p): n for n, p in cluster.ports.items()}[answer]


def where(cluster, conn, sql=WHERE):
    return node_of(cluster, conn.scalar(sql))


REPLICAS = {"replica1", "replica2"}


def test_reads_go_to_replicas_and_writes_to_the_primary(cluster, routed, items):
    cluster.wait_caught_up()
    proxy = routed()
    clients = [proxy.raw(TENANT_A) for _ in range(4)]
    assert {where(cluster, c) for c in clients} == REPLICAS
    with proxy.raw(TENANT_A) as conn:
        # Nothing else is going on, so it stays where it is.
        assert len({where(cluster, conn) for _ in range(10)}) == 1
        assert conn.scalar("SELECT count(*) FROM item") == "20"
        assert where(cluster, conn, "INSERT INTO shared_note VALUES (1, where_am_i())"
                     " RETURNING body") == "primary"
        assert where(cluster, conn, "SELECT where_am_i() FOR UPDATE") == "primary"
        # A block that may write is the primary's.
        conn.simple("BEGIN")
        assert where(cluster, conn) == "primary"
        conn.simple("COMMIT")
    reads = {n: int(row["reads"]) for n, row in paths(proxy).items()}
    assert reads["replica1"] + reads["replica2"] >= 11


def strong(sql):
    return f"/* consistency='strong' */ {sql}"


def test_a_comment_overrides(cluster, routed):
    proxy = routed({"database eav": {"consistency": "strong"}})
    with proxy.raw(TENANT_A) as conn:
        assert where(cluster, conn) == "primary"
        assert where(cluster, conn, f"/* consistency='eventual' */ {WHERE}") in REPLICAS
        assert where(cluster, conn, f"{WHERE} /* consistency='bounded',max_lag='1h' */") in REPLICAS
        assert where(cluster, conn, f"{WHERE} /* consistency='bounded',max_lag='0' */") == "primary"


@pytest.fixture
def paused(cluster):
    """Both replicas replay nothing until the test is over, or paused() is called."""
    def resume():
        for name in REPLICAS:
            cluster.resume_replica(name)
    cluster.wait_caught_up()
    for name in REPLICAS:
        cluster.pause_replica(name)
    try:
        yield resume
    finally:
        resume()


def test_a_session_reads_its_own_writes(cluster, routed, items, request):
    proxy = routed(max_lag="1h")
    resume = request.getfixturevalue("paused")
    with proxy.raw(TENANT_A) as writer, proxy.raw(TENANT_A) as other:
        assert where(cluster, writer) in REPLICAS
        writer.simple("INSERT INTO shared_note VALUES (7, 'mine')")
        assert writer.scalar("SELECT body FROM shared_note WHERE id = 7") == "mine"
        assert where(cluster, writer) == "primary"
        # Its budget allows it an answer from before.
        assert other.rows("SELECT body FROM shared_note WHERE id = 7") == []
        # In a block, by a batch, by COPY.
        other.simple("BEGIN; DELETE FROM shared_note; COMMIT")
        assert where(cluster, other) == "primary"
        resume()
        wait_until(lambda: where(cluster, writer) in REPLICAS, "the replicas have the write")
        assert writer.rows("SELECT body FROM shared_note WHERE id = 7") == []


@pytest.mark.parametrize("write", [
    one_shot("INSERT INTO shared_note VALUES (1, 'x')"),
    parse("", "INSERT INTO shared_note VALUES ($1, 'x')") + bind("", "", ["5"])
    + execute() + sync(),
])
def test_a_batch_that_writes_counts(cluster, routed, items, paused, write):
    proxy = routed(max_lag="1h")
    with proxy.raw(TENANT_A) as conn:
        assert where(cluster, conn) in REPLICAS
        conn.run(write)
        assert where(cluster, conn) == "primary"


def test_a_tenant_reads_its_writes_at_all_workers(cluster, routed, items, request):
    proxy = routed({"pgusher": {"workers": 2}}, max_lag="1h", read_your_writes="tenant")
    request.getfixturevalue("paused")
    clients = [proxy.raw(TENANT_A) for _ in range(6)]
    stranger = proxy.raw(TENANT_B)
    assert {where(cluster, c) for c in clients} <= REPLICAS
    clients[0].simple("INSERT INTO shared_note VALUES (8, 'ours')")
    for conn in clients:
        assert conn.scalar("SELECT body FROM shared_note WHERE id = 8") == "ours"
    assert where(cluster, stranger) in REPLICAS


@pytest.mark.parametrize("nodes", ["primary", "primary, replica1"])
def test_a_tenant_reads_what_it_wrote_through_another_section(cluster, routed, items, request,
                                                              nodes):
    proxy = routed({"database writer": {"dbname": "eav", "nodes": nodes}}, max_lag="1h",
                   read_your_writes="tenant")
    request.getfixturevalue("paused")
    with proxy.raw(TENANT_A) as reader, proxy.raw(TENANT_A, "writer") as writer:
        assert where(cluster, reader) in REPLICAS
        writer.simple("INSERT INTO shared_note VALUES (8, 'ours')")
        assert reader.scalar("SELECT body FROM shared_note WHERE id = 8") == "ours"


def test_off_does_not_wait_for_writes(cluster, routed, items, paused):
    proxy = routed(max_lag="1h", read_your_writes="off")
    with proxy.raw(TENANT_A) as conn:
        conn.simple("INSERT INTO shared_note VALUES (9, 'x')")
        assert where(cluster, conn) in REPLICAS


def test_who_is_too_late_is_not_asked(cluster, routed, tmp_path):
    proxy = routed(max_lag="1s")
    cluster.pause_replica("replica1")
    try:
        wait_until(lambda: paths(proxy)["replica1"]["usable"] == "no", "replica1 is too late")
        with proxy.raw(TENANT_A) as conn:
            assert {where(cluster, conn) for _ in range(8)} == {"replica2"}
            cluster.pause_replica("replica2")
            wait_until(lambda: paths(proxy)["replica2"]["usable"] == "no", "replica2, too")
            assert {where(cluster, conn) for _ in range(3)} == {"primary"}
            assert where(cluster, conn, f"/* consistency='eventual' */ {WHERE}") in REPLICAS
            assert int(paths(proxy)["primary"]["fallbacks"]) == 3
    finally:
        cluster.resume_replica("replica1")
        cluster.resume_replica("replica2")
    # Once a session, not once a read.
    events = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    told = [e for e in events if e["event"] == "route"]
    assert [(e["outcome"], e["reason"], e["node"]) for e in told] == [
        ("fallback", "too far behind", "primary")]
    wait_usable(proxy, "replica1", "replica2")


# ---- transactions ------------------------------------------------------------------------------


def test_read_only_blocks_stay_on_one_replica(cluster, routed, items):
    proxy = routed()
    with proxy.raw(TENANT_A) as conn:
        for begin in ("BEGIN READ ONLY", "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"):
            conn.simple(begin)
            at = where(cluster, conn)
            assert at in REPLICAS
            assert {where(cluster, conn) for _ in range(6)} == {at}
            assert conn.scalar("SELECT count(*) FROM item") == "20"
            conn.simple("COMMIT")
        conn.simple("BEGIN READ ONLY, ISOLATION LEVEL SERIALIZABLE")
        assert where(cluster, conn) == "primary"
        conn.simple("ROLLBACK")
        assert where(cluster, conn, strong("BEGIN READ ONLY; " + WHERE + "; COMMIT")) == "primary"
        assert where(cluster, conn, "BEGIN READ ONLY; " + WHERE + "; COMMIT") in REPLICAS


def test_nothing_that_lasts_is_made_on_a_replica(cluster, routed, items):
    proxy = routed()
    with proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN READ ONLY")
        assert where(cluster, conn) in REPLICAS
        with pytest.raises(PgError) as refused:
            conn.rows("DECLARE c CURSOR WITH HOLD FOR SELECT 1")
        assert refused.value.code == "0A000"
        conn.simple("ROLLBACK")
        # The cursor of a transaction is no state.
        conn.simple("BEGIN READ ONLY")
        conn.simple("DECLARE c CURSOR FOR SELECT where_am_i()")
        assert where(cluster, conn, "FETCH c") in REPLICAS
        conn.simple("COMMIT")
        conn.simple("INSERT INTO shared_note VALUES (3, 'x')")


def test_default_transaction_read_only_counts(cluster, routed):
    proxy = routed()
    with proxy.raw(TENANT_A) as conn:
        conn.simple("SET default_transaction_read_only = on")
        conn.simple("BEGIN")
        at = where(cluster, conn)
        assert at in REPLICAS
        assert where(cluster, conn) == at
        conn.simple("COMMIT")
        conn.simple("SET default_transaction_isolation = serializable")
        assert where(cluster, conn) == "primary"


def test_session_pooling_is_the_primarys(cluster, routed):
    proxy = routed({"database eav": {"pool_mode": "session"}})
    with proxy.raw(TENANT_A) as conn:
        assert where(cluster, conn) == "primary"


# ---- batches -----------------------------------------------------------------------------------


def answer_of(replies):
    return rows_of(replies)[0][0]


def test_batches_are_routed_by_all_of_their_messages(cluster, routed, items):
    proxy = routed(read_your_writes="off")
    with proxy.raw(TENANT_A) as conn:
        read = parse("", WHERE) + bind("", "") + describe("P", "") + execute()
        write = parse("", "INSERT INTO shared_note VALUES (4, 'x')") + bind("", "") + execute()
        for _ in range(4):
            assert node_of(cluster, answer_of(conn.run(read + sync()))) in REPLICAS
        assert node_of(cluster, answer_of(conn.run(read + write + sync()))) == "primary"
        assert node_of(cluster, answer_of(conn.run(read + read + sync()))) in REPLICAS
        # Its end is not there yet: who knows what comes?
        conn.send(read)
        wait_until(lambda: cluster.backends("eav", "active"), "the batch has arrived")
        conn.send(sync())
        assert node_of(cluster, answer_of(conn.read_until_ready())) == "primary"


def test_prepared_statements_are_made_where_they_are_needed(cluster, routed):
    proxy = routed()
    with proxy.raw(TENANT_A) as conn:
        conn.run(parse("here", WHERE) + describe("S", "here") + sync())
        seen = {node_of(cluster, answer_of(conn.run(bind("", "here") + execute() + sync())))
                for _ in range(6)}
        assert seen < REPLICAS
        conn.run(parse("strong", strong(WHERE)) + sync())
        assert node_of(cluster, answer_of(
            conn.run(bind("", "strong") + execute() + sync()))) == "primary"


def test_drivers_read_from_replicas(cluster, routed, items):
    proxy = routed()
    with psycopg.connect(**proxy.dsn(TENANT_A), autocommit=True) as conn:
        seen = {node_of(cluster, conn.execute(WHERE, prepare=True).fetchone()[0])
                for _ in range(6)}
        assert seen < REPLICAS
        conn.read_only = True
        with conn.transaction():
            at = node_of(cluster, conn.execute(WHERE).fetchone()[0])
            assert at in REPLICAS
            assert conn.execute("SELECT count(*) FROM item").fetchone()[0] == 20
            assert node_of(cluster, conn.execute(WHERE).fetchone()[0]) == at


# ---- what goes with the client -----------------------------------------------------------------


def test_settings_and_the_tenant_go_with_the_client(cluster, routed, items):
    cluster.wait_caught_up()
    proxy = routed({"pgusher": {"max_server_conn": 1}})
    with proxy.raw(TENANT_A) as a, proxy.raw(TENANT_B) as b:
        a.simple("SET work_mem = '7MB'; SET app.mine = 'a'")
        for _ in range(4):
            # One server a node, shared: each answer is the client's own.
            for conn, tenant, mem in ((a, TENANT_A, "7MB"), (b, TENANT_B, "4MB")):
                row = conn.rows("SELECT where_am_i(), seen('work_mem'), seen('app.mine'),"
                                " seen('app.current_tenant_id'), count(*),"
                                " min(name) FROM item")[0]
                assert node_of(cluster, row[0]) in REPLICAS
                assert row[1] == mem
                assert row[2] in (("a",) if conn is a else (None, ""))
                assert list(row[3:]) == [str(tenant), "20", f"tenant {tenant} item 1"]


# ---- repeated on the primary -------------------------------------------------------------------


def test_what_a_replica_may_not_do_is_repeated(cluster, routed):
    proxy = routed()
    with proxy.raw(TENANT_A) as conn:
        assert int(conn.scalar("SELECT liar()")) > 0
        # It has written, as far as anybody knows.
        wait_until(lambda: where(cluster, conn) in REPLICAS, "a replica has what it wrote")
        replies = conn.run(parse("liar", "SELECT liar()") + bind("", "liar") + describe("P", "")
                           + execute() + sync())
        assert types_of(replies) == "12TDCZ"
        # It was prepared once, and is there.
        assert types_of(conn.run(bind("", "liar") + execute() + sync())) == "2DCZ"
        assert types_of(conn.run(parse("", "SELECT liar()") + bind("", "") + execute()
                                 + sync())) == "12DCZ"


def test_a_table_that_is_not_there_yet(cluster, routed, request):
    proxy = routed(max_lag="1h")
    request.getfixturevalue("paused")
    cluster.superuser("eav").execute(
        "DROP TABLE IF EXISTS newborn; CREATE TABLE newborn AS SELECT 5 AS n;"
        "GRANT SELECT ON newborn TO app")
    with proxy.raw(TENANT_A) as conn:
        assert where(cluster, conn) in REPLICAS
        assert conn.scalar("SELECT n FROM newborn") == "5"
        with pytest.raises(PgError) as missing:
            conn.rows("SELECT n FROM never_born")
        assert missing.value.code == "42P01"
        with pytest.raises(PgError) as wrong:
            conn.rows("SELECT 1 / 0")
        assert wrong.value.code == "22012"
        assert where(cluster, conn) in REPLICAS


def backend_at(cluster, name, text):
    return wait_until(lambda: cluster.superuser("postgres", name).execute(
        "SELECT pid FROM pg_stat_activity WHERE usename = 'app' AND state = 'active'"
        " AND query LIKE %s", (f"%{text}%",)).fetchall(), f"{text} runs at {name}")[0][0]


@pytest.mark.parametrize("batch", [False, True])
def test_a_server_that_is_lost_is_not_noticed(cluster, routed, batch):
    proxy = routed({"node replica2": {"weight": 0}})
    sql = WHERE + " FROM pg_sleep(1)"
    with proxy.raw(TENANT_A) as conn:
        if batch:
            conn.send(one_shot(sql))
        else:
            conn.send(message("Q", sql.encode() + b"\0"))
        pid = backend_at(cluster, "replica1", "pg_sleep")
        cluster.superuser("postgres", "replica1").execute("SELECT pg_terminate_backend(%s)", (pid,))
        replies = conn.read_until_ready()
        assert node_of(cluster, answer_of(replies)) == "primary"
        wait_until(lambda: where(cluster, conn) == "replica1", "it is asked again")


def test_a_recovery_conflict_is_not_noticed(cluster, routed):
    """VACUUM takes rows away that the replica's query may still need."""
    replica = cluster.superuser("postgres", "replica1")
    replica.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
    replica.execute("SELECT pg_reload_conf()")
    try:
        proxy = routed({"node replica2": {"weight": 0}})
        cluster.superuser("eav").execute("DROP TABLE IF EXISTS newborn")
        cluster.superuser("eav").execute(
            "CREATE TABLE newborn AS SELECT 1 AS n; GRANT SELECT ON newborn TO app")
        cluster.wait_caught_up()
        with proxy.raw(TENANT_A) as conn:
            conn.send(message("Q", b"SELECT where_am_i(), pg_sleep(2) FROM newborn\0"))
            backend_at(cluster, "replica1", "pg_sleep")
            cluster.superuser("eav").execute("ALTER TABLE newborn ADD m int")
            assert node_of(cluster, answer_of(conn.read_until_ready())) == "primary"
        assert "canceling statement due to conflict with recovery" in cluster.log("replica1")
    finally:
        replica.execute("ALTER SYSTEM RESET max_standby_streaming_delay")
        replica.execute("SELECT pg_reload_conf()")


def test_a_cancel_is_the_clients(cluster, routed):
    proxy = routed({"node replica2": {"weight": 0}})
    with proxy.raw(TENANT_A) as conn:
        conn.send(message("Q", b"SELECT pg_sleep(30)\0"))
        backend_at(cluster, "replica1", "pg_sleep")
        conn.cancel()
        assert [m.fields()["C"] for m in conn.read_until_ready() if m.type == "E"] == ["57014"]


def test_a_replica_that_restarts_is_not_noticed(cluster, routed):
    proxy = routed()
    with proxy.raw(TENANT_A) as conn:
        at = where(cluster, conn)
        cluster.restart(at)
        assert {where(cluster, conn) for _ in range(20)} <= {*REPLICAS, "primary"}
        wait_until(lambda: paths(proxy)[at]["usable"] == "yes", "it is asked again")
        assert where(cluster, conn) in REPLICAS


# ---- analytics ---------------------------------------------------------------------------------


def analytics(sql):
    return f"/* consistency='analytics' */ {sql}"


def test_analytics_reads_at_its_node_and_says_how_old_it_is(cluster, routed, request):
    proxy = routed({"node replica2": {"role": "analytics"}},
                   analytics_target_lag="200ms", analytics_max_lag="1s")
    with proxy.raw(TENANT_A) as conn:
        assert where(cluster, conn, analytics(WHERE)) == "replica2"
        assert {where(cluster, conn) for _ in range(4)} == {"replica1"}
        cluster.pause_replica("replica2")
        try:
            wait_until(lambda: any(m.type == "N" and "data as of" in m.fields()["M"]
                                   for m in conn.simple(analytics(WHERE))), "the age is told")
            wait_until(lambda: paths(proxy)["replica2"]["usable"] == "no", "it is too late")
            with pytest.raises(PgError) as late:
                conn.rows(analytics(WHERE))
            assert (late.value.code, late.value.fields["D"]) == ("55000", "too far behind")
        finally:
            cluster.resume_replica("replica2")


def test_analytics_says_no_newer_age(cluster, routed, request):
    proxy = routed({"node replica2": {"role": "analytics"}},
                   analytics_target_lag="100ms", analytics_max_lag="1h")
    cluster.pause_replica("replica2")
    request.addfinalizer(lambda: cluster.resume_replica("replica2"))
    paused = time.time()
    with proxy.raw(TENANT_A) as conn:
        while time.time() < paused + 1.5:
            for m in conn.simple(analytics(WHERE)):
                if m.type == "N":
                    told = re.search(r"as of (.*) UTC", m.fields()["M"]).group(1) + "+00:00"
                    assert datetime.fromisoformat(told).timestamp() <= paused
            time.sleep(0.1)


def test_analytics_says_what_has_become_late_in_the_queue(cluster, routed):
    proxy = routed({"node replica2": {"role": "analytics"}, "pgusher": {"max_server_conn": 1}},
                   analytics_target_lag="700ms", analytics_max_lag="1h")
    with proxy.raw(TENANT_A) as holder, proxy.raw(TENANT_A) as conn:
        holder.send(message("Q", analytics("SELECT pg_sleep(2)").encode() + b"\0"))
        backend_at(cluster, "replica2", "pg_sleep")
        conn.send(message("Q", analytics(WHERE).encode() + b"\0"))
        cluster.pause_replica("replica2")
        try:
            assert conn.read_until_ready()[0].fields()["M"].startswith("data as of ")
        finally:
            cluster.resume_replica("replica2")


def test_analytics_without_a_node_for_it(routed):
    with routed().raw(TENANT_A) as conn, pytest.raises(PgError) as refused:
        conn.rows(analytics(WHERE))
    assert (refused.value.code, refused.value.fields["D"]) == (
        "55000", "the database has no analytics node")


def test_analytics_may_serve_what_is_too_old(cluster, routed):
    proxy = routed({"node replica2": {"role": "analytics"}}, analytics_fallback="serve",
                   analytics_target_lag="200ms", analytics_max_lag="300ms")
    cluster.pause_replica("replica2")
    try:
        wait_until(lambda: paths(proxy)["replica2"]["usable"] == "no", "it is too late")
        with proxy.raw(TENANT_A) as conn:
            replies = conn.simple(analytics(WHERE))
            assert "data as of" in next(m for m in replies if m.type == "N").fields()["M"]
            assert node_of(cluster, answer_of(replies)) == "replica2"
    finally:
        cluster.resume_replica("replica2")


def test_a_node_with_other_settings_says_so(cluster, routed):
    """Parameters that a server reports otherwise than the last one are told; not in_hot_standby."""
    def set_on_replicas(sql):
        for name in REPLICAS:
            cluster.superuser(node=name).execute(sql)
            cluster.superuser(node=name).execute("SELECT pg_reload_conf()")
    try:
        set_on_replicas("ALTER SYSTEM SET IntervalStyle = 'iso_8601'")
        proxy = routed()
        day = "SELECT interval '1 day', where_am_i()"
        with proxy.raw(TENANT_A) as conn:
            told = {}
            for sql in (strong(day), day, day, strong(day)) * 2:
                messages = conn.simple(sql)
                told.update(m.body.decode().split("\0")[:2] for m in messages if m.type == "S")
                [(value, port)] = rows_of(messages)
                is_primary = node_of(cluster, port) == "primary"
                assert value == ("1 day" if is_primary else "P1D")
                assert told.get("IntervalStyle", "postgres") == (
                    "postgres" if is_primary else "iso_8601")
            assert "in_hot_standby" not in told and "IntervalStyle" in told
    finally:
        set_on_replicas("ALTER SYSTEM RESET IntervalStyle")
