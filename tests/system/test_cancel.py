"""Cancel requests: they end the query they were meant for, and nothing else, ever."""

import struct
import threading
import time

import pytest

import pgproto as p
from cluster import wait_until
from conftest import TENANT_A, TENANT_B

SLEEP = "SELECT pg_sleep(60) /* to be cancelled */"


def test_running_query_is_cancelled(proxy, cluster):
    with proxy.raw(TENANT_A) as conn:
        conn.send(p.query(SLEEP))
        cluster.backend_running("to be cancelled", "eav")
        began = time.monotonic()
        conn.cancel()
        messages = conn.read_until_ready()
        assert p.codes_of(messages) == ["57014"]
        assert time.monotonic() - began < 10
        assert conn.scalar("SELECT 1") == "1"


def test_long_keys_of_protocol_3_2(make_proxy, cluster):
    """Of 32 bytes, as PostgreSQL 18's; and they find the way from one worker to another."""
    proxy = make_proxy({"pgusher": {"workers": 3}})
    seen = set()
    for _ in range(8):
        with proxy.raw(TENANT_A, version=p.PROTOCOL_3_2) as conn:
            assert conn.negotiated is None and len(conn.secret) == 32
            seen.add(conn.secret)
            conn.send(p.query(SLEEP))
            cluster.backend_running("to be cancelled", "eav")
            for wrong in (conn.secret[:4], conn.secret[:31], conn.secret + b"\0", bytes(32),
                          conn.secret[:31] + bytes([conn.secret[31] ^ 1])):
                p.send_cancel(proxy.address, conn.pid, wrong)
            assert conn.is_silent()
            conn.cancel()
            assert p.codes_of(conn.read_until_ready()) == ["57014"]
    assert len(seen) == 8


def test_process_ids_are_no_servers(proxy, cluster):
    """Whoever hands one to pg_terminate_backend must not hit a stranger's session by chance."""
    with open("/proc/sys/kernel/pid_max", encoding="ascii") as file:
        pid_max = int(file.read())
    with proxy.raw(TENANT_A) as conn:
        assert conn.pid > max(pid_max, 1 << 22)
        assert conn.scalar(f"SELECT pg_terminate_backend({conn.pid})") == "f"


def test_own_notifications_are_known_by_their_process_id(proxy, cluster):
    """As PostgreSQL's NOTIFY page advises: those with the session's own process id are its own."""
    notified = []
    with proxy.raw(TENANT_A) as conn, proxy.raw(TENANT_A) as other:
        conn.simple("LISTEN jobs")
        notified += [m for m in conn.simple("NOTIFY jobs, 'own'") if m.type == "A"]
        other.simple("NOTIFY jobs, 'not own'")
        notified += [m for m in conn.read_until("A") if m.type == "A"]
        own = struct.pack("!I", conn.pid)
        assert [(m.body[:4] == own, m.body[4:]) for m in notified] == [
            (True, b"jobs\0own\0"), (False, b"jobs\0not own\0")]


def test_cancel_in_a_transaction_fails_it_only(proxy, cluster):
    with proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        conn.send(p.one_shot(SLEEP))
        cluster.backend_running("to be cancelled", "eav")
        conn.cancel()
        assert p.codes_of(conn.read_until_ready()) == ["57014"]
        assert conn.status == "E"
        assert p.tags_of(conn.simple("ROLLBACK")) == ["ROLLBACK"]


def test_cancel_through_any_worker(make_proxy, cluster):
    """The kernel spreads connections over workers: some of these cancels come in at another."""
    proxy = make_proxy({"pgusher": {"workers": 3}})
    for _ in range(8):
        with proxy.raw(TENANT_A) as conn:
            conn.send(p.query(SLEEP))
            cluster.backend_running("to be cancelled", "eav")
            conn.cancel()
            assert p.codes_of(conn.read_until_ready()) == ["57014"]


