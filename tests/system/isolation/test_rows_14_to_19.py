"""isolation.md rows 14 to 19: the schema's own doors, and transactions cut where it hurts."""

import psycopg
import pytest

import pgproto as p
from conftest import TENANT_A, TENANT_B
from isolation import attacks
from isolation.scene import CONTEXT, WAYS, WHO, is_refused, values

ways = pytest.mark.parametrize("way", WAYS)


@ways
@pytest.mark.parametrize("sql", attacks.DEFINERS)
def test_row_14_functions_that_take_a_tenant_or_work_on_all(scene, way, sql):
    is_refused(scene.try_all([sql], way))
    scene.nothing_crossed()


@ways
@pytest.mark.parametrize("sql", attacks.RELATIONS)
def test_row_15_relations_that_row_level_security_does_not_reach(scene, way, sql):
    is_refused(scene.try_all([sql], way))
    scene.nothing_crossed()


@ways
def test_row_15_the_proofs_keys(scene, way):
    """In plain mode there is no such schema."""
    for sql, plain in (("SELECT * FROM pgusher.proof_keys", "42P01"),
                       ("SELECT pgusher.proof_key_add('x')", "3F000")):
        codes = p.codes_of(scene.try_all([sql], way))
        assert codes == [plain if scene.stage.mode == "plain" else "42501"]
    scene.nothing_crossed()


@pytest.mark.parametrize("sql", attacks.DEFINERS + attacks.RELATIONS)
def test_rows_14_and_15_past_pgusher(stage, sql):
    with stage.direct(TENANT_A) as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(sql)


def test_row_15_copy_into_staging_takes_own_rows_only(scene):
    conn = scene.attacker
    for tenant, codes in ((TENANT_B, ["42501"]), (TENANT_A, [])):
        row = p.copy_data(f"{tenant}\t1001\t42\n") + p.copy_done()
        head = conn.run(p.query("COPY entity_values_ingest (tenant_id, entity_id, attribute_id)"
                                " FROM STDIN") + row)
        scene.heard += head
        assert p.codes_of(head) == codes
    assert scene.cluster.sql("SELECT count(*) FROM entity_values_ingest WHERE tenant_id ="
                             f" {TENANT_B}", dbname=scene.dbname) == [(0,)]
    scene.stage.sql("TRUNCATE entity_values_ingest")
    scene.nothing_crossed()


def test_row_15_statistics_view_shows_ones_own(scene):
    rows = values(scene.victim.simple("SELECT DISTINCT tenant_id FROM entity_attribute_stats"))
    assert set(rows) <= {str(TENANT_B)}
    rows = values(scene.attacker.simple("SELECT DISTINCT tenant_id FROM entity_attribute_stats"))
    assert set(rows) <= {str(TENANT_A)}


def test_row_16_no_context_is_no_row_and_no_error(scene):
    """Direct: also where a transaction has had the setting, which then is ''."""
    with scene.stage.direct() as direct:
        for _ in range(2):
            for table in ("item", "entities", "entity_jsonb", "entity_values_ts", "tenants",
                          "entity_attribute_stats"):
                assert direct.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
            with direct.transaction():
                direct.execute("SELECT set_config('app.current_tenant_id', '123', true)")
        assert direct.execute(CONTEXT).fetchone() == ("",)


def test_row_17_plans_follow_the_tenant(scene):
    """One statement of one text on one server, often enough for a generic plan, by both."""
    sql = "SELECT DISTINCT tenant_id FROM item WHERE id > $1"
    for conn in (scene.attacker, scene.victim):
        assert p.codes_of(conn.run(p.parse("q", sql) + p.sync())) == []
    for _ in range(8):
        for conn, tenant in ((scene.attacker, TENANT_A), (scene.victim, TENANT_B)):
            answer = conn.run(p.bind("", "q", ["0"]) + p.execute() + p.sync())
            assert values(answer) == [str(tenant)]
    scene.nothing_crossed()


MIDDLES = [
    f"{WHO}; COMMIT; {WHO}",
    f"BEGIN; {WHO}; COMMIT; {WHO}",
    f"BEGIN; {WHO}; ROLLBACK; {WHO}; BEGIN; {WHO}; COMMIT; {WHO}",
    f"BEGIN; {WHO}; COMMIT AND CHAIN; {WHO}; COMMIT; {WHO}",
    f"BEGIN; {WHO}; ROLLBACK AND CHAIN; {WHO}; ROLLBACK",
    f"BEGIN; SAVEPOINT s; {WHO}; ROLLBACK TO s; {WHO}; RELEASE s; {WHO}; COMMIT; {WHO}",
    f"{WHO}; SELECT 1/0; {WHO}",
    f"BEGIN; {WHO}; SELECT 1/0; COMMIT; {WHO}",
]


@pytest.mark.parametrize("script", MIDDLES)
def test_row_18_no_statement_without_its_context(scene, script):
    for _ in range(2):
        for conn, tenant in ((scene.victim, TENANT_B), (scene.attacker, TENANT_A)):
            assert set(values(conn.simple(script))) <= {str(tenant)}
            if conn.status != "I":
                conn.simple("ROLLBACK")
            assert values(conn.simple(WHO)) == [str(tenant)]
    scene.nothing_crossed()


@pytest.mark.parametrize("script", MIDDLES)
def test_row_18_in_a_pipeline(scene, script):
    statements = [s.strip() for s in script.split(";")]
    batch = b"".join(p.parse("", s) + p.bind("", "") + p.execute() for s in statements) + p.sync()
    for conn, tenant in ((scene.victim, TENANT_B), (scene.attacker, TENANT_A)):
        assert set(values(conn.run(batch))) <= {str(tenant)}
        if conn.status != "I":
            conn.simple("ROLLBACK")
    scene.nothing_crossed()


def test_row_18_call_that_commits(scene):
    scene.victim.simple(WHO)
    scene.try_all(["CALL note_context(1)"], WAYS[0])
    left = scene.cluster.sql("SELECT body FROM shared_note WHERE id = 1", dbname=scene.dbname)
    assert left in ([], [("",)], [(str(TENANT_A),)]), left
    scene.nothing_crossed()


@pytest.mark.parametrize("leave", ["terminate", "close", "reset"])
@pytest.mark.parametrize("when", ["in a transaction", "in a query", "in a copy", "in a batch"])
def test_row_19_a_server_in_mid_work_goes_to_nobody(scene, leave, when):
    conn = scene.attacker
    if when == "in a transaction":
        conn.simple("BEGIN")
        conn.simple(f"INSERT INTO item VALUES (800, {TENANT_A}, 'left', 1)")
    elif when == "in a query":
        conn.send(p.query("SELECT name, pg_sleep(0.01) FROM item, generate_series(1, 20)"))
    elif when == "in a copy":
        conn.send(p.query("COPY entity_values_ingest (tenant_id, entity_id, attribute_id)"
                          " FROM STDIN"))
        conn.read_until("G")
    else:
        conn.send(p.parse("", "SELECT name FROM item") + p.bind("", "") + p.execute("", 1)
                  + p.flush())
        conn.read_until("s")
    getattr(conn, leave)()
    assert set(values(scene.victim.simple(WHO))) == {str(TENANT_B)}
    assert scene.victim.status == "I"
    assert scene.cluster.sql("SELECT count(*) FROM item WHERE id = 800",
                             dbname=scene.dbname) == [(0,)]
    scene.attacker = scene.login(TENANT_A)
    scene.nothing_crossed()
