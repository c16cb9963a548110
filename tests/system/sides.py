"""Two connections that are sent the same, and what of their replies must be equal.

For the differential tests (test_random.py, tests/parity): one connection goes through PgUsher, the
other to PostgreSQL itself. Nothing here knows what is sent; a step (grammar.py) tells which
replies to wait for, so no test waits for a time.
"""

from collections import deque


# ---- reading exactly the replies of a step -----------------------------------------------

ENDS = {
    "P": "1", "B": "2", "C": "3", "E": "CsI", "DS": "Tn", "DP": "Tn", "S": "Z", "Q": "Z",
}


class Ended(AssertionError):
    """The connection was ended where it should go on; `messages` is what came of the step."""

    def __init__(self, messages):
        super().__init__(f"connection ended: {messages[-1]}")
        self.messages = messages


def read_replies(conn, waits):
    """Reads until every entry of waits has its reply, by the protocol's rules for errors.

    An error ends all up to the next Sync. Returns the messages, and whether an error has been
    seen whose Sync is still to be sent (then further messages of the batch get no reply).
    """
    pending, out, failed = deque(waits), [], False
    while pending:
        msg = conn.read()
        out.append(msg)
        if msg.type == "E" and msg.fields().get("S") == "FATAL":
            raise Ended(out)
        if msg.type == "E" and pending[0] != "Q":
            while pending and pending[0] != "S":
                pending.popleft()
            failed = not pending
        elif msg.type in ENDS[pending[0]]:
            pending.popleft()
    return out, failed


class Side:
    """One of the two connections of a client: it remembers that a batch has failed."""

    def __init__(self, conn, rng=None):
        self.conn = conn
        self.rng = rng
        self.failed = False

    def run(self, step):
        data = step.data
        if self.rng and self.rng.random() < 0.2:
            cuts = [self.rng.randrange(len(data)) for _ in range(self.rng.randint(1, 5))]
            self.conn.send_cut(data, cuts, pause=0.0005)
        else:
            self.conn.send(data)
        waits = list(step.waits)
        if self.failed:
            # Skipped by the server up to and without the next Sync.
            waits = waits[waits.index("S"):] if "S" in waits else []
        replies, failed = read_replies(self.conn, waits)
        self.failed = failed or (self.failed and not waits)
        return replies
