"""Where keys come from: several issuers, key sets behind URLs, rotation, and issuers that fail."""

import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

import pgproto
from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from idp import Idp, make_ca, named_key
from pgproto import Connection, LoginError
from proxy import run_binary

REFUSED = "28000"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def make_idp(certificate):
    made = []

    def make(tls=True, **more):
        made.append(Idp(certificate if tls else None, **more))
        return made[-1]

    yield make
    for idp in made:
        idp.stop()


@pytest.fixture
def idp(make_idp):
    return make_idp()


def jwt(idp, **more):
    """The [jwt] section that takes its keys from there."""
    ca = {"jwks_ca_file": idp.certificate[0]} if idp.certificate else {}
    return {"jwks_file": None, "jwks_url": idp.url, "jwks_min_refresh": "200ms", **ca, **more}


def token(keys, path, tenant=TENANT_A, **claims):
    extra = tuple(x for k, v in claims.items() for x in ("--claim", f"{k}={v}"))
    return keys.token(tenant, key_file=path, extra=extra)


def login(proxy, secret):
    with Connection.connect(proxy.address, "app", "eav", secret) as conn:
        return conn.scalar("SELECT current_setting('app.current_tenant_id')")


def send_login(proxy, secret):
    """A client that has sent its token and does not wait for the answer."""
    conn = Connection(proxy.address)
    conn.send(pgproto.startup({"user": "app", "database": "eav"}))
    assert conn.read().type == "R"
    conn.send(pgproto.password(secret))
    return conn


def refusal(proxy, secret):
    with pytest.raises(LoginError) as caught:
        login(proxy, secret)
    assert caught.value.code == REFUSED, caught.value
    return caught.value.message


# ---- a URL --------------------------------------------------------------------------------


def test_keys_come_from_the_url(make_proxy, keys, idp):
    path, public = named_key(keys, "one")
    idp.keys = [public]
    proxy = make_proxy({"jwt": jwt(idp)})
    proxy.wait_log("keys fetched from")
    assert login(proxy, token(keys, path)) == str(TENANT_A)
    assert idp.requests == 1, "a known key is no reason to ask again"
    assert "nobodys-business" not in proxy.log()


def test_plain_http_from_this_machine(make_proxy, keys, make_idp):
    plain = make_idp(tls=False)
    path, public = named_key(keys, "loop")
    plain.keys = [public]
    os.environ["http_proxy"] = "http://127.0.0.1:1"  # must not be asked for this machine
    try:
        assert login(make_proxy({"jwt": jwt(plain)}), token(keys, path)) == str(TENANT_A)
    finally:
        del os.environ["http_proxy"]


def test_starts_without_keys_and_gets_them_later(make_proxy, keys, idp):
    path, public = named_key(keys, "late")
    idp.answer = lambda h: h.say(b"not yet", 503)
    proxy = make_proxy({"jwt": jwt(idp)})
    assert "no keys are loaded yet" in refusal(proxy, token(keys, path))
    proxy.wait_log("HTTP status 503")
    idp.wait_requests(4)
    assert proxy.log().count("HTTP status 503") == 1, "said once a change, not once a try"
    idp.keys, idp.answer = [public], idp.publish
    proxy.wait_log("can be fetched from")
    assert login(proxy, token(keys, path)) == str(TENANT_A)


def test_a_login_waits_for_the_first_fetch(make_proxy, keys, idp):
    path, public = named_key(keys, "first")
    idp.keys = [public]
    go = threading.Event()

    def slow(handler):
        go.wait(20)
        idp.publish(handler)

    idp.answer = slow
    proxy = make_proxy({"jwt": jwt(idp)})
    idp.wait_requests(1)
    done = []
    thread = threading.Thread(target=lambda: done.append(login(proxy, token(keys, path))))
    thread.start()
    time.sleep(0.5)
    assert not done
    go.set()
    thread.join(30)
    assert done == [str(TENANT_A)]


def test_rotation_under_load_loses_no_login(make_proxy, keys, idp):
    """Each round's tokens are signed with a key that no fetch can have seen before."""
    path, public = named_key(keys, "r0")
    idp.keys = [public]
    proxy = make_proxy({"jwt": jwt(idp, jwks_min_refresh="300ms")})
    current, stop, errors, logins = [token(keys, path)], threading.Event(), [], []

    def client():
        while not stop.is_set():
            secret = current[0]
            try:
                assert login(proxy, secret) == str(TENANT_A)
                logins.append(secret)
            except Exception as error:  # noqa: BLE001
                errors.append(error)

    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        for i in range(1, 6):
            path, public = named_key(keys, f"r{i}")
            idp.keys = [public, idp.keys[0]]  # the old one stays for a while
            current[0] = token(keys, path)
            wait_until(lambda: logins.count(current[0]) > 5 or errors, "logins with the new key", 60)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not errors, errors[0]
    assert "keys fetched" in proxy.log()


