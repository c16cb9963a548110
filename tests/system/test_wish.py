"""usher.consistency and its like: SET and SHOW behave as PostgreSQL's own settings do, and clients
are told where their statements ran. Byte for byte it is replayed in tests/replay/test_wish.c."""

import http.client
import os
import re
import subprocess
import sys

import psycopg
import pytest

import pgproto as p
from cluster import wait_until
from conftest import TENANT_A
from proxy import free_port

# IntervalStyle is a setting of four words, as usher.consistency is: a script for one is a script
# for the other, and all that PostgreSQL says of it is what PgUsher must say.
WORDS = {"bounded": "postgres", "strong": "iso_8601", "eventual": "sql_standard"}
HTTP_EXAMPLE = os.path.join(os.path.dirname(__file__), "../../examples/freshness_headers.py")

SCRIPTS = {
    "session": ["SHOW @", "SET @ = strong", "SHOW @", "SET SESSION @ TO 'Eventual'", "SHOW @",
                "SET @ TO DEFAULT", "SHOW @", "SET @ = strong", "RESET @", "SHOW @;"],
    "commit": ["BEGIN", "SET @ = strong", "SHOW @", "COMMIT", "SHOW @"],
    "rollback": ["SET @ = eventual", "BEGIN", "SET @ = strong", "SELECT 1", "ROLLBACK", "SHOW @"],
    "local": ["BEGIN", "SET LOCAL @ = strong", "SHOW @", "SELECT 1", "SHOW @", "COMMIT", "SHOW @"],
    "local over session": ["BEGIN", "SET @ = strong", "SET LOCAL @ = eventual", "SHOW @", "COMMIT",
                           "SHOW @"],
    "session over local": ["BEGIN", "SET LOCAL @ = strong", "SET @ = eventual", "SHOW @", "COMMIT",
                           "SHOW @"],
    "local reset": ["SET @ = strong", "BEGIN", "RESET @", "SHOW @", "ROLLBACK", "SHOW @", "BEGIN",
                    "RESET @", "COMMIT", "SHOW @"],
    "no block": ["SET LOCAL @ = strong", "SHOW @"],
    "savepoints": ["BEGIN", "SAVEPOINT a", "SET @ = strong", "SAVEPOINT b", "SET @ = eventual",
                   "SAVEPOINT a", "SET LOCAL @ = bounded", "RELEASE a", "SHOW @",
                   "ROLLBACK TO b", "SHOW @", "ROLLBACK TO a", "SHOW @", "SET @ = strong",
                   "RELEASE a", "SHOW @", "COMMIT", "SHOW @"],
    "failed": ["BEGIN", "SET @ = strong", "SAVEPOINT a", "SELECT 1/0", "SHOW @", "SET @ = eventual",
               "ROLLBACK TO a", "SHOW @", "COMMIT", "SHOW @"],
    "bad value": ["SET @ = 'never'", "SHOW @", "BEGIN", "SET @ = strong", "SET @ = ''", "SHOW @",
                  "COMMIT", "SHOW @"],
    "reset all": ["SET @ = strong", "RESET ALL", "SHOW @", "BEGIN", "SET @ = strong", "RESET ALL",
                  "SHOW @", "ROLLBACK", "SHOW @", "SET @ = strong", "BEGIN", "RESET ALL",
                  "ROLLBACK", "SHOW @", "DISCARD ALL", "SHOW @"],
    "chain": ["BEGIN", "SET @ = strong", "COMMIT AND CHAIN", "SET @ = eventual",
              "ROLLBACK AND CHAIN", "SHOW @", "COMMIT", "SHOW @"],
    "functions": ["SELECT current_setting('@')", "SELECT set_config('@', 'strong', false)",
                  "SELECT current_setting('@', true)", "BEGIN",
                  "SELECT set_config('@', 'eventual', true)", "SHOW @", "COMMIT", "SHOW @"],
}


def steps_of(script, setting, words):
    for step in SCRIPTS[script]:
        for word, other in words.items():
            step = step.replace(word, other).replace(word.title(), other.title())
        yield step.replace("@", setting)


def said(messages):
    """What they say, without lengths and types; the error's hint has the words of either."""
    out = []
    for m in messages:
        if m.type == "E" or m.type == "N":
            out.append((m.type, [m.fields()[k] for k in "SCM"]))
        elif m.type == "T":
            out.append(("T", m.columns()))
        elif m.type == "D":
            out.append(("D", [v.decode() for v in m.values()]))
        elif m.type != "S":
            out.append((m.type, m.text()))
    return out


def in_our_words(said_by_postgres):
    text = re.sub("intervalstyle", "usher.consistency", repr(said_by_postgres), flags=re.I)
    for ours, theirs in WORDS.items():
        text = text.replace(theirs, ours)
    return text


