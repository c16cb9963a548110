"""Settings of the session: they follow the client, whichever server comes next."""

from ..script import B, E, P, Q, S, case, run

VALUES = [
    # (name, two values)
    ("work_mem", "'5MB'", "'6MB'"), ("TimeZone", "'Asia/Tokyo'", "'UTC'"),
    ("DateStyle", "'German'", "'SQL, DMY'"), ("IntervalStyle", "'iso_8601'", "'postgres'"),
    ("statement_timeout", "'2min'", "60000"), ("lock_timeout", "'30s'", "0"),
    ("search_path", "public, pg_catalog", "'public'"), ("extra_float_digits", "0", "3"),
    ("bytea_output", "'escape'", "'hex'"), ("application_name", "'mine'", "''"),
    ("enable_seqscan", "off", "on"), ("client_encoding", "'LATIN1'", "'UTF8'"),
    ("idle_in_transaction_session_timeout", "'5min'", "'6min'"), ("jit", "off", "on"),
    ("xmlbinary", "'hex'", "'base64'"), ("default_text_search_config", "'simple'", "'english'"),
    ("my.setting", "'a'", "'b'"), ("constraint_exclusion", "on", "off"), ("geqo", "off", "on"),
    ("random_page_cost", "2.5", "3"), ("cpu_tuple_cost", "0.02", "0.03"),
]


def queries(*statements):
    return [Q(sql) for sql in statements]


def follows(name, one, two):
    return case(f"set {name}", queries(
        f"SET {name} = {one}", f"SHOW {name}", f"BEGIN; SET LOCAL {name} = {two}; SHOW {name}",
        "ROLLBACK", f"SHOW {name}", f"SET {name} TO {two}", f"SHOW {name}", f"SET {name} = {one}",
        f"SHOW {name}", f"SET {name} TO DEFAULT" if "." not in name else "SELECT 1",
        f"SHOW {name}"))


