"""Values of each type: as text and binary, out and back in."""

from ..script import B, DS, E, P, Q, S, case

TYPES = [
    ("bool", "true"), ("int2", "-7"), ("int4", "2147483647"), ("int8", "-9223372036854775808"),
    ("float4", "1.5"), ("float8", "'NaN'"), ("numeric", "12345678901234567890.123456789"),
    ("text", "'zażółć'"), ("varchar(3)", "'abc'"), ("char(5)", "'ab'"), ("name", "'n'"),
    ("bytea", "'\\x00ff'"), ("date", "'2020-02-29'"), ("time", "'12:34:56.789'"),
    ("timetz", "'12:34:56+02'"), ("timestamp", "'2020-02-29 12:34:56.789'"),
    ("timestamptz", "'2020-02-29 12:34:56.789+02'"), ("interval", "'1 year 2 days 03:04:05'"),
    ("json", "'{\"a\": [1, null]}'"), ("jsonb", "'{\"b\": 1, \"a\": 2}'"),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"), ("int4[]", "'{{1,2},{3,NULL}}'"),
    ("text[]", "'{a,\"b c\",NULL}'"), ("int4range", "'[1,5)'"), ("int4multirange", "'{[1,2),[5,6)}'"),
    ("bit(3)", "B'101'"), ("varbit", "B'10101'"), ("inet", "'10.0.0.1/8'"), ("cidr", "'10.0.0.0/8'"),
    ("macaddr", "'08:00:2b:01:02:03'"), ("point", "'(1,2)'"), ("box", "'(1,1),(0,0)'"),
    ("money", "'12.34'"), ("tsvector", "'a:1 b:2'"), ("tsquery", "'a & b'"), ("mood", "'happy'"),
    ("pair", "'(1,x)'"), ("oid", "5"), ("xid", "'5'"), ("regclass", "'pg_class'"),
]

CASES = [
    *(case(f"type {name}", Q(f"SELECT {value}::{name} AS v, NULL::{name}"),
           P("", f"SELECT {value}::{name}, $1::{name}"), DS(), B("", "", None, results=(1,)), E(), S)
      for name, value in TYPES),
    case("type record", Q("SELECT ROW(1, 'a', NULL), (1, 2) = (1, 2)")),
    case("type composite array", Q("SELECT ARRAY[ROW(1, 'a')::pair, ROW(2, 'b')::pair]")),
    case("type void", Q("SELECT pg_sleep(0)")),
    case("type unknown enum", Q("SELECT 'angry'::mood")),
    case("type infinity", Q("SELECT 'infinity'::date, '-infinity'::timestamptz, 'Infinity'::float8")),
    case("type large bytea binary", P("", "SELECT length($1::bytea), $1::bytea"),
         B("", "", bytes(range(256)) * 2000, formats=(1,), results=(1,)), E(), S),
    case("type bytea with zero bytes", P("", "SELECT $1::bytea"),
         B("", "", b"\0\0\0", formats=(1,), results=(1,)), E(), S),
    case("type text with a zero byte", P("", "SELECT $1::text"), B("", "", b"a\0b"), E(), S),
    case("type text of bad encoding", P("", "SELECT $1::text"), B("", "", b"\xff"), E(), S),
    case("type array as a parameter", P("", "SELECT id FROM t WHERE id = ANY($1::int[]) ORDER BY 1"),
         B("", "", "{1,3,5}"), E(), S),
    case("type jsonb as a parameter", P("", "SELECT $1::jsonb -> 'a'"), B("", "", '{"a":[1]}'), E(), S),
]
