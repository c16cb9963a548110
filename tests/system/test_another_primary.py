"""A standby of another primary of the same timeline, as of a staging system that was restored from a
backup: its heartbeats may be ahead of ours, in number and by their stamps, and tell nothing."""

import os
import subprocess
import threading
import time

import pytest

from cluster import wait_until
from console import CONSOLE
from proxy import Proxy
from test_failover import TENANT, doomed, states  # noqa: F401

BEAT = ("INSERT INTO replication_heartbeat AS t (source, timestamp)"
        " VALUES ('pgusher', clock_timestamp() + interval '{0}') ON CONFLICT (source) DO UPDATE"
        " SET id = EXCLUDED.id, timestamp = clock_timestamp() + interval '{0}'")


def restart(cluster, node, **settings):
    """Not as a standby, where nothing is set."""
    pg_ctl = [os.path.join(cluster.bin, "pg_ctl"), "-D", os.path.join(cluster.base, node), "-w",
              "-l", os.path.join(cluster.base, f"{node}.log")]
    if os.getuid() == 0:
        pg_ctl = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--", *pg_ctl]
    cluster.forget(node)
    subprocess.run([*pg_ctl, "stop", "-m", "fast"], cwd="/", check=True, capture_output=True)
    if not settings:
        os.unlink(os.path.join(cluster.base, node, "standby.signal"))
    with open(os.path.join(cluster.base, node, "postgresql.auto.conf"), "a",
              encoding="ascii") as file:
        file.writelines(f"{key} = '{value}'\n" for key, value in settings.items())
    subprocess.run([*pg_ctl, "start"], cwd="/", check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def strayed(doomed):  # noqa: F811
    """replica1 is a primary by itself, and replica2 follows it."""
    doomed.superuser("fo").execute(
        "CREATE TABLE story (v text); INSERT INTO story VALUES ('old'); GRANT SELECT ON story TO app")
    doomed.wait_caught_up()
    restart(doomed, "replica1")
    doomed.superuser("fo", "replica1").execute(
        "SELECT setval('replication_heartbeat_id_seq', 100000)")
    restart(doomed, "replica2", primary_slot_name="", primary_conninfo=(
        f"host={doomed.socket_dir} port={doomed.ports['replica1']} user=postgres"))
    return doomed


@pytest.fixture(params=["0 s", "5 s"])
def beaten(strayed, request):
    """As by another PgUsher, by a clock that may be ahead."""
    over = threading.Event()
    other = strayed.superuser("fo", "replica1")

    def beat():
        while not over.wait(0.04):
            other.execute(BEAT.format(request.param))

    thread = threading.Thread(target=beat)
    thread.start()
    yield
    over.set()
    thread.join()


def test_it_is_not_read_from(strayed, beaten, keys, tmp_path):
    overrides = {
        "pgusher": {**CONSOLE, "workers": 1, "max_server_conn": 4},
        "database fo": {"nodes": "primary, replica2"},
        "role probe": {"tenant": "none", "password_file":
                       os.path.join(strayed.folder, "probe.password")},
        "freshness": {"probe_role": "probe", "heartbeat_interval": "100ms", "max_lag": "2s"},
    }
    folder = tmp_path / "proxy"
    folder.mkdir()
    with Proxy(strayed, keys, folder, overrides, databases=()) as proxy:
        wait_until(lambda: states(proxy)["primary"] == ("primary", "ok"), "it is measured")
        strayed.sql("UPDATE story SET v = 'new'", dbname="fo")
        time.sleep(2.5)
        assert states(proxy)["replica2"] == ("replica", "heartbeats of another history")
        for _ in range(40):
            with proxy.raw(TENANT, "fo") as conn:
                assert conn.scalar("SELECT v FROM story") == "new"
            time.sleep(0.03)
