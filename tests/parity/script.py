"""The language of the parity cases: parts (a frontend message each), cases, and their steps.

A case is a list of parts. A part knows its bytes and which reply it gets (sides.py reads by that).
After Query, Sync and Flush the client reads before it goes on, unless COPY data follow.
"""

from collections import namedtuple

import pgproto as p

Part = namedtuple("Part", "data wait shown conn", defaults=(0,))
Case = namedtuple("Case", "name parts pins differs since")

READS = ("Query", "Sync", "Flush", "FunctionCall", "until", "end")
COPY = ("CopyData", "CopyDone", "CopyFail")


def case(name, *parts, pins=False, differs=None, since=0):
    """pins: its state holds the server, so servers cannot be changed under it. differs: (number in
    docs/deviations.md, SQLSTATEs seen through PgUsher), with PostgreSQL of version `since` or
    later."""
    return Case(name, tuple(flat(parts)), pins, differs, since)


def flat(parts):
    for part in parts:
        if isinstance(part, Part):
            yield part
        else:
            yield from flat(part)


def on(conn, *parts):
    """The parts, sent on another connection of the same tenant (1, 2)."""
    return [part._replace(conn=conn) for part in flat(parts)]


# ---- messages ----------------------------------------------------------------------------


def Q(sql):
    return Part(p.query(sql), "Q", f"Query {sql}")


def P(name, sql, *types):
    return Part(p.parse(name, sql, types), "P", f"Parse {name!r} {sql}")


def B(portal="", name="", *values, formats=(), results=()):
    return Part(p.bind(portal, name, values, formats, results), "B",
                f"Bind {portal!r} {name!r} {values} {formats} {results}")


def DS(name=""):
    return Part(p.describe("S", name), "DS", f"Describe S {name!r}")


def DP(portal=""):
    return Part(p.describe("P", portal), "DP", f"Describe P {portal!r}")


def E(portal="", rows=0):
    return Part(p.execute(portal, rows), "E", f"Execute {portal!r} {rows}")


def CS(name=""):
    return Part(p.close("S", name), "C", f"Close S {name!r}")


def CP(portal=""):
    return Part(p.close("P", portal), "C", f"Close P {portal!r}")


def d(data):
    return Part(p.copy_data(data), None, f"CopyData {data!r}")


def f(reason):
    return Part(p.copy_fail(reason), None, f"CopyFail {reason}")


S = Part(p.sync(), "S", "Sync")
H = Part(p.flush(), None, "Flush")
c = Part(p.copy_done(), None, "CopyDone")
X = Part(p.terminate(), None, "Terminate")
DONE = c._replace(wait="Q")
G = Part(b"", None, "until G")
# Sent inside COPY, where it is ignored.
S_IGNORED = Part(p.sync(), None, "CopyData's Sync")
H_IGNORED = Part(p.flush(), None, "CopyData's Flush")


def run(sql, *values, rows=0, **formats):
    """What a driver sends for one statement."""
    return [P("", sql), B("", "", *values, **formats), DP(), E("", rows), S]


def copy_in(sql, *data, finish=DONE):
    """COPY FROM STDIN by simple Query: waits for CopyInResponse, sends the data, then the end."""
    return [Q(sql)._replace(wait=None), G, [d(line) for line in data], finish]


def copy_in_extended(sql, *data, finish=c):
    return [P("", sql), B(), E()._replace(wait=None), H, G, [d(line) for line in data],
            finish._replace(wait="E"), S]


def raw(data, wait=None, shown=""):
    return Part(data, wait, f"raw {shown or data!r}")


def until(kind):
    """Reads up to a message of that type, which nothing that was sent asked for."""
    return Part(b"", None, f"until {kind}")


# The connection must end now.
end = Part(b"", None, "end")


# ---- steps -------------------------------------------------------------------------------


class Step:
    """Parts that are sent at once, on one connection."""

    def __init__(self, parts):
        self.parts = parts
        self.conn = parts[0].conn
        self.data = b"".join(part.data for part in parts)
        self.waits = [part.wait for part in parts if part.wait]
        self.until = [part.shown[6:] for part in parts if part.shown.startswith("until")]
        self.ends = parts[-1].shown == "end"

    def __repr__(self):
        return f"{self.conn}: " + " | ".join(part.shown[:200] for part in self.parts)


def steps(case, packed=False):
    """The case's steps; packed: as few as can be, whatever a client would wait for."""
    out, parts = [], []
    sent = [part for part in case.parts if not (packed and part is G)]
    for index, part in enumerate(sent):
        parts.append(part)
        following = sent[index + 1] if index + 1 < len(sent) else None
        if following is None or following.conn != part.conn or part.shown.startswith("until") \
                or not packed and _reads(part, following):
            out.append(Step(parts))
            parts = []
    return out


def _reads(part, following):
    return part.shown.startswith(READS) and not following.shown.startswith(
        (*COPY, "until", "end"))
