"""Several PgUshers on one port: a cancel request ends the query it is meant for, whichever process it
reaches, goes no further than one hop, and what cannot be delivered is dropped without harm."""

import os
import socket
import struct
import threading

import pytest

import pgproto as p
from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from proxy import Proxy, free_port

SLEEP = "SELECT pg_sleep(60) /* for a peer */"
FORWARDED = 0x80000000


def peer_of(conn):
    return conn.pid >> 24


class Group:
    """Processes on one port, each with a unix socket of its own, all with the same [peer] list."""

    def __init__(self, cluster, keys, folder):
        self.cluster, self.keys, self.folder = cluster, keys, folder
        self.port = free_port()
        self.proxies = {}

    def directory(self, peer_id):
        made = self.folder / f"run{peer_id}"
        made.mkdir(exist_ok=True)
        return str(made)

    def socket_of(self, peer_id):
        return f"{self.directory(peer_id)}/.s.PGSQL.{self.port}"

    def start(self, peer_id, peers, **pgusher):
        """peers: {peer_id: host}, or {peer_id: (host, port)}."""
        folder = self.folder / f"proxy{peer_id}"
        folder.mkdir(exist_ok=True)
        sections = {"pgusher": {
            "listen_port": self.port, "peer_id": peer_id, "max_server_conn": 4,
            "unix_socket_dir": self.directory(peer_id), **pgusher,
        }}
        for number, host in peers.items():
            host, port = host if isinstance(host, tuple) else (host, self.port)
            sections[f"peer {number}"] = {"host": host, "port": port}
        proxy = Proxy(self.cluster, self.keys, folder, sections)
        proxy.port = proxy.sections["pgusher"]["listen_port"]
        self.proxies[peer_id] = proxy.start()
        proxy.wait_log("is ready")
        return proxy

    def start_pair(self, **pgusher):
        peers = {n: self.directory(n) for n in (1, 2)}
        for number in peers:
            self.start(number, peers, **pgusher)

    def client(self, peer_id, tenant=TENANT_A, **params):
        """A client of that process, through its unix socket."""
        conn = p.Connection.connect(self.socket_of(peer_id), "app", "eav", self.keys.token(tenant),
                                    **params)
        assert peer_of(conn) == peer_id
        return conn

    def stop(self):
        for proxy in self.proxies.values():
            proxy.stop()


@pytest.fixture
def group(cluster, keys, tmp_path_factory):
    made = Group(cluster, keys, tmp_path_factory.mktemp("p"))
    yield made
    p.Connection.close_all()
    made.stop()


def is_cancelled_by(conn, cluster, address, pid=None):
    """Whether a cancel sent there ends conn's query; where it does not, the query is ended after."""
    conn.send(p.query(SLEEP))
    cluster.backend_running("for a peer", "eav")
    p.send_cancel(address, conn.pid if pid is None else pid, conn.secret)
    if conn.is_silent():
        for backend in cluster.backends("eav", "active"):
            cluster.sql("SELECT pg_cancel_backend(%s)", (backend["pid"],))
        assert p.codes_of(conn.read_until_ready()) == ["57014"]
        return False
    assert p.codes_of(conn.read_until_ready()) == ["57014"]
    assert conn.scalar("SELECT 'fine'") == "fine"
    return True


@pytest.mark.parametrize("version", [p.PROTOCOL_3_0, p.PROTOCOL_3_2])
def test_either_process_takes_the_cancel(group, cluster, version):
    group.start_pair()
    for own in (1, 2):
        with group.client(own, version=version) as conn:
            for reached in (1, 2):
                assert is_cancelled_by(conn, cluster, group.socket_of(reached))


def test_through_the_shared_port(group, cluster):
    """The kernel deals the connections out: some cancels arrive at the wrong process."""
    group.start_pair()
    seen = set()
    for _ in range(200):
        conn = p.Connection.connect(("127.0.0.1", group.port), "app", "eav",
                                    group.keys.token(TENANT_A))
        seen.add(peer_of(conn))
        if seen == {1, 2}:
            break
        conn.terminate()
    assert seen == {1, 2}
    for _ in range(10):
        conn.send(p.query(SLEEP))
        cluster.backend_running("for a peer", "eav")
        conn.cancel()
        assert p.codes_of(conn.read_until_ready()) == ["57014"]


def test_over_tcp(group, cluster):
    """A peer's own address instead of its socket: processes on several machines."""
    own_port = free_port()
    group.start(2, {}, listen_port=own_port)
    group.start(1, {2: ("127.0.0.1", own_port)})
    with p.Connection.connect(("127.0.0.1", own_port), "app", "eav",
                              group.keys.token(TENANT_A)) as conn:
        assert peer_of(conn) == 2
        assert is_cancelled_by(conn, cluster, group.socket_of(1))


def test_wrong_keys_do_nothing(group, cluster):
    group.start_pair()
    with group.client(2) as conn:
        conn.send(p.query("SELECT pg_sleep(1.5), 'survived' /* peer guess */"))
        cluster.backend_running("peer guess", "eav")
        flipped = bytes([conn.secret[0] ^ 1]) + conn.secret[1:]
        for pid, secret in ((conn.pid, flipped), (conn.pid + 1, conn.secret),
                            (conn.pid ^ 3 << 24, conn.secret), (conn.pid ^ 6 << 24, conn.secret),
                            (conn.pid & 0xFFFFFF, conn.secret)):
            for reached in (1, 2):
                p.send_cancel(group.socket_of(reached), pid, secret)
        assert p.rows_of(conn.read_until_ready()) == [("", "survived")]
    assert "there is no [peer 4]" in group.proxies[1].log()


