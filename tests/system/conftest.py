"""The system tests' shared furniture: one PostgreSQL cluster, one key set, proxies.

Run by `make system`, or by hand: `pytest tests/system`. PGUSHER_BIN chooses the binary,
PGUSHER_SEED chooses the random test's seed, PGUSHER_SOAK=1 makes the load tests run for a minute.
"""

import faulthandler
import os
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(__file__))

import pytest  # noqa: E402

from cluster import Cluster  # noqa: E402
from console import CONSOLE, Console  # noqa: E402
from pgproto import Connection  # noqa: E402
from proxy import BINARY, Keys, Proxy  # noqa: E402

TENANT_A, TENANT_B = 123, 456

# The tests' own tables, beside the product's schema: small, with every way to fail in them.
# PK (id, tenant_id): two tenants use the same ids, so that a row of the wrong tenant shows.
TEST_TABLES = """
CREATE TABLE item (
    id bigint NOT NULL,
    tenant_id bigint NOT NULL,
    name text,
    n int CHECK (n < 1000000),
    PRIMARY KEY (id, tenant_id)
);
ALTER TABLE item ENABLE ROW LEVEL SECURITY;
ALTER TABLE item FORCE ROW LEVEL SECURITY;
CREATE POLICY item_tenant ON item
    USING (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE, DELETE ON item TO app;
CREATE TABLE shared_note (id bigint PRIMARY KEY, body text);
GRANT SELECT, INSERT, UPDATE, DELETE ON shared_note TO app;
CREATE TABLE bulk (id bigint NOT NULL, body text);
GRANT SELECT, INSERT ON bulk TO app;
-- Writes down which context is left after the COMMIT inside.
CREATE PROCEDURE note_context(p_id bigint) LANGUAGE plpgsql AS $$
BEGIN
    COMMIT;
    INSERT INTO shared_note
    VALUES (p_id, coalesce(current_setting('app.current_tenant_id', true), ''));
END $$;
"""


def pytest_configure():
    """A killed run (CI's timeout) tears down like an interrupted one."""
    faulthandler.register(signal.SIGUSR1)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def pytest_report_header(config):
    return f"pgusher: {BINARY}"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The primary and its two replicas, with the schema in database eav."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.start()
        made.deploy("eav")
        made.superuser("eav").execute(TEST_TABLES)
        made.close_superuser("eav")
        # Copied now: later, pooled connections to eav would forbid it.
        made.deploy("pristine", template="eav")
        yield made
    finally:
        made.stop()


@pytest.fixture(autouse=True)
def clients_are_closed():
    """Also those of a test that failed half-way."""
    yield
    Connection.close_all()


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def shared_proxy(cluster, keys, tmp_path_factory):
    """One proxy for all the tests that do it no harm; through the fixture `proxy`."""
    with Proxy(cluster, keys, tmp_path_factory.mktemp("proxy")) as running:
        yield running


@pytest.fixture
def proxy(shared_proxy):
    """The shared proxy; fails the test after which it is no longer there."""
    yield shared_proxy
    assert shared_proxy.process.poll() is None, f"pgusher died: {shared_proxy.log()[-4000:]}"


@pytest.fixture
def make_proxy(cluster, keys, tmp_path):
    """Starts proxies of the test's own: make_proxy({section: {key: value}}, ...)."""
    running = []

    def make(overrides=None, **more):
        folder = tmp_path / f"proxy{len(running)}"
        folder.mkdir()
        made = Proxy(cluster, keys, folder, overrides, **more)
        running.append(made)
        return made.start()

    yield make
    Connection.close_all()
    failures = []
    for made in running:
        try:
            made.stop()
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n".join(failures)


@pytest.fixture
def tiny_proxy(make_proxy):
    """One worker and one server connection: who is served when, and by which, is certain."""
    return make_proxy({"pgusher": {"workers": 1, "max_server_conn": 1}})


@pytest.fixture
def own(make_proxy):
    """A proxy of the test's own, and its console."""
    def make(**more):
        proxy = make_proxy({"pgusher": {**CONSOLE, **more}})
        return proxy, Console(proxy)
    return make


@pytest.fixture
def items(cluster):
    """Both tenants have the same ids in item, with names that tell whose they are."""
    cluster.sql("TRUNCATE item, shared_note", dbname="eav")
    cluster.sql(
        "INSERT INTO item SELECT i, t, 'tenant ' || t || ' item ' || i, i"
        " FROM generate_series(1, 20) i, unnest(ARRAY[%s, %s]) t",
        (TENANT_A, TENANT_B), dbname="eav",
    )
