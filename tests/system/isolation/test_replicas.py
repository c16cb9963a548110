"""The rows' attacks that are reads, where reads go to a replica: attacker and victim meet on its
one server connection.

The tests of the other files are taken as they are, with a stage of another kind (test_row_..). What
the guard refuses never comes to a server; of that, one attack a kind is enough here.
"""

import pytest

import pgproto as p
from conftest import TENANT_A, TENANT_B
from isolation import attacks
from isolation.conftest import on
from isolation.scene import WAYS, WHO, ReplicaStage, by_query, is_refused, ran_on, values
from isolation.test_rows_01_to_05 import (
    test_row_01_name_that_comes_with_bind, test_row_01_reset_takes_the_clients_own_settings_only)
from isolation.test_rows_06_to_13 import (
    test_row_06_one_tenant_after_another_in_one_client,
    test_row_07_prepared_names_are_each_clients_own, test_row_07_the_context_statement_survives,
    test_row_09_guessed_cancel_keys,
    test_row_10_advisory_locks_of_others_are_out_of_reach)
from isolation.test_rows_14_to_19 import (
    test_row_14_functions_that_take_a_tenant_or_work_on_all,
    test_row_15_relations_that_row_level_security_does_not_reach,
    test_row_15_statistics_view_shows_ones_own, test_row_17_plans_follow_the_tenant,
    test_row_18_in_a_pipeline, test_row_18_no_statement_without_its_context,
    test_row_19_a_server_in_mid_work_goes_to_nobody)

__all__ = [name for name in globals() if name.startswith("test_row")]

ways = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module", params=["plain", "signed"])
def stage(request, cluster, keys, tmp_path_factory):
    mode = request.param
    with ReplicaStage(cluster, keys, tmp_path_factory.mktemp("replica"), mode,
                      dbname=f"read_{mode}") as made:
        yield made


@pytest.fixture(scope="module")
def bare_stage(cluster, keys, tmp_path_factory):
    with ReplicaStage(cluster, keys, tmp_path_factory.mktemp("replica"), "signed", guard="off",
                      dbname="read_bare") as made:
        yield made


def on_replica(stage):
    """As conftest.py's, and some of it did run on the replica."""
    before = stage.reads()
    yield from on(stage)
    assert stage.reads() > before


@pytest.fixture
def scene(stage):
    yield from on_replica(stage)


@pytest.fixture
def unguarded(bare_stage):
    yield from on_replica(bare_stage)


def test_reads_go_to_the_replica(scene):
    """Else this whole file would prove nothing."""
    for way in WAYS:
        for conn, tenant in ((scene.attacker, TENANT_A), (scene.victim, TENANT_B)):
            assert values(way(conn, WHO)) == [str(tenant)]
            assert ran_on(conn) == scene.stage.NODE
    # The context is the replica's server's, not only the primary's.
    nodes = {conn.scalar("SELECT planted_seen('cluster_name')")
             for conn in (scene.attacker, scene.victim)}
    assert nodes == {scene.stage.NODE}
    scene.nothing_crossed()


# Row 2: functions that were there before, and that say that they only read.
READING_LOOT = ["SELECT * FROM item", "COPY (SELECT * FROM item) TO STDOUT",
                "SELECT planted_run('SELECT 1') FROM item WHERE tenant_id = 456"]
# In the text itself current_setting() and SET are the primary's.
SPELLED_HERE = {"current_setting('my.tenant', true)": "planted_seen('my.tenant')",
                "planted_run('SET LOCAL my.tenant = 456')": "planted_keep('my.tenant', '456')"}


def planted():
    for sql in attacks.PLANTED:
        for there, here in SPELLED_HERE.items():
            sql = sql.replace(there, here)
        if not sql.startswith(("UPDATE", "INSERT")):
            yield sql


@ways
@pytest.mark.parametrize("sql", planted())
def test_rows_01_and_02_with_the_guard_off(unguarded, way, sql):
    """By itself, in one READ ONLY block and in one string with what it is for."""
    conn = unguarded.attacker
    way(conn, sql)
    if not p.codes_of(unguarded.try_all([sql], way)):
        assert ran_on(conn) == unguarded.stage.NODE
    for loot in READING_LOOT:
        unguarded.try_all([sql, loot], way)
        unguarded.try_all(["BEGIN READ ONLY", sql, loot, "COMMIT"], way)
        unguarded.end_transaction()
        unguarded.try_all([f"{sql}; {loot}"], by_query)
        unguarded.end_transaction()
    unguarded.nothing_crossed()


# What a function that says STABLE leaves on the replica's server for the next one.
KEPT = {
    "custom setting": ("my.left_over", "mine"),
    "the tenant": ("app.current_tenant_id", str(TENANT_A)),
    "the proof": ("app.tenant_proof", "ab"),
    "search_path": ("search_path", "pg_catalog"),
    "statement_timeout": ("statement_timeout", "54321ms"),
    "row_security": ("row_security", "off"),
    "default_transaction_read_only": ("default_transaction_read_only", "on"),
}


