"""What of two connections' replies must be equal: every byte, but for what is masked here."""

import re
import struct

from pgproto import SOURCE_FIELDS

STATEMENT_NAME = re.compile(rb'prepared statement "[^"]*"')


def same(expected, seen, first_new_oid):
    """Whether the replies are equal. An error of PgUsher's own has no place in PostgreSQL's source
    code, so there PostgreSQL's is not looked at either."""
    expected, seen = ([m for m in messages if not is_usher_report(m)] for messages in (expected, seen))
    return len(expected) == len(seen) and all(
        mask(one, first_new_oid, is_ours(other)) == mask(other, first_new_oid, is_ours(other))
        for one, other in zip(expected, seen))


def is_usher_report(msg):
    return msg.type == "S" and msg.body.startswith(b"usher.")


def is_ours(msg):
    return msg.type in "EN" and "R" not in msg.fields()


def mask(msg, first_new_oid, ours):
    body = msg.body
    if msg.type == "A":
        body = b"\0\0\0\0" + body[4:]  # the process id of who notified
    elif msg.type == "T":
        body = mask_table_oids(body, first_new_oid)
    elif msg.type in "EN" and ours:
        return msg.type, {k: v for k, v in msg.fields().items() if k not in SOURCE_FIELDS}
    elif msg.type == "E" and b"C08P01" in body:
        body = STATEMENT_NAME.sub(b"prepared statement", body)  # docs/deviations.md 1
    return msg.type, body


def mask_table_oids(body, first_new_oid):
    """RowDescription: temporary tables have another object id each time they are made."""
    out, pos = bytearray(body), 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        pos = body.index(b"\0", pos) + 1
        if struct.unpack_from("!I", body, pos)[0] >= first_new_oid:
            out[pos:pos + 4] = b"\xff\xff\xff\xff"
        pos += 18
    return bytes(out)