def test_a_removed_key_lets_nobody_in_any_more(make_proxy, keys, idp):
    old, old_public = named_key(keys, "old")
    new, new_public = named_key(keys, "new")
    idp.keys = [old_public]
    proxy = make_proxy({"jwt": jwt(idp)})
    assert login(proxy, token(keys, old)) == str(TENANT_A)  # and is remembered as good
    with Connection.connect(proxy.address, "app", "eav", token(keys, old)) as inside:
        idp.keys = [new_public]
        assert login(proxy, token(keys, new)) == str(TENANT_A)
        assert "unknown key" in refusal(proxy, token(keys, old))
        assert inside.scalar("SELECT 1") == "1"  # a session stays


def test_refreshed_without_being_asked(make_proxy, keys, idp):
    idp.keys = [named_key(keys, "p1")[1]]
    make_proxy({"jwt": jwt(idp, jwks_refresh="300ms", jwks_min_refresh="100ms")})
    idp.wait_requests(4)


def test_sighup_fetches(make_proxy, keys, idp):
    path, public = named_key(keys, "hup")
    idp.keys = [named_key(keys, "nohup")[1]]
    proxy = make_proxy({"jwt": jwt(idp, jwks_min_refresh="1h")})
    proxy.wait_log("keys fetched from")
    idp.keys = [public]
    proxy.process.send_signal(signal.SIGHUP)
    wait_until(lambda: proxy.log().count("keys fetched from") == 2, "the second fetch")
    assert login(proxy, token(keys, path)) == str(TENANT_A)


# ---- an issuer that fails ------------------------------------------------------------------


def whole_set(n):
    """A set with n unusable keys: valid JSON of a length of one's choice."""
    return json.dumps({"keys": [{"kty": "x" * 1000}] * n}).encode()


@pytest.mark.parametrize(
    "answer, said",
    [
        (lambda h: h.say(b"", 500), "HTTP status 500"),
        (lambda h: h.say(b"", 404), "HTTP status 404"),
        (lambda h: h.say(b""), "not valid JSON"),
        (lambda h: h.say(b"<html>\0\xff"), "not valid JSON"),
        (lambda h: h.say(b'{"keys":[]}'), "the set is empty"),
        (lambda h: h.say(whole_set(2)), "no usable key"),
        (lambda h: h.say(b" " * (1 << 20) + b"x"), "longer than 1048576 bytes"),
        (lambda h: h.say(b"", 302, Location="http://localhost:1/keys"), "rotocol"),
        (lambda h: h.say(b"", 302, Location="file:///etc/passwd"), "rotocol"),
        (lambda h: h.connection.shutdown(socket.SHUT_RDWR), ""),
    ],
    ids=["500", "404", "empty", "garbage", "no-keys", "unusable", "huge", "http", "file", "reset"],
)
def test_a_bad_answer_leaves_the_old_keys(make_proxy, keys, idp, answer, said):
    path, public = named_key(keys, "kept")
    idp.keys = [public]
    proxy = make_proxy({"jwt": jwt(idp)})
    assert login(proxy, token(keys, path)) == str(TENANT_A)
    idp.answer = answer
    stranger, _ = named_key(keys, "stranger")
    assert "unknown key" in refusal(proxy, token(keys, stranger))
    proxy.wait_log("keys cannot be fetched from")
    assert said in proxy.log() and "those from there stay" in proxy.log()
    assert login(proxy, token(keys, path)) == str(TENANT_A)


def test_redirects_within_https_are_followed(make_proxy, keys, idp, make_idp):
    path, public = named_key(keys, "moved")
    other = make_idp()
    other.keys = [public]
    idp.answer = lambda h: h.say(b"", 302, Location=other.url)
    assert login(make_proxy({"jwt": jwt(idp)}), token(keys, path)) == str(TENANT_A)


def test_redirects_without_end_are_not(make_proxy, keys, idp):
    idp.answer = lambda h: h.say(b"", 302, Location=idp.url)
    proxy = make_proxy({"jwt": jwt(idp, jwks_min_refresh="1h")})
    proxy.wait_log("keys cannot be fetched from")
    assert idp.requests == 4


