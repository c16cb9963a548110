"""Prepared statements, and a schema that changes under them: their own connection changes it, or
another one."""

from ..script import B, CS, DP, DS, E, P, Q, S, case, on

MAKE = Q("CREATE TABLE lab.d (a int, b text)"), Q("INSERT INTO lab.d VALUES (1, 'one'), (2, 'two')")
DROP = Q("DROP TABLE lab.d")
WIDER = Q("ALTER TABLE lab.d ALTER a TYPE bigint")
BY_A = "SELECT a, b FROM lab.d WHERE a = $1"
ALL = "SELECT * FROM lab.d ORDER BY 1"


def anew(name, sql, *values):
    """Parsed, described and run, as a driver does."""
    return [P(name, sql), DS(name), S, B("", name, *values), DP(), E(), S]


def again(name, *values):
    return [B("", name, *values), E(), S]


CASES = [
    case("ddl new parse behind alter type", MAKE, anew("x", BY_A, 1), WIDER, anew("y", BY_A, 1), DROP),
    case("ddl new parse behind close", MAKE, anew("x", BY_A, 1), WIDER, CS("x"), anew("x", BY_A, 1),
         DROP),
    case("ddl old statement behind alter type", MAKE, anew("x", BY_A, 1), WIDER, again("x", 1),
         DS("x"), S, again("x", 1), DROP),
    case("ddl old statement keeps failing, a new one works", MAKE, anew("x", ALL), WIDER, again("x"),
         anew("y", ALL), again("x"), again("y"), DROP),
    case("ddl by another connection", MAKE, anew("x", BY_A, 1), on(1, WIDER), again("x", 1),
         anew("y", BY_A, 1), again("x", 1), DROP),
    case("ddl new parse on another connection", MAKE, anew("x", ALL), on(1, anew("x", ALL)), WIDER,
         on(1, again("x")), on(1, anew("y", ALL)), anew("y", ALL), DROP),
    case("ddl that changes nothing of the result", MAKE, anew("x", BY_A, 1),
         Q("ALTER TABLE lab.d ADD c date"), again("x", 1), DS("x"), S, anew("y", BY_A, 2), DROP),
    case("ddl column more", MAKE, anew("x", ALL), Q("ALTER TABLE lab.d ADD c date"), again("x"),
         anew("y", ALL), DROP),
    case("ddl column gone", MAKE, anew("x", BY_A, 1), Q("ALTER TABLE lab.d DROP b"), again("x", 1),
         P("y", BY_A), S, anew("z", ALL), DROP),
    case("ddl table gone", MAKE, anew("x", ALL), DROP, again("x"), P("y", ALL), DS("y"), S),
    case("ddl table made again", MAKE, anew("x", ALL), DROP, Q("CREATE TABLE lab.d (z date)"),
         again("x"), anew("y", ALL), DROP),
    case("ddl column renamed", MAKE, anew("x", ALL), Q("ALTER TABLE lab.d RENAME b TO c"), again("x"),
         anew("y", ALL), DROP),
    case("ddl extended", MAKE, anew("x", ALL), P("", "ALTER TABLE lab.d ADD c date"), B(), E(), S,
         again("x"), anew("y", ALL), DROP),
    case("ddl in a block", MAKE, anew("x", ALL), Q("BEGIN"), WIDER, anew("y", ALL), Q("COMMIT"),
         again("y"), again("x"), anew("z", ALL), DROP),
    case("ddl in a block, old statement inside", MAKE, anew("x", ALL), Q("BEGIN"), WIDER, again("x"),
         Q("ROLLBACK"), again("x"), DROP),
    case("ddl rolled back", MAKE, anew("x", ALL), Q("BEGIN"), WIDER, anew("y", ALL), Q("ROLLBACK"),
         again("y"), again("x"), anew("z", ALL), DROP),
    case("ddl to a savepoint", MAKE, anew("x", ALL), Q("BEGIN"), Q("SAVEPOINT s"), WIDER,
         Q("ROLLBACK TO s"), again("x"), anew("z", ALL), Q("COMMIT"), again("z"), DROP),
    case("ddl that another does not see yet", MAKE, Q("CREATE TABLE lab.e (a int)"),
         anew("x", "SELECT * FROM lab.e"), Q("BEGIN"),
         Q("CREATE OR REPLACE VIEW lab.v AS SELECT 1 AS one"), anew("y", "SELECT * FROM lab.e"),
         on(1, anew("y", "SELECT * FROM lab.e")), Q("COMMIT"), Q("DROP VIEW lab.v"),
         Q("DROP TABLE lab.e"), DROP),
    case("ddl that fails", MAKE, anew("x", ALL), Q("ALTER TABLE lab.d ALTER b TYPE int USING b::int"),
         again("x"), anew("y", ALL), DROP),
    case("ddl and a failure behind its commit", MAKE, anew("x", ALL),
         Q("BEGIN; ALTER TABLE lab.d ADD c date; COMMIT; SELECT 1/0"), again("x"), anew("y", ALL), DROP),
    case("ddl of a view", MAKE, Q("CREATE VIEW lab.v AS SELECT a FROM lab.d"),
         anew("x", "SELECT * FROM lab.v"), Q("CREATE OR REPLACE VIEW lab.v AS SELECT a, b FROM lab.d"),
         again("x"), anew("y", "SELECT * FROM lab.v"), Q("DROP VIEW lab.v"), DROP),
    case("ddl in a batch with its parse", MAKE, anew("x", ALL),
         P("", "ALTER TABLE lab.d ADD c date"), B(), E(), P("y", ALL), DS("y"), B("", "y"), DP(), E(), S,
         again("y"), again("x"), DROP),
]
