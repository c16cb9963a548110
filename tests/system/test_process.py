"""`pgusher serve` as a process: starting, starting beside another, the background, signals."""

import fcntl
import os
import signal
import socket
import subprocess

import pytest

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
    assert "listening on" not in second.stderr  # clients it was dealt would have been reset
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


# ---- the background ----------------------------------------------------------------------


def daemon_pid(log):
    """Every line of the log has the process's id."""
    with open(log, encoding="utf-8") as file:
        return int(file.readline().split("[", 1)[1].split("]")[0])


@pytest.mark.parametrize("what", ["address", "keys"])
def test_daemon_that_fails_says_why(make_proxy, tmp_path, what):
    proxy = make_proxy()
    logfile = tmp_path / "daemon.log"
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    if what == "address":
        proxy.sections["pgusher"]["listen_addr"] = "192.0.2.7"
    else:
        proxy.sections["jwt"]["jwks_file"] = broken
    proxy.sections["pgusher"]["logfile"] = logfile
    proxy.write_ini()
    done = run_binary("serve", "-d", "-c", proxy.ini)
    why = {"address": "192.0.2.7", "keys": "broken.json"}[what]
    assert done.returncode == 1 and why in done.stderr
    assert why in logfile.read_text()


def test_daemon_is_ready_when_the_command_ends(make_proxy, keys, tmp_path):
    proxy = make_proxy()
    proxy.stop()
    logfile = tmp_path / "daemon.log"
    proxy.sections["pgusher"]["logfile"] = logfile
    proxy.write_ini()
    # capture_output: a daemon that kept stderr would make this wait for its end.
    done = run_binary("serve", "-d", "-c", proxy.ini)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = daemon_pid(logfile)
    try:
        assert os.getsid(pid) == pid
        assert serves(proxy.address, keys)
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: "PgUsher has ended" in logfile.read_text(), "the daemon ends")


# ---- signals -----------------------------------------------------------------------------


class FullPipe:
    """A log file that takes nothing until `take`: whoever logs stands still."""

    def __init__(self, path):
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        size = fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, 4096)
        os.write(self.fd, b"x" * size)
        self.text = b""

    def take(self):
        try:
            while chunk := os.read(self.fd, 4096):
                self.text += chunk
        except BlockingIOError:
            pass
        return self.text


@pytest.mark.parametrize("sig", [signal.SIGHUP, signal.SIGTERM])
def test_signal_while_starting(make_proxy, tmp_path, sig):
    """It waits until there is somebody to take it: SIGHUP changes nothing, SIGTERM ends well."""
    proxy = make_proxy({"pgusher": {"max_client_conn": 100}})
    proxy.stop()
    pipe = FullPipe(tmp_path / "log")
    proxy.sections["pgusher"]["logfile"] = tmp_path / "log"
    proxy.write_ini()
    process = subprocess.Popen([BINARY, "serve", "-c", proxy.ini])
    try:
        # It has bound the port, and cannot say so.
        wait_until(lambda: is_bound(proxy), "the port is bound")
        process.send_signal(sig)
        if sig == signal.SIGHUP:
            wait_until(lambda: b"keys read" in pipe.take(), "SIGHUP is taken")
            process.send_signal(signal.SIGTERM)
        wait_until(lambda: pipe.take() and process.poll() is not None, "it ends", STOP_TIMEOUT)
        assert process.returncode == 0
        assert b"PgUsher has ended" in pipe.take()
    finally:
        process.kill()
        process.wait()
        os.close(pipe.fd)


def is_bound(proxy):
    try:
        socket.create_connection(proxy.address, 1).close()
    except OSError:
        return False
    return True


# ---- limits ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [6, 10, 14, 18, 20, 22, 26, 30])
def test_too_few_descriptors(proxy, limit):
    command = f"ulimit -n {limit}; exec {BINARY} serve -c {proxy.ini}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ulimit -n" in done.stderr and str(limit) in done.stderr, done.stderr