@ways
@pytest.mark.parametrize("leave", ["stay", "terminate", "close"])
@pytest.mark.parametrize("kept", KEPT)
def test_row_06_nothing_is_left_on_the_replica(scene, way, leave, kept):
    name, value = KEPT[kept]
    probe = f"SELECT public.planted_seen('{name}')"
    heard = scene.try_all([f"SELECT planted_keep('{name}', '{value}')"], way)
    if not p.codes_of(heard):
        assert ran_on(scene.attacker) == scene.stage.NODE
    if leave != "stay":
        getattr(scene.attacker, leave)()
        scene.attacker = scene.login(TENANT_A)
    heard = way(scene.victim, probe)
    assert ran_on(scene.victim) == scene.stage.NODE
    assert value not in values(heard), heard
    assert set(values(way(scene.victim, "SELECT DISTINCT tenant_id FROM public.item"))) \
        == {str(TENANT_B)}
    scene.nothing_crossed()


@ways
def test_row_10_a_lock_on_the_replica_ends_with_its_statement(scene, way):
    """Standbys have advisory locks, too, and a function can hide that it takes one."""
    assert values(scene.try_all(["SELECT planted_lock(4711)"], way)) == ["t"]
    assert ran_on(scene.attacker) == scene.stage.NODE
    assert values(way(scene.victim, "SELECT planted_lock(4711)")) == ["t"]
    assert ran_on(scene.victim) == scene.stage.NODE
    scene.nothing_crossed()


READ_ONLY_MIDDLES = [
    f"BEGIN READ ONLY; {WHO}; COMMIT; {WHO}",
    f"BEGIN READ ONLY; {WHO}; COMMIT AND CHAIN; {WHO}; COMMIT; {WHO}",
    f"BEGIN READ ONLY; {WHO}; ROLLBACK; BEGIN READ ONLY; {WHO}; COMMIT",
    f"BEGIN READ ONLY; SAVEPOINT s; {WHO}; ROLLBACK TO s; {WHO}; COMMIT; {WHO}",
    f"{WHO}; COMMIT; {WHO}",
    f"{WHO}; SELECT 1/0; {WHO}",
    f"BEGIN READ ONLY; {WHO}; SELECT 1/0; ROLLBACK; {WHO}",
]


@ways
@pytest.mark.parametrize("script", READ_ONLY_MIDDLES)
def test_row_18_blocks_that_only_read(scene, way, script):
    """Statement by statement, then as one string."""
    statements = [s.strip() for s in script.split(";")]
    for _ in range(2):
        for conn, tenant in ((scene.victim, TENANT_B), (scene.attacker, TENANT_A)):
            for steps, by in ((statements, way), ([script], by_query)):
                seen = [v for sql in steps for v in values(by(conn, sql))]
                assert seen and set(seen) <= {str(tenant)}
                if conn.status != "I":
                    conn.simple("ROLLBACK")
            assert values(way(conn, WHO)) == [str(tenant)]
            assert ran_on(conn) == scene.stage.NODE
    scene.nothing_crossed()


@pytest.mark.parametrize("leave", ["terminate", "close", "reset"])
@pytest.mark.parametrize("when", ["in a block", "in a query", "in a copy", "in a batch"])
def test_row_19_the_replicas_server_in_mid_work(scene, leave, when):
    conn, slow = scene.attacker, "SELECT name FROM item, generate_series(1, 20000)"
    if when == "in a block":
        conn.simple("BEGIN READ ONLY")
        conn.simple(WHO)
        assert ran_on(conn) == scene.stage.NODE
    elif when == "in a query":
        conn.send(p.query(slow))
        conn.read_until("D")
    elif when == "in a copy":
        conn.send(p.query(f"COPY ({slow}) TO STDOUT"))
        conn.read_until("H")
    else:
        conn.send(p.parse("", slow) + p.bind("", "") + p.execute("") + p.sync())
        conn.read_until("D")
    getattr(conn, leave)()
    assert set(values(scene.victim.simple(WHO))) == {str(TENANT_B)}
    assert scene.victim.status == "I"
    scene.attacker = scene.login(TENANT_A)
    scene.nothing_crossed()


def test_row_09_a_cancel_meets_its_own_read_only(scene):
    """On the replica, with the right key, when the victim is on the same server by then."""
    assert values(scene.attacker.simple(WHO)) == [str(TENANT_A)]
    for _ in range(5):
        scene.victim.send(p.query("SELECT count(*) FROM item, generate_series(1, 20000)"))
        scene.attacker.cancel()
        assert p.codes_of(scene.victim.read_until_ready(1)) == []
        assert ran_on(scene.victim) == scene.stage.NODE
    scene.nothing_crossed()


@ways
@pytest.mark.parametrize("sql", attacks.SETTING[10:12] + attacks.RUN_TIME[4:5]
                         + attacks.STATISTICS[:2] + attacks.SIGNALS[:1] + attacks.FILES[-6:-4])
def test_rows_01_to_13_are_refused_here_too(scene, way, sql):
    is_refused(scene.try_all([sql], way))
    scene.nothing_crossed()


def test_row_19_a_read_that_is_repeated_is_its_clients_own(scene):
    """What the replica could not answer was kept, and goes to the primary in his own name."""
    fails = "SELECT planted_run('SELECT name FROM nowhere') FROM item"
    for conn, tenant in ((scene.attacker, TENANT_A), (scene.victim, TENANT_B)):
        assert p.codes_of(conn.simple(fails)) == ["42P01"]
        assert ran_on(conn) == "primary"
        names = values(conn.simple("SELECT name FROM item"))
        assert ran_on(conn) == scene.stage.NODE
        assert len(names) == 20 and all(n.startswith(f"tenant {tenant} ") for n in names)
    scene.nothing_crossed()
