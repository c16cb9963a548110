"""SQL cursors."""

from ..script import Q, case, run

D = "DECLARE c CURSOR FOR SELECT id, a FROM t ORDER BY id"
SCROLL = "DECLARE c SCROLL CURSOR FOR SELECT id FROM t ORDER BY id"


def inside(*statements):
    return [Q("BEGIN"), [Q(sql) for sql in statements], Q("COMMIT")]


CASES = [
    case("cursor fetch", inside(D, "FETCH 2 FROM c", "FETCH 2 FROM c")),
    case("cursor fetch all", inside(D, "FETCH ALL FROM c", "FETCH c")),
    case("cursor fetch none", inside(D, "FETCH 0 FROM c")),
    case("cursor move", inside(D, "MOVE 3 FROM c", "FETCH c", "MOVE ALL FROM c")),
    case("cursor scroll", inside(SCROLL, "FETCH LAST c", "FETCH PRIOR c", "FETCH ABSOLUTE 2 c",
                                 "FETCH RELATIVE -1 c", "FETCH BACKWARD ALL c", "FETCH FIRST c")),
    case("cursor not scroll", inside("DECLARE c NO SCROLL CURSOR FOR SELECT 1", "FETCH c",
                                     "FETCH PRIOR c")),
    case("cursor close", inside(D, "CLOSE c", "FETCH c")),
    case("cursor close all", inside(D, "CLOSE ALL", "FETCH c")),
    case("cursor name taken", inside(D, D)),
    case("cursor outside a transaction", Q(D), differs=(29, []), since=18),
    case("cursor unknown", Q("FETCH nothing")),
    case("cursor ends with the transaction", inside(D, "FETCH c"), Q("FETCH c")),
    case("cursor with hold", inside("DECLARE h CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id",
                                    "FETCH 2 FROM h"), Q("FETCH 2 FROM h"), Q("CLOSE h"),
         Q("FETCH h"), pins=True),
    case("cursor with hold outside a transaction",
         Q("DECLARE h CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id"), Q("FETCH ALL FROM h"),
         pins=True),
    case("cursor with hold rolled back", Q("BEGIN"),
         Q("DECLARE h CURSOR WITH HOLD FOR SELECT 1"), Q("ROLLBACK"), Q("FETCH h"), pins=True),
    case("cursor binary", inside("DECLARE b BINARY CURSOR FOR SELECT 258", "FETCH b")),
    case("cursor update where current of",
         inside("DECLARE c CURSOR FOR SELECT * FROM t WHERE id = 2 FOR UPDATE", "FETCH c",
                "UPDATE t SET n = 77 WHERE CURRENT OF c RETURNING id, n")),
    case("cursor by the extended protocol", run("BEGIN"), run(D), run("FETCH 2 FROM c"),
         run("FETCH 2 FROM c"), run("CLOSE c"), run("COMMIT")),
    case("cursor fetched with a row limit", run("BEGIN"), run(D), run("FETCH ALL FROM c", rows=2),
         run("COMMIT")),
    case("cursor in one string", Q(f"BEGIN; {D}; FETCH 1 FROM c; FETCH 1 FROM c; COMMIT")),
    case("cursor behind a savepoint", inside("SAVEPOINT a", D, "FETCH c", "ROLLBACK TO a", "FETCH c")),
    case("cursor in front of a savepoint", inside(D, "FETCH c", "SAVEPOINT a", "FETCH c",
                                                  "ROLLBACK TO a", "FETCH c")),
    case("cursor with an error in its rows",
         inside("DECLARE c CURSOR FOR SELECT 6 / (3 - i) FROM generate_series(1, 5) i",
                "FETCH 2 FROM c", "FETCH 2 FROM c")),
]