def test_waiting_query_is_cancelled_without_a_server(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as holder, tiny_proxy.raw(TENANT_B) as waiter:
        holder.simple("BEGIN")
        before = holder.scalar("SELECT pg_backend_pid()")
        waiter.send(p.query("SELECT 'waited'"))
        assert waiter.is_silent()
        waiter.cancel()
        messages = waiter.read_until_ready()
        assert p.codes_of(messages) == ["57014"] and not p.tags_of(messages)
        # The holder's server has not noticed anything.
        assert holder.scalar("SELECT pg_backend_pid()") == before
        holder.simple("COMMIT")
        assert waiter.scalar("SELECT 'again'") == "again"


def test_cancelled_wait_in_a_batch_skips_to_sync(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as holder, tiny_proxy.raw(TENANT_B) as waiter:
        holder.simple("BEGIN")
        holder.simple("SELECT 1")
        waiter.send(p.parse("", "SELECT 1") + p.bind("", "") + p.execute() + p.flush())
        assert waiter.is_silent()
        waiter.cancel()
        assert waiter.read_until("E")[-1].fields()["C"] == "57014"
        assert waiter.is_silent()
        waiter.send(p.one_shot("SELECT 2"))
        assert p.types_of(waiter.read_until_ready()) == "Z"
        holder.simple("COMMIT")
        assert waiter.scalar("SELECT 3") == "3"


def test_guessed_keys_do_nothing(proxy, cluster):
    with proxy.raw(TENANT_A) as conn:
        conn.send(p.query("SELECT pg_sleep(1.5), 'survived' /* guess */"))
        pid = cluster.backend_running("guess", "eav")
        flipped = bytes([conn.secret[0] ^ 1]) + conn.secret[1:]
        for guess_pid, guess in (
            (conn.pid, flipped), (conn.pid, b"\0\0\0\0"), (conn.pid + 1, conn.secret),
            (pid, conn.secret), (0, b"\0\0\0\0"),
        ):
            p.send_cancel(proxy.address, guess_pid, guess)
        messages = conn.read_until_ready()
        assert p.rows_of(messages) == [("", "survived")]


def test_cancel_of_an_idle_client_does_not_hit_its_next_query(proxy):
    with proxy.raw(TENANT_A) as conn:
        for _ in range(20):
            conn.cancel()
            assert conn.scalar("SELECT 'fine'") == "fine"


def test_cancel_of_an_idle_transaction_does_nothing(proxy):
    with proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        conn.scalar("SELECT 1")
        conn.cancel()
        assert conn.scalar("SELECT 'fine'") == "fine"
        assert conn.status == "T"


def test_key_of_a_client_that_left_does_nothing(tiny_proxy, cluster):
    first = tiny_proxy.raw(TENANT_A)
    first.scalar("SELECT 1")
    pid, secret = first.pid, first.secret
    first.terminate()
    with tiny_proxy.raw(TENANT_B) as second:
        second.send(p.query("SELECT pg_sleep(1), 'survived' /* stale */"))
        cluster.backend_running("stale", "eav")
        p.send_cancel(tiny_proxy.address, pid, secret)
        assert p.rows_of(second.read_until_ready()) == [("", "survived")]


def test_cancel_never_hits_another_client(tiny_proxy):
    """Cancels race with the end of their query while another tenant takes over the only server."""
    stop, problems, done = threading.Event(), [], [0]

    def bystander():
        with tiny_proxy.raw(TENANT_B) as conn:
            while not stop.is_set():
                messages = conn.simple("SELECT pg_sleep(0.002)")
                done[0] += 1
                if p.codes_of(messages):
                    problems.append(messages)

    thread = threading.Thread(target=bystander)
    thread.start()
    try:
        with tiny_proxy.raw(TENANT_A) as conn:
            for number in range(60):
                conn.send(p.query("SELECT pg_sleep(0.003)"))
                time.sleep(0.0005 * (number % 12))
                conn.cancel()
                assert p.codes_of(conn.read_until_ready()) in ([], ["57014"])
                assert p.codes_of(conn.simple("SELECT 1")) == []
    finally:
        stop.set()
        thread.join(30)
    assert not problems and done[0] > 10


@pytest.mark.parametrize("length", [4, 8, 12, 15, 17, 300])
def test_malformed_cancel_request_is_closed(proxy, length):
    with p.Connection(proxy.address) as conn:
        packet = length.to_bytes(4, "big") + p.CANCEL_REQUEST.to_bytes(4, "big") + b"\1" * 300
        conn.send(packet[:max(length, 8)])
        assert [m.type for m in conn.read_to_end()] in ([], ["E"])
    wait_until(lambda: proxy.process.poll() is None, "the proxy lives")