def test_endless_answer_is_cut(make_proxy, keys, idp):
    path, public = named_key(keys, "endless")
    idp.keys = [public]
    proxy = make_proxy({"jwt": jwt(idp)})
    assert login(proxy, token(keys, path)) == str(TENANT_A)
    sent = []

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(1000):
            handler.wfile.write(b" " * 65536)
            sent.append(65536)

    idp.answer = endless
    assert "unknown key" in refusal(proxy, token(keys, named_key(keys, "x")[0]))
    assert sum(sent) < 32 << 20
    assert login(proxy, token(keys, path)) == str(TENANT_A)


def test_slow_answer_is_given_up_and_others_log_in(make_proxy, keys, idp):
    path, public = named_key(keys, "slow")
    idp.keys = [public]
    proxy = make_proxy({"jwt": jwt(idp)})
    assert login(proxy, token(keys, path)) == str(TENANT_A)
    over = threading.Event()

    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        while not over.wait(0.2):
            handler.wfile.write(b" ")

    idp.answer = drip
    answers = []
    stranger = token(keys, named_key(keys, "y")[0])
    thread = threading.Thread(target=lambda: answers.append(refusal(proxy, stranger)))
    thread.start()
    idp.wait_requests(2)
    for _ in range(20):
        assert login(proxy, token(keys, path)) == str(TENANT_A)
    assert not answers
    thread.join(40)
    over.set()
    assert "unknown key" in answers[0]


def test_login_timeout_ends_the_wait(make_proxy, keys, idp):
    idp.keys = [named_key(keys, "z")[1]]
    proxy = make_proxy({"pgusher": {"client_login_timeout": "1s"},
                        "jwt": jwt(idp, jwks_min_refresh="1h")})
    proxy.wait_log("keys fetched")
    with pytest.raises(LoginError) as caught:
        login(proxy, token(keys, named_key(keys, "w")[0]))
    assert caught.value.code == "57014"


def test_clients_that_leave_while_waiting(make_proxy, keys, idp):
    path, public = named_key(keys, "leave")
    idp.keys = [public]
    proxy = make_proxy({"jwt": jwt(idp, jwks_min_refresh="1s")})
    assert login(proxy, token(keys, path)) == str(TENANT_A)
    stranger = token(keys, named_key(keys, "gone")[0])
    for _ in range(50):
        send_login(proxy, stranger).sock.close()
    assert login(proxy, token(keys, path)) == str(TENANT_A)
    seen = idp.requests
    idp.wait_requests(seen + 1)
    assert login(proxy, token(keys, path)) == str(TENANT_A)


def test_stops_while_logins_wait(make_proxy, keys, idp):
    idp.keys = [named_key(keys, "s")[1]]
    proxy = make_proxy({"jwt": jwt(idp, jwks_min_refresh="1h")})
    proxy.wait_log("keys fetched")
    stranger = token(keys, named_key(keys, "t")[0])
    waiting = [send_login(proxy, stranger) for _ in range(5)]
    assert all(conn.is_silent() for conn in waiting)
    proxy.stop()


def test_storm_of_unknown_keys(make_proxy, keys, idp):
    """Made-up kids cost one fetch in jwks_min_refresh, and nobody else's login."""
    path, public = named_key(keys, "good")
    idp.keys = [public]
    proxy = make_proxy({"jwt": jwt(idp, jwks_min_refresh="1s")})
    assert login(proxy, token(keys, path)) == str(TENANT_A)
    strangers = [token(keys, named_key(keys, f"storm{i}")[0]) for i in range(4)]
    before, began = idp.requests, time.monotonic()
    over, refused = threading.Event(), []

    def storm(secret):
        while not over.is_set():
            refused.append(refusal(proxy, secret))

    threads = [threading.Thread(target=storm, args=(s,)) for s in strangers * 5]
    for thread in threads:
        thread.start()
    for _ in range(100):
        assert login(proxy, token(keys, path)) == str(TENANT_A)
    # A key that is new in the middle of it gets in nevertheless.
    fresh, fresh_public = named_key(keys, "fresh")
    idp.keys = [public, fresh_public]
    assert login(proxy, token(keys, fresh)) == str(TENANT_A)
    wait_until(lambda: len(refused) > 40, "refusals", 60)
    over.set()
    for thread in threads:
        thread.join(30)
    assert idp.requests - before <= (time.monotonic() - began) / 1.0 + 1
    assert all("unknown key" in text for text in refused)


# ---- trust ----------------------------------------------------------------------------------


def test_certificate_of_another_ca_is_refused(make_proxy, keys, idp, tmp_path):
    path, public = named_key(keys, "ca")
    idp.keys = [public]
    other = make_ca(tmp_path)[0]
    for ca in (other, None):
        proxy = make_proxy({"jwt": {**jwt(idp), "jwks_ca_file": ca}})
        assert "no keys are loaded yet" in refusal(proxy, token(keys, path))
        proxy.wait_log("keys cannot be fetched from")
    assert idp.requests == 0


