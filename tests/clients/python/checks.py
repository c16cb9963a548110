"""What the Python programs share: saying what was checked, and asking the runner for something."""

import os
import sys
import threading

TENANT_A, TENANT_B = int(os.environ["TENANT_A"]), int(os.environ["TENANT_B"])
# How long the token of the renewal's check is good; it is waited for.
BRIEF_S = 2
# Pools log in on threads of their own.
_asking = threading.Lock()


def _say(*words):
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def ok(check, seen):
    _say("ok", f"{check}:", str(seen).replace("\n", " "))


def none(check, why):
    _say("none", f"{check}:", why)


def ask(*words):
    with _asking:
        _say("ask", *words)
        return input()


def fetch_token(tenant, seconds=None):
    """Stands for the program's own way to a token: its identity provider."""
    return ask("token", tenant, *([seconds] if seconds else []))


def refused(call, error_type, what=""):
    """The error that the call ends with; it is a fault if it does not."""
    try:
        call()
    except error_type as error:
        return error
    raise AssertionError(f"was not refused: {what or call}")
