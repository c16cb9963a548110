"""Each forbidden call in each wrapping, through the proxy: none gets through."""

import pytest

import pgproto as p
from conftest import TENANT_A
from isolation.scene import WHO, is_refused, refused_by, values
from isolation.wrappings import wrapped

TEXTS = list(wrapped())
BATCH = 50


def answers(conn, requests):
    """One list of messages a request, BATCH of them under way at a time."""
    out = []
    for at in range(0, len(requests), BATCH):
        some = requests[at : at + BATCH]
        conn.send(b"".join(some))
        for _ in some:
            out.append(conn.read_until_ready(1))
    return out


@pytest.mark.parametrize("message", [p.query, p.one_shot], ids=["simple", "extended"])
def test_rows_01_to_13_wrapped(scene, message):
    assert len(TEXTS) > 500 and len(set(TEXTS)) == len(TEXTS)
    for text, heard in zip(TEXTS, answers(scene.attacker, [message(t) for t in TEXTS])):
        try:
            is_refused(heard)
            assert refused_by(heard), "not by the guard"
        except AssertionError as error:
            raise AssertionError(f"{text}: {error}") from None
    scene.nothing_crossed()


@pytest.mark.parametrize("message", [p.query, p.one_shot], ids=["simple", "extended"])
def test_rows_01_and_02_wrapped_with_the_guard_off(unguarded, message):
    """Whatever of it runs: what is asked for behind it, in the same transaction and in the next,
    is the attacker's own."""
    texts = [t for t in TEXTS if "set_config" in t or "query_to_xml" in t]
    conn = unguarded.attacker
    for text in texts:
        batch = p.query("BEGIN") + message(text) + p.query("SELECT * FROM item") \
            + p.query("COMMIT") + message(text) + p.query("SELECT * FROM item")
        unguarded.heard += conn.run(batch, ready=6)
    assert set(values(conn.simple(WHO))) == {str(TENANT_A)}
    unguarded.nothing_crossed()
