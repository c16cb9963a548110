"""docs/parity.md names the tests of each protocol trap: they must be there."""

import os
import re

from .cases import CASES

REPO = os.path.join(os.path.dirname(__file__), "..", "..")


def references():
    with open(os.path.join(REPO, "docs", "parity.md"), encoding="utf-8") as file:
        rows = re.findall(r"^\| (\d+) \|(.*)\|$", file.read(), re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 33))
    for number, text in rows:
        found = re.findall(r"`([^`:]+): ([^`]+)`", text)
        assert found or "deviations.md" in text, f"trap {number} has no test"
        yield from ((number, *reference) for reference in found)


def test_every_trap_has_its_tests():
    names = {case.name for case in CASES}
    missing = []
    for number, where, what in references():
        if where == "parity":
            left = what  # a case's name may have commas
            for name in sorted((n for n in names if n in what), key=len, reverse=True):
                left = left.replace(name, "")
            missing += [(number, where, left)] if left.strip(", ") else []
            continue
        with open(os.path.join(REPO, "tests", where), encoding="utf-8") as file:
            source = file.read()
        missing += [(number, where, name) for name in what.split(", ")
                    if not re.search(rf"\b{name}\(", source)]
    assert not missing
