"""An analytics node that could be written to (here the primary once more, by another name): what a
client has written there would be lost to the primary. Nor does a read meant for it go elsewhere."""

import pytest

import pgproto as p
from conftest import TENANT_A
from console import Console
from test_reload import change
from test_routing import probe_file, routing, wait_usable  # noqa: F401


def whole(sql):
    return p.parse("", sql) + p.bind("", "") + p.execute()


@pytest.fixture
def proxy(cluster, probe_file, make_proxy, items):  # noqa: F811
    cluster.superuser("eav").execute(
        "CREATE OR REPLACE FUNCTION writes() RETURNS text LANGUAGE plpgsql VOLATILE AS"
        " $$ BEGIN INSERT INTO shared_note VALUES (55, 'noted'); RETURN 'done'; END $$;"
        "CREATE OR REPLACE FUNCTION says_stable() RETURNS text LANGUAGE plpgsql STABLE AS"
        " $$ BEGIN RETURN writes(); END $$;"
        "DELETE FROM shared_note WHERE id = 55")
    ini = routing(probe_file)
    ini["node copy"] = {"host": "127.0.0.1", "port": cluster.ports["primary"], "role": "analytics"}
    ini["database eav"]["nodes"] = "primary, replica1, copy"
    ini["guard"]["trusted_functions"] += ", says_stable"
    proxy = make_proxy(ini)
    wait_usable(proxy, "primary", "replica1", "copy")
    proxy.wait_log("function catalogue")
    return proxy


@pytest.fixture
def client(proxy):
    with proxy.raw(TENANT_A) as conn:
        conn.simple("SET usher.consistency = 'analytics'")
        yield conn


INSERT = "INSERT INTO shared_note VALUES (55, 'x')"


@pytest.mark.parametrize("steps", [
    [p.query("SELECT says_stable()")],
    [whole("SELECT says_stable()") + p.sync()],
    [p.query("BEGIN READ ONLY"), p.query("SELECT 1"), p.query(f"COMMIT; {INSERT}")],
    [p.query("BEGIN READ ONLY"), p.query("SELECT 1"),
     p.query(f"COMMIT; BEGIN READ WRITE; {INSERT}; COMMIT")],
    [whole("BEGIN READ ONLY") + whole("SELECT 1") + p.sync(),
     whole("COMMIT") + whole(INSERT) + p.sync()],
    [whole("BEGIN READ ONLY") + whole("SELECT 1") + p.sync(),
     whole("COMMIT") + whole("BEGIN READ WRITE") + whole(INSERT) + whole("COMMIT") + p.sync()],
    [p.query("BEGIN READ ONLY"), p.query("SET TRANSACTION READ WRITE"), p.query(INSERT),
     p.query("COMMIT")],
    [p.query("BEGIN READ ONLY"), whole("SET TRANSACTION READ WRITE") + p.sync(),
     p.query(INSERT), p.query("COMMIT")],
    [p.query("BEGIN READ ONLY"), p.query("SET transaction_read_only = off"), p.query(INSERT),
     p.query("COMMIT")],
    [p.query("SET default_transaction_read_only = off"), p.query("SELECT says_stable()")],
    [p.query("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"),
     whole("SELECT says_stable()") + p.sync()],
    [p.query("BEGIN READ ONLY"), p.query("SET default_transaction_read_only = off"),
     p.query(f"COMMIT; {INSERT}")],
    [p.query("BEGIN READ ONLY"),
     whole("SELECT set_config('default_transaction_read_only', 'off', false)") + p.sync(),
     p.query(f"COMMIT; {INSERT}")],
    [p.query("SELECT set_config('default_transaction_read_only', 'off', false), says_stable()"),
     p.query("SELECT says_stable()")],
    [p.query("SET default_transaction_read_only = off"), p.query("BEGIN READ ONLY"),
     p.query("SELECT 1"), p.query("RESET ALL"), p.query(f"COMMIT; {INSERT}")],
])
def test_nothing_is_written_there(cluster, client, steps):
    codes = []
    for step in steps:
        codes += p.codes_of(client.run(step))
    assert set(codes) & {"25006", "0A000"}, codes
    client.run(p.query("ROLLBACK"))
    assert cluster.sql("SELECT FROM shared_note WHERE id = 55", dbname="eav") == []
    # Reads go on, and what writes goes to the primary.
    assert client.scalar("SELECT 7") == "7"
    assert client.scalar("SHOW usher.data_source") == "copy"


def test_serializable_reads_stay_there(client):
    client.simple("SET default_transaction_isolation = 'serializable'")
    assert client.scalar("SELECT 7") == "7"
    assert client.scalar("SHOW usher.data_source") == "copy"


def test_reads_are_refused_when_its_node_is_another_one(proxy, client):
    change(proxy, Console(proxy), {"node copy": {"role": "auto"}})
    assert p.codes_of(client.run(p.query("SELECT 7"))) == ["55000"]
    client.simple("SET usher.consistency = 'bounded'")
    assert client.scalar("SELECT 7") == "7"
