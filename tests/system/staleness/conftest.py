"""The checker's own cluster, which it harms and in the end takes apart."""

import contextlib
import os

import pytest

from cluster import REPO, Cluster
from proxy import BINARY, Proxy
from staleness.harm import LINKED, Harm
from staleness.sessions import DBNAME, TABLE

INTERVAL = "50ms"
WRONG = os.path.join(os.path.dirname(BINARY), "tests", "staleness", "pgusher-wrong")


@pytest.fixture(scope="module")
def harm(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("staleness"))
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.stop)
        cluster.start()
        cluster.deploy(DBNAME)
        cluster.superuser(DBNAME).execute(TABLE)
        made = Harm(cluster)
        stack.callback(made.stop)
        yield made


@pytest.fixture
def start(harm, keys, tmp_path):
    """start(binary=..., env=...): a proxy of all three nodes, one of them behind the relay."""
    with contextlib.ExitStack() as stack:
        def made(**more):
            proxy = Proxy(harm.cluster, keys, tmp_path, settings(harm), databases=(DBNAME,), **more)
            return stack.enter_context(proxy)
        yield made


def settings(harm):
    """The ini of every proxy here."""
    return {
        "pgusher": {"workers": 2, "max_server_conn": 30, "admin_users": "dba"},
        f"node {LINKED}": {"port": harm.link_port},
        f"database {DBNAME}": {"nodes": "primary, replica1, replica2"},
        "role probe": {
            "password_file": os.path.join(harm.cluster.folder, "probe.password"),
            "tenant": "none",
        },
        "guard": {"trusted_functions": "staleness_node, staleness_put"},
        "freshness": {"probe_role": "probe", "heartbeat_interval": INTERVAL},
    }


@pytest.fixture
def wrong_binary():
    """PgUsher linked with wrong_bounds.c; `make system` builds it."""
    if not os.path.exists(WRONG):
        pytest.fail(f"there is no {WRONG}: make -C {REPO} {os.path.relpath(WRONG, REPO)}")
    return WRONG