def run(conn, step, extended):
    return conn.run(p.one_shot(step)) if extended else conn.simple(step)


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_as_postgres_does_it(proxy, cluster, script, extended):
    if extended and script == "no block":
        pytest.skip("in a batch SET LOCAL gets no warning, for there it has its use")
    address = ("127.0.0.1", cluster.ports["primary"])
    direct = p.Connection.connect(address, "app", "eav", cluster.password)
    with direct, proxy.raw(TENANT_A) as conn:
        for mine, other in zip(steps_of(script, "usher.consistency", {}),
                               steps_of(script, "IntervalStyle", WORDS)):
            expected = in_our_words(said(run(direct, other, extended)))
            assert repr(said(run(conn, mine, extended))) == expected, mine


def test_binary_and_text(proxy):
    with proxy.raw(TENANT_A) as conn:
        conn.simple("SELECT 1")
        messages = conn.run(p.parse("", "SHOW usher.freshness") + p.bind("", "", (), (), (1,))
                            + p.describe("P", "") + p.execute() + p.sync())
        described = next(m for m in messages if m.type == "T")
        assert described.columns() == ["source", "lag_seconds", "consistency", "indicator"]
        row = next(m for m in messages if m.type == "D").values()
        assert row[1:] == [bytes(8), b"bounded", b"real-time"]
        messages = conn.run(p.parse("", "SHOW usher.freshness")
                            + p.bind("", "", (), (), (0, 1, 0)) + p.sync())
        assert p.codes_of(messages) == ["08P01"]


def test_told_by_the_driver(proxy):
    """psycopg keeps each ParameterStatus by its name."""
    with psycopg.connect(**proxy.dsn(TENANT_A), autocommit=True) as conn:
        told = conn.info.parameter_status
        assert told("usher.data_source") is None
        assert conn.execute("SHOW usher.freshness").fetchall() == [(None,) * 4]
        conn.execute("SELECT 1")
        source = told("usher.data_source")
        assert source and told("usher.data_lag_seconds") == "0"
        assert told("usher.consistency_level") == "bounded"
        conn.execute("SET usher.consistency = strong")
        conn.execute("SELECT 1")
        assert told("usher.consistency_level") == "strong"
        assert conn.execute("SHOW usher.freshness").fetchall() == [
            (source, 0.0, "strong", "real-time")]
        conn.execute("SET usher.report = off")
        conn.execute("RESET usher.consistency")
        conn.execute("SELECT 1")
        assert told("usher.consistency_level") == "strong"
        assert conn.execute("SHOW usher.consistency_level").fetchone() == ("bounded",)


def test_not_inside_of_copy(proxy):
    """Told behind the rows, in front of ReadyForQuery, and only then."""
    with proxy.raw(TENANT_A) as conn:
        messages = conn.simple("COPY (SELECT generate_series(1, 3000)) TO STDOUT")
        kinds = "".join(m.type for m in messages)
        assert kinds == "H" + "d" * 3000 + "cC" + "SSSZ"


def test_defaults(make_proxy, keys):
    proxy = make_proxy({"database eav": {"consistency": "eventual"},
                        "freshness": {"max_lag": "700ms", "read_your_writes": "tenant"}})

    def seen(secret=None, **params):
        with proxy.raw(TENANT_A, secret=secret, **params) as conn:
            return tuple(conn.scalar(f"SHOW usher.{name}")
                         for name in ("consistency", "max_lag", "read_your_writes"))

    assert seen() == ("eventual", "700ms", "tenant")
    claims = ("--claim", "consistency=strong", "--claim", "max_lag=2")
    token = keys.token(TENANT_A, extra=claims)
    assert seen(token) == ("strong", "2s", "tenant")
    assert seen(token, options="-c usher.consistency=bounded -c usher.read_your_writes=off") == (
        "bounded", "2s", "off")
    with pytest.raises(p.LoginError) as refused:
        seen(keys.token(TENANT_A, extra=("--claim", "consistency=stronk")))
    assert refused.value.code == "28000"
    with pytest.raises(p.LoginError) as refused:
        seen(options="-c usher.consistency=stronk")
    assert refused.value.code == "22023"


def test_the_http_example(proxy):
    """docs/freshness.md shows it; here it runs."""
    port = free_port()
    env = {**proxy.psql_env(TENANT_A), "LISTEN_PORT": str(port)}
    service = subprocess.Popen([sys.executable, HTTP_EXAMPLE], env=env)

    def get():
        try:
            conn = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            conn.request("GET", "/")
            return conn.getresponse()
        except ConnectionRefusedError:
            return None

    try:
        wait_until(get, "the example listens")
        answer = get()
        assert answer.status == 200
        assert answer.headers["X-Data-Source"]
        assert answer.headers["X-Data-Lag-Seconds"] == "0"
        assert answer.headers["X-Consistency-Level"] == "bounded"
    finally:
        service.terminate()
        service.wait()
