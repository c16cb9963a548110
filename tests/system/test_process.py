"""`pgusher serve` as a process: starting, starting beside another, the background, signals."""

import os
import signal
import socket
import subprocess

import pytest

import pgproto as p
from cluster import wait_until
from conftest import TENANT_A
from pgproto import Connection
from proxy import BINARY, STOP_TIMEOUT, run_binary

WHO = "SELECT current_setting('app.current_tenant_id')"


def socket_path(proxy):
    return f"{proxy.sections['pgusher']['unix_socket_dir']}/.s.PGSQL.{proxy.port}"


def serves(address, keys):
    with Connection.connect(address, "app", "eav", keys.token(TENANT_A)) as conn:
        return conn.scalar(WHO) == str(TENANT_A)


# ---- two processes -----------------------------------------------------------------------


def test_unix_socket_has_one_owner(make_proxy, keys, tmp_path_factory):
    proxy = make_proxy({"pgusher": {"unix_socket_dir": tmp_path_factory.mktemp("s")}})
    second = run_binary("serve", "-c", proxy.ini)
    assert second.returncode == 1
    assert socket_path(proxy) in second.stderr and "another process answers" in second.stderr
    assert serves(socket_path(proxy), keys)


def test_successor_keeps_its_unix_socket(make_proxy, keys, tmp_path_factory):
    """The old process drains, the new one takes the path, the old one ends."""
    proxy = make_proxy({"pgusher": {"unix_socket_dir": tmp_path_factory.mktemp("s")}})
    held = proxy.raw(TENANT_A)
    held.simple("BEGIN")
    held.scalar(WHO)
    old = proxy.process
    old.send_signal(signal.SIGTERM)
    wait_until(lambda: not os.path.exists(socket_path(proxy)), "the socket is given up")
    proxy.start()
    assert old.poll() is None
    held.simple("COMMIT")
    assert old.wait(STOP_TIMEOUT) == 0
    assert serves(socket_path(proxy), keys)
    proxy.stop()
    assert not os.path.exists(socket_path(proxy))


def test_socket_of_another_is_left_alone(make_proxy, tmp_path_factory):
    """Somebody removed the file and made one of his own there."""
    proxy = make_proxy({"pgusher": {"unix_socket_dir": tmp_path_factory.mktemp("s")}})
    os.unlink(socket_path(proxy))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(socket_path(proxy))
        proxy.stop()
        assert os.path.exists(socket_path(proxy))


def test_two_processes_share_a_port(make_proxy, keys):
    proxy = make_proxy()
    old = proxy.process
    proxy.start()
    for _ in range(8):
        assert serves(proxy.address, keys)
    old.send_signal(signal.SIGTERM)
    assert old.wait(STOP_TIMEOUT) == 0
    for _ in range(8):
        assert serves(proxy.address, keys)