CASES = [
    *(follows(*row) for row in VALUES),
    case("set in a transaction", queries("BEGIN", "SET work_mem = '5MB'", "COMMIT", "SHOW work_mem")),
    case("set rolled back", queries("BEGIN", "SET work_mem = '5MB'", "ROLLBACK", "SHOW work_mem")),
    case("set in a failed transaction", queries("BEGIN", "SET work_mem = '5MB'", "SELECT 1/0",
                                                "COMMIT", "SHOW work_mem")),
    case("set rolled back to a savepoint", queries(
        "BEGIN", "SET work_mem = '5MB'", "SAVEPOINT a", "SET work_mem = '6MB'", "ROLLBACK TO a",
        "COMMIT", "SHOW work_mem")),
    case("set in a released savepoint", queries(
        "BEGIN", "SAVEPOINT a", "SET work_mem = '6MB'", "RELEASE a", "COMMIT", "SHOW work_mem")),
    case("set local outside", queries("SET LOCAL work_mem = '5MB'", "SHOW work_mem"),
         differs=(29, []), since=18),
    case("set local and set", queries("BEGIN", "SET LOCAL work_mem = '5MB'", "SET work_mem = '6MB'",
                                      "SHOW work_mem", "COMMIT", "SHOW work_mem")),
    case("set and set local", queries("BEGIN", "SET work_mem = '6MB'", "SET LOCAL work_mem = '5MB'",
                                      "SHOW work_mem", "COMMIT", "SHOW work_mem")),
    case("set_config", queries("SELECT set_config('work_mem', '5MB', false)", "SHOW work_mem")),
    case("set_config local", queries("SELECT set_config('work_mem', '5MB', true)", "SHOW work_mem")),
    case("set_config in a transaction", queries("BEGIN", "SELECT set_config('work_mem', '5MB', true)",
                                                "SHOW work_mem", "COMMIT", "SHOW work_mem")),
    case("set_config by parameters", run("SELECT set_config('work_mem', $1, false)", "5MB"),
         run("SHOW work_mem")),
    case("set by the extended protocol", run("SET work_mem = '5MB'"), run("SHOW work_mem")),
    case("set in a batch", [[P("", sql), B(), E()] for sql in (
        "SET work_mem = '5MB'", "SHOW work_mem")], S, run("SHOW work_mem")),
    case("set in a batch that fails", [[P("", sql), B(), E()] for sql in (
        "SET work_mem = '5MB'", "SELECT 1/0")], S, run("SHOW work_mem")),
    case("set behind a commit in a string", queries("BEGIN; SELECT 1; COMMIT; SET work_mem = '5MB'",
                                                    "SHOW work_mem")),
    case("set several in a string", queries("SET work_mem = '5MB'; SET TimeZone = 'Asia/Tokyo'",
                                            "SHOW work_mem", "SHOW TimeZone")),
    case("set time zone", queries("SET TIME ZONE 'Europe/Prague'", "SELECT timestamptz '2020-01-01 UTC'",
                                  "SET TIME ZONE LOCAL", "SHOW TIME ZONE", "SET TIME ZONE -3",
                                  "SHOW TIME ZONE", "SET TIME ZONE INTERVAL '+05:30' HOUR TO MINUTE",
                                  "SHOW TIME ZONE")),
    case("set names", queries("SET NAMES 'LATIN1'", "SHOW client_encoding", "SELECT 'e'",
                              "RESET client_encoding")),
    case("reset", queries("SET work_mem = '5MB'", "RESET work_mem", "SHOW work_mem")),
    case("reset all", queries("SET work_mem = '5MB'", "SET TimeZone = 'Asia/Tokyo'", "RESET ALL",
                              "SHOW work_mem", "SELECT count(*) FROM t")),
    case("reset all rolled back", queries("SET work_mem = '5MB'", "BEGIN", "RESET ALL",
                                          "SELECT count(*) FROM t", "ROLLBACK", "SHOW work_mem")),
    case("discard all resets", queries("SET work_mem = '5MB'", "DISCARD ALL", "SHOW work_mem",
                                       "SELECT count(*) FROM t")),
    case("set unknown", queries("SET nothing = 1", "SHOW nothing", "RESET nothing")),
    case("set bad value", queries("SET work_mem = 'x'", "SET TimeZone = 'nowhere'",
                                  "SET enable_seqscan = 7", "SELECT 1")),
    case("set out of range", queries("SET work_mem = 1")),
    case("set of a superuser's", queries("SET log_statement = 'all'", "SET shared_preload_libraries = 'x'")),
    case("set at server start only", queries("SET shared_buffers = '1GB'", "SET port = 1")),
    case("show all of a kind", queries("SELECT name, setting FROM pg_settings WHERE name IN"
                                       " ('work_mem', 'DateStyle') ORDER BY 1")),
    case("current_setting missing", queries("SELECT current_setting('no.such', true)",
                                            "SELECT current_setting('no.such')")),
    case("my setting survives", queries("SET my.a = 'x'", "BEGIN; SET LOCAL my.a = 'y'; COMMIT",
                                        "SELECT current_setting('my.a')")),
    case("reported parameters", queries("SET TimeZone = 'Asia/Tokyo'", "SET DateStyle = 'German'",
                                        "SET application_name = 'other'", "SELECT now() IS NOT NULL",
                                        "RESET TimeZone", "SELECT 1")),
    case("reported and rolled back", queries("BEGIN", "SET TimeZone = 'Asia/Tokyo'", "ROLLBACK",
                                             "SELECT 1")),
    case("reported by set local", queries("BEGIN", "SET LOCAL TimeZone = 'Asia/Tokyo'", "SELECT 1",
                                          "COMMIT", "SELECT 1")),
    case("a statement under two settings", P("n", "SELECT to_timestamp(0)::text"), S, B("", "n"), E(),
         S, Q("SET TimeZone = 'Asia/Tokyo'"), B("", "n"), E(), S),
    case("a literal's meaning under two settings", P("n", "SELECT '1/2/2020'::text::date"), S,
         B("", "n"), E(), S, Q("SET DateStyle = 'SQL, DMY'"), B("", "n"), E(), S),
    case("set search_path to nothing", queries("SET search_path = ''", "SELECT count(*) FROM public.t",
                                               "SELECT count(*) FROM t")),
    case("set seed", queries("SET seed = 0.5", "SELECT random() < 2"), pins=True),
    case("set transaction snapshot", queries("BEGIN ISOLATION LEVEL REPEATABLE READ",
                                             "SET TRANSACTION SNAPSHOT 'nonsense'", "ROLLBACK")),
    case("a setting that stays with its server outlives a temp table", queries(
        "SET temp_buffers = '1MB'", "CREATE TEMP TABLE x (a int)", "SHOW temp_buffers",
        "DROP TABLE x", "SHOW temp_buffers"), pins=True),
    case("a setting that stays with its server outlives others", queries(
        "SET temp_buffers = '1MB'", "SET client_min_messages = error", "RESET client_min_messages",
        "SHOW temp_buffers", "SET work_mem = '5MB'", "SHOW temp_buffers", "SELECT 1/0",
        "SHOW temp_buffers"), pins=True),
    case("load", queries("LOAD 'nothing'"), pins=True),
]
