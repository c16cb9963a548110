"""Every case of cases/: PostgreSQL's replies, and the same through PgUsher, sent in three ways."""

import pgproto as p
import pytest

from .cases import CASES
from .conftest import MODES


def show(replies):
    return "\n".join(f"   {n}: {m!r}" for n, messages in enumerate(replies) for m in messages)


def codes(replies):
    return [code for messages in replies for code in p.codes_of(messages)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_replies(twins, case):
    expected = twins.expected(case)
    for mode in MODES:
        if mode == "switched" and (case.pins or len(expected) > 1):
            continue
        seen = twins.seen(case, mode)
        text = (f"{mode}: {' | '.join(part.shown[:200] for part in case.parts)}\n direct:\n"
                f"{show(expected)}\n through PgUsher:\n{show(seen)}")
        if case.differs and twins.version >= case.since:
            as_known = not twins.same(expected, seen) and codes(seen) == case.differs[1]
        else:
            as_known = twins.same(expected, seen)
        if not as_known:
            pytest.fail(text, pytrace=False)


def test_names_are_unique():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 300
