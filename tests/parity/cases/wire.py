"""Messages that no driver would send: broken, out of place, of a type that does not exist."""

import struct

from pgproto import cstr, function_call, message

from ..script import B, E, P, Part, Q, S, case, end, raw


def broken(kind, body, shown):
    """A message whose body is not what its type promises; its error is skipped up to Sync."""
    wait = {"P": "P", "B": "B", "D": "DS", "E": "E", "C": "C"}[kind]
    return Part(message(kind, body), wait, f"broken {shown}")


def ends(name, data, **more):
    return case(f"wire {name}", Q("SELECT 1"), raw(data), end, **more)


BIND = cstr("") + cstr("")

CASES = [
    # ---- bodies that end too early or too late: an error, and the connection goes on ----
    case("wire parse without an end", broken("P", b"n", "Parse"), S, Q("SELECT 1")),
    case("wire parse without a text", broken("P", cstr("n"), "Parse"), S, Q("SELECT 1")),
    case("wire parse without a count", broken("P", cstr("") + cstr("SELECT 1"), "Parse"), S,
         Q("SELECT 1")),
    case("wire parse with missing types",
         broken("P", cstr("") + cstr("SELECT 1") + b"\0\2\0\0\0\x17", "Parse"), S, Q("SELECT 1")),
    case("wire parse with more bytes",
         broken("P", cstr("") + cstr("SELECT 1") + b"\0\0more", "Parse"), S, Q("SELECT 1")),
    case("wire bind empty", P("", "SELECT 1"), broken("B", b"", "Bind"), S, Q("SELECT 1")),
    case("wire bind without counts", P("", "SELECT 1"), broken("B", BIND, "Bind"), S, Q("SELECT 1")),
    case("wire bind value too short", P("", "SELECT $1::text"),
         broken("B", BIND + b"\0\0\0\1\0\0\0\x09abc\0\0", "Bind"), S, Q("SELECT 1")),
    case("wire bind negative length", P("", "SELECT $1::text"),
         broken("B", BIND + b"\0\0\0\1\xff\xff\xff\xf0\0\0", "Bind"), S, Q("SELECT 1")),
    case("wire bind with more bytes", P("", "SELECT 1"),
         broken("B", BIND + b"\0\0\0\0\0\0more", "Bind"), S, Q("SELECT 1")),
    case("wire describe of neither", broken("D", b"X" + cstr(""), "Describe"), S, Q("SELECT 1")),
    case("wire describe empty", broken("D", b"", "Describe"), S, Q("SELECT 1")),
    case("wire describe without an end", broken("D", b"Sn", "Describe"), S, Q("SELECT 1")),
    case("wire describe with more bytes", P("", "SELECT 1"),
         broken("D", b"S" + cstr("") + b"x", "Describe"), S, Q("SELECT 1")),
    case("wire execute empty", P("", "SELECT 1"), B(), broken("E", b"", "Execute"), S, Q("SELECT 1")),
    case("wire execute without a count", P("", "SELECT 1"), B(), broken("E", cstr(""), "Execute"), S,
         Q("SELECT 1")),
    case("wire execute with more bytes", P("", "SELECT 1"), B(),
         broken("E", cstr("") + b"\0\0\0\0x", "Execute"), S, Q("SELECT 1")),
    case("wire close of neither", broken("C", b"X" + cstr(""), "Close"), S, Q("SELECT 1")),
    case("wire close without an end", broken("C", b"Sn", "Close"), S, Q("SELECT 1")),
    case("wire close with more bytes", broken("C", b"S" + cstr("") + b"x", "Close"), S, Q("SELECT 1")),
    case("wire query without an end", Part(message("Q", b"SELECT 1"), "Q", "broken Query"),
         Q("SELECT 2")),
    case("wire query empty body", Part(message("Q", b""), "Q", "broken Query"), Q("SELECT 2")),
    case("wire query with a zero inside", Part(message("Q", b"SELECT 1\0SELECT 2\0"), "Q", "broken"),
         Q("SELECT 2")),
    case("wire query of bad encoding", Part(message("Q", b"SELECT '\xff\xfe'\0"), "Q", "broken"),
         Q("SELECT 2")),
    case("wire parse of bad encoding",
         broken("P", cstr("") + b"SELECT '\xff'\0" + b"\0\0", "Parse"), S, Q("SELECT 2")),
    case("wire sync with a body", Part(message("S", b"xyz"), "S", "Sync with a body"), Q("SELECT 1"),
         differs=(25, ["08P01"])),
    case("wire broken in a transaction", Q("BEGIN"), Q("SELECT 1"), broken("P", b"n", "Parse"), S,
         Q("SELECT 1"), Q("ROLLBACK")),
    case("wire broken while skipping", P("", "SELECT * FROM nowhere"),
         Part(message("P", b"n"), None, "broken"), S, Q("SELECT 1")),
    case("wire broken in mid-batch", P("", "SELECT 1"), B(), E(), broken("P", b"n", "Parse"), S,
         Q("SELECT 1")),
    case("wire bind unknown with a large value", B("", "none", "z" * 100000), S, Q("SELECT 1")),
    case("wire bind without names", P("", "SELECT 1"), broken("B", b"x" * 20000, "Bind"), S,
         Q("SELECT 1")),
    case("wire bind with long names", P("n" * 3000, "SELECT 1"),
         B("p" * 3000, "n" * 3000), E("p" * 3000), S),
    case("wire skipped large bind", P("", "SELECT * FROM nowhere"), B("", "", "z" * 100000), S,
         Q("SELECT 1")),
    case("wire parse empty", broken("P", b"", "Parse"), S, Q("SELECT 1")),
    case("wire close empty", broken("C", b"", "Close"), S, Q("SELECT 1")),

    # ---- what ends the connection ----
    ends("unknown type", message("z")),
    ends("unknown type zero", message("\0")),
    ends("length too small", b"Q" + struct.pack("!I", 3), differs=(25, ["08P01"])),
    ends("length zero", b"Q" + struct.pack("!I", 0), differs=(25, ["08P01"])),
    ends("length negative", b"Q" + struct.pack("!i", -5), differs=(25, ["08P01"])),
    ends("length too large", b"S" + struct.pack("!I", 1 << 30), differs=(25, ["08P01"])),
    ends("sync too large", b"S" + struct.pack("!I", 20000), differs=(25, ["08P01"])),
    ends("terminate with a body", message("X", b"bye")),
    ends("backend's message", message("Z", b"I")),
    ends("startup packet again", struct.pack("!II", 8, 196608)),
    ends("copy both", message("W", b"\0\0\0")),
    case("wire password out of place", Q("SELECT 1"), raw(message("p", cstr("x"))), end),
    case("wire function call", Part(function_call(1598, []), "Q", "FunctionCall random"),
         Q("SELECT 1"), differs=(14, ["42501"])),
]