def test_marked_requests_go_no_further(group, cluster):
    """The mark that a process sets on what it passes on; a client that sets it only loses by it."""
    group.start_pair()
    with group.client(2) as conn:
        assert is_cancelled_by(conn, cluster, group.socket_of(2), conn.pid | FORWARDED)
        assert not is_cancelled_by(conn, cluster, group.socket_of(1), conn.pid | FORWARDED)


class FakePeer:
    """Listens where a peer should, and keeps what it is sent."""

    def __init__(self, path, answers=True):
        self.received, self.answers, self.kept = [], answers, []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.bind(path)
        self.sock.listen(64)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            data = b""
            while len(data) < int.from_bytes(data[:4] or b"\4", "big") and (
                    more := conn.recv(512)):
                data += more
            self.received.append(data)
            if self.answers:
                conn.close()
            else:
                self.kept.append(conn)

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join(10)


def test_one_hop_only(group):
    """Two processes that each take the other for peer 3 do not play ball with its cancels."""
    for number, other in ((1, 2), (2, 1)):
        group.start(number, {3: group.directory(other)})
    p.send_cancel(group.socket_of(1), 3 << 24 | 5, b"\1\2\3\4")
    group.proxies[2].wait_log("a cancel request was dropped")
    assert "dropped" not in group.proxies[1].log()


@pytest.mark.parametrize("length", [4, 32, 256])
def test_what_is_passed_on(group, length):
    """With whatever key: that peer may be a newer PgUsher."""
    path = group.socket_of(9)
    peer = FakePeer(path)
    group.start(1, {9: group.directory(9)})
    key = bytes(n & 255 for n in range(1, length + 1))
    p.send_cancel(group.socket_of(1), 9 << 24 | 7, key)
    peer.close()
    assert peer.received == [
        struct.pack("!III", 12 + length, p.CANCEL_REQUEST, FORWARDED | 9 << 24 | 7) + key
    ]


def test_dead_peer_is_dropped_and_logged_once(group):
    group.start(1, {9: group.directory(9)})
    for _ in range(20):
        p.send_cancel(group.socket_of(1), 9 << 24 | 7, b"\1\2\3\4")
    assert group.proxies[1].log().count("a cancel request for peer 9 was dropped") == 1


def test_hanging_peer_keeps_nobody_waiting(group, cluster):
    """More cancels than are sent at once, to a peer that never answers: they end by their timeout,
    queries and cancels of our own go on meanwhile."""
    peer = FakePeer(group.socket_of(9), answers=False)
    group.start(1, {9: group.directory(9)}, cancel_wait_timeout="2s")
    request = struct.pack("!III", 16, p.CANCEL_REQUEST, 9 << 24 | 7) + b"\1\2\3\4"
    askers = [p.Connection(group.socket_of(1)) for _ in range(200)]
    for asker in askers:
        asker.send(request)
    wait_until(lambda: len(peer.received) >= 64, "the peer is asked")
    with group.client(1, TENANT_B) as conn:
        assert conn.scalar("SELECT 'fine'") == "fine"
        assert is_cancelled_by(conn, cluster, group.socket_of(1))
    for asker in askers:
        assert asker.read_to_end() == []
    peer.close()
    assert len(peer.received) <= 200


def test_stop_with_requests_under_way(group):
    peer = FakePeer(group.socket_of(9), answers=False)
    group.start(1, {9: group.directory(9)})
    asker = p.Connection(group.socket_of(1))
    asker.send(struct.pack("!III", 16, p.CANCEL_REQUEST, 9 << 24 | 7) + b"\1\2\3\4")
    wait_until(lambda: peer.received, "the peer is asked")
    group.proxies[1].stop()
    asker.read_to_end()
    peer.close()


def test_one_process_does_not_take_the_others_socket(group, cluster, keys, tmp_path):
    group.start_pair()
    ours = os.stat(group.socket_of(1)).st_ino
    intruder = Proxy(cluster, keys, tmp_path, {"pgusher": {
        "listen_port": group.port, "unix_socket_dir": group.directory(1)}})
    intruder.port = free_port()
    with pytest.raises(AssertionError, match="another process answers there"):
        intruder.start()
    assert os.stat(group.socket_of(1)).st_ino == ours
    with group.client(1) as conn:
        assert conn.scalar("SELECT 1") == "1"


def test_a_socket_that_replaced_ours_stays(group):
    group.start(1, {})
    path = group.socket_of(1)
    os.unlink(path)
    peer = FakePeer(path)
    group.proxies[1].stop()
    assert os.path.exists(path)
    peer.close()


def test_configuration(group, cluster, keys, tmp_path):
    for sections, said in (
        ({"pgusher": {"peer_id": 128}}, "peer_id"),
        ({"pgusher": {"peer_id": 1}, "peer two": {"host": "/tmp"}}, "a number from 1 to 127"),
        ({"pgusher": {"peer_id": 1}, "peer 007": {"host": "/tmp"}}, "a number from 1 to 127"),
        ({"pgusher": {"peer_id": 1}, "peer 2": {"port": 1}}, "host: required"),
        ({"pgusher": {"peer_id": 1}, "peer 2": {"host": "localhost"}}, "names are not looked up"),
        ({"pgusher": {"peer_id": 1}, "peer 2": {"host": "run/x"}}, "names are not looked up"),
    ):
        with pytest.raises(AssertionError, match=said):
            Proxy(cluster, keys, tmp_path, sections).start()