def test_certificate_for_another_name_is_refused(make_proxy, keys, idp):
    path, public = named_key(keys, "name")
    idp.keys = [public]
    section = jwt(idp)
    section["jwks_url"] = section["jwks_url"].replace("localhost", "127.0.0.1")
    proxy = make_proxy({"jwt": section})
    assert "no keys are loaded yet" in refusal(proxy, token(keys, path))


# ---- several issuers --------------------------------------------------------------------------


def test_each_issuer_its_own_keys(make_proxy, keys, idp, make_idp):
    """Two issuers with keys of one name, behind URLs, and a file for tokens without iss."""
    here, here_public = named_key(keys, "k-here")
    there, there_public = named_key(keys, "k-there")
    other = make_idp()
    # The same kid on both sides.
    for path, public in ((here, here_public), (there, there_public)):
        public["kid"] = "same"
        with open(path, encoding="utf-8") as file:
            jwk = {**json.load(file), "kid": "same"}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(jwk, file)
    idp.keys, other.keys = [here_public], [there_public]
    proxy = make_proxy({
        "jwt": {"algorithms": "ES256"},
        "jwt here": jwt(idp, issuer="https://here", algorithms="ES256"),
        "jwt there": jwt(other, issuer="https://there", algorithms="ES256",
                         tenant_claim="org.tenant"),
    })
    from_here = token(keys, here, iss="https://here")
    assert login(proxy, from_here) == str(TENANT_A)
    nested = json.dumps({"tenant": TENANT_B})
    from_there = token(keys, there, iss="https://there", org=nested)
    assert login(proxy, from_there) == str(TENANT_B)
    assert login(proxy, keys.token(TENANT_A)) == str(TENANT_A)
    # Each key under each other's name.
    assert "signature" in refusal(proxy, token(keys, here, iss="https://there"))
    assert "signature" in refusal(proxy, token(keys, there, iss="https://here"))
    assert "unknown key" in refusal(proxy, token(keys, here))
    assert "unknown key" in refusal(proxy, token(keys, keys.files["ES256"], iss="https://here"))
    assert "algorithm" in refusal(proxy, keys.token(TENANT_A, alg="HS256"))


def test_file_and_url_join(make_proxy, keys, idp):
    path, public = named_key(keys, "joined")
    idp.keys = [public]
    section = {**jwt(idp), "jwks_file": keys.jwks_file}
    proxy = make_proxy({"jwt": section})
    assert login(proxy, keys.token(TENANT_A)) == str(TENANT_A)
    assert login(proxy, token(keys, path)) == str(TENANT_A)


@pytest.mark.parametrize("alg", ["PS256", "EdDSA"])
def test_more_algorithms(make_proxy, keys, idp, alg):
    path, public = named_key(keys, f"alg-{alg}", alg)
    idp.keys = [public]
    proxy = make_proxy({"jwt": jwt(idp, algorithms=alg)})
    assert login(proxy, token(keys, path)) == str(TENANT_A)
    assert "algorithm" in refusal(proxy, keys.token(TENANT_A, alg="RS256"))


# ---- require_tls ------------------------------------------------------------------------------


def own_address():
    """An address of this machine that is not loopback, or None."""
    out = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout
    return next((a for a in out.split() if "." in a), None)


def test_require_tls_by_issuer(make_proxy, keys):
    address = own_address()
    if address is None:
        pytest.skip("this machine has loopback only")
    both = {
        "jwt": {"require_tls": "yes"},
        "jwt open": {"issuer": "open", "jwks_file": keys.jwks_file, "require_tls": "no"},
    }
    proxy = make_proxy({"pgusher": {"listen_addr": f"127.0.0.1, {address}"}, **both})
    afar = (address, proxy.port)
    with Connection.connect(afar, "app", "eav",
                            keys.token(TENANT_A, extra=("--issuer", "open"))) as conn:
        assert conn.scalar("SELECT 1") == "1"
    with pytest.raises(LoginError) as caught:
        Connection.connect(afar, "app", "eav", keys.token(TENANT_A))
    assert caught.value.code == REFUSED and "TLS" in caught.value.message
    assert login(proxy, keys.token(TENANT_A)) == str(TENANT_A)  # from loopback


# ---- pgusher check ----------------------------------------------------------------------------


