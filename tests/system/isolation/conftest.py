"""The attack suite's databases and proxies: a stage for each context mode, a fresh scene on it for
each test."""

import pytest

from isolation.scene import Scene, Stage


@pytest.fixture(scope="session", params=["plain", "signed"])
def stage(request, cluster, keys, tmp_path_factory):
    """Guard strict, in each context mode."""
    with Stage(cluster, keys, tmp_path_factory.mktemp("stage"), request.param) as made:
        yield made


@pytest.fixture(scope="session")
def bare_stage(cluster, keys, tmp_path_factory):
    """Guard off, signed: what holds when nothing is refused."""
    with Stage(cluster, keys, tmp_path_factory.mktemp("bare"), "signed", guard="off",
               dbname="attacked_bare") as made:
        yield made


def on(stage):
    stage.refill()
    made = Scene(stage)
    yield made
    # What ALTER ROLE and ALTER DATABASE may have left for every later connection.
    stage.sql("ALTER ROLE app RESET ALL")
    stage.sql(f"ALTER DATABASE {stage.dbname} RESET ALL")
    assert stage.proxy.process.poll() is None, stage.proxy.log()[-4000:]


@pytest.fixture
def scene(stage):
    yield from on(stage)


@pytest.fixture
def unguarded(bare_stage):
    yield from on(bare_stage)


@pytest.fixture
def with_temp(stage):
    """What hardening.sql takes away, for attacks on PgUsher's own care for session state."""
    stage.sql(f"GRANT TEMP ON DATABASE {stage.dbname} TO app")
    stage.sql("GRANT USAGE ON LANGUAGE sql TO app")
    yield
    stage.sql(f"REVOKE TEMP ON DATABASE {stage.dbname} FROM app")
    stage.sql("REVOKE USAGE ON LANGUAGE sql FROM app")