def test_check_reads_every_sections_files(keys, make_proxy, tmp_path, certificate):
    good = make_proxy({"jwt b": {"issuer": "b", "jwks_file": keys.jwks_file},
                       "jwt c": {"issuer": "c", "jwks_url": "https://localhost:1/k",
                                 "jwks_ca_file": certificate[0]}})
    assert run_binary("check", "-c", good.ini).returncode == 0
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    for key, value in (("jwks_file", bad), ("jwks_ca_file", bad)):
        section = "jwt b" if key == "jwks_file" else "jwt c"
        good.sections[section][key] = value
        good.write_ini()
        checked = run_binary("check", "-c", good.ini)
        assert checked.returncode == 1 and key in checked.stderr and "bad.json" in checked.stderr
        good.sections[section][key] = keys.jwks_file if key == "jwks_file" else certificate[0]


def algorithms(keys, *names):
    with open(keys.jwks_file) as f:
        text = f.read()
    kept = [k for k in json.loads(text)["keys"] if k["kty"] in names]
    return text, json.dumps({"keys": kept})


def replace(path, text):
    with open(path + ".new", "w") as f:
        f.write(text)
    os.rename(path + ".new", path)


def try_login(proxy, keys, alg):
    try:
        Connection.connect(proxy.address, "app", "eav", keys.token(TENANT_A, alg=alg)).close()
        return True
    except LoginError:
        return False


def test_a_key_file_that_is_a_pipe_for_a_moment(make_proxy, keys, tmp_path):
    path = str(tmp_path / "jwks.json")
    both, rsa = algorithms(keys, "RSA")
    replace(path, both)
    proxy = make_proxy({"jwt": {"jwks_file": path}})
    os.unlink(path)
    os.mkfifo(path)
    proxy.wait_log("not a regular file")
    replace(path, rsa)
    wait_until(lambda: not try_login(proxy, keys, "ES256"), "the new keys")
    assert try_login(proxy, keys, "RS256")


def test_a_key_file_that_cannot_be_read_is_tried_again(make_proxy, keys, tmp_path):
    """Same inode, size and mtime: only the change time tells, and that not of a failed read."""
    path = str(tmp_path / "jwks.json")
    both, rsa = algorithms(keys, "RSA")
    replace(path, both)
    proxy = make_proxy({"jwt": {"jwks_file": path}})
    before = os.stat(path)
    with open(path, "r+") as f:
        f.write("x" * len(both))
    proxy.wait_log("not valid JSON")
    assert try_login(proxy, keys, "ES256")
    with open(path, "r+") as f:
        f.write(rsa.ljust(len(both)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    wait_until(lambda: not try_login(proxy, keys, "ES256"), "the new keys")
    assert proxy.log().count("not valid JSON") == 1


def test_logins_that_wait_for_keys_leave_with_their_clients(make_proxy, keys, idp,
                                                            tmp_path_factory):
    """They hold no place until the issuer, which hangs, has answered; and count as logins."""
    idp.keys = [named_key(keys, "known")[1]]
    folder = tmp_path_factory.mktemp("sock")
    proxy = make_proxy({"jwt": jwt(idp, jwks_min_refresh="1h"),
                        "pgusher": {"unix_socket_dir": folder}})
    proxy.wait_log("keys fetched")
    console = Connection.connect(f"{folder}/.s.PGSQL.{proxy.port}", "me", "pgusher", None)

    def lists():
        rows = pgproto.rows_of(console.simple("SHOW LISTS"))
        return {row[0]: row[1] for row in rows}

    stranger = token(keys, named_key(keys, "gone")[0])
    waiting = [send_login(proxy, stranger) for _ in range(5)]
    wait_until(lambda: lists()["login_clients"] == "5", "five logins")
    for conn in waiting:
        conn.sock.close()
    wait_until(lambda: lists()["used_clients"] == "1", "only the console is left")
    assert lists()["login_clients"] == "0"


def test_set_token_with_a_new_key_orders_a_fetch(make_proxy, keys, idp):
    path, public = named_key(keys, "now")
    idp.keys = [public]
    proxy = make_proxy({"jwt": jwt(idp)})
    conn = Connection.connect(proxy.address, "app", "eav", token(keys, path))
    seen = idp.requests
    next_path, next_public = named_key(keys, "next")
    idp.keys = [public, next_public]
    change = f"SET usher.token = '{token(keys, next_path, TENANT_B)}'"
    fields = pgproto.errors_of(conn.simple(change))[0]
    assert fields["C"] == REFUSED and "being fetched" in fields["H"]
    idp.wait_requests(seen + 1)
    wait_until(lambda: not pgproto.errors_of(conn.simple(change)), "the new key is known")
    assert conn.scalar("SELECT current_setting('app.current_tenant_id')") == str(TENANT_B)
