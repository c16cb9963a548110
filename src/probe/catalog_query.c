/* The catalogue's one question to a database: its functions, and what calls functions that it does
 * not name. Only that of the second is sent which matters: code of users that may leave something,
 * volatile code, and relations that a standby cannot read.
 *
 * pg_depend does not tell that a view calls one of PostgreSQL's own functions, so the trees of
 * rules, policies, defaults, checks, indexes, partition keys, triggers' conditions and columns'
 * domains are searched for the ids in them. Whatever is behind a relation is behind the views on it
 * too, and behind its parents. Functions of the schema pgusher (sql/signed.sql) are ours, and leave
 * nothing. What is in pg_temp is one session's, which is pinned for it: names count in any schema,
 * so a tenant's pg_temp.now() would be every tenant's now(). On the probe's thread. */
#include <stdio.h>
#include <string.h>

#include "probe/probe_int.h"

#define CATALOG_PART_MAX 4096

/* Lists for IN. A policy may ask who is there: it is the same client everywhere. */
#define QUOTED(name) "'" #name "',"
static const char same_on_replica[] =
#define SAME_ON_REPLICA(name) QUOTED(name)
#define OF_THE_SERVER(name)
#include "tbl/read_functions.h"
#undef SAME_ON_REPLICA
#undef OF_THE_SERVER
	"''";
static const char of_the_server[] =
#define SAME_ON_REPLICA(name)
#define OF_THE_SERVER(name) QUOTED(name)
#include "tbl/read_functions.h"
#undef SAME_ON_REPLICA
#undef OF_THE_SERVER
	"''";

/* PostgreSQL's own that leave something, or run a text. */
#define LEAVES                                                                                     \
	"('set_config','setseed','pg_advisory_lock','pg_advisory_lock_shared',"                    \
	"'pg_try_advisory_lock','pg_try_advisory_lock_shared','query_to_xml',"                     \
	"'query_to_xml_and_xmlschema','query_to_xmlschema','cursor_to_xml','ts_stat','ts_rewrite'" \
	")"

/* Labels are the author's; C is a superuser's (catalog.c). */
static const char functions[] =
	/* To compile it took 14 s, to run it 0.3 (the schema of sql/ with 300 partitions). */
	"SET jit = off; SET search_path = pg_catalog; WITH RECURSIVE fn AS MATERIALIZED ("
	"SELECT p.oid, n.nspname, p.proname, p.prokind, p.proconfig, p.prosecdef,"
	" p.oid >= 16384 AS is_user, p.provolatile = 'v' AS is_volatile,"
	" p.oid >= 16384 AND n.nspname <> 'pgusher' AND NOT (l.lanname IN ('c', 'internal')"
	"  AND p.provolatile <> 'v' AND p.prokind IN ('f', 'w')) AS is_opaque,"
	/* with one argument, which may be a row */
	" p.oid >= 16384 AND p.pronargs > 0"
	"  AND (p.pronargs - p.pronargdefaults <= 1 OR p.provariadic <> 0)"
	"  AND (t.typtype IN ('c', 'p') OR (t.typtype = 'd' AND b.typtype = 'c')"
	"   OR EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.oid >= 16384"
	"    AND c.castcontext = 'i' AND c.casttarget = t.oid)) AS is_of_row"
	" FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
	" JOIN pg_catalog.pg_language l ON l.oid = p.prolang"
	" LEFT JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]"
	" LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype"
	" WHERE n.nspname NOT LIKE 'pg\\_temp\\_%'),";

/* rel, what of it ('r': it is read so, 'p': its policies, 'w': only when it is written to) */
static const char trees[] =
	/* A type and what it is made of: a domain's base, a composite type's columns, what an
	 * array or a range is of. in_it: by more than bases. A literal beside a domain's column is
	 * read as its base; one beside a composite type's as all that is in it. */
	" domain (type, of, in_it) AS (SELECT t.oid, t.oid, false FROM pg_catalog.pg_type t"
	" WHERE t.oid >= 16384 AND t.typtype IN ('d', 'r', 'c')"
	" UNION SELECT d.type, p.of, d.in_it OR p.in_it"
	" FROM domain d JOIN pg_catalog.pg_type t ON t.oid = d.of,"
	" LATERAL (VALUES (t.typbasetype, false), (t.typelem, true)"
	"  UNION ALL SELECT atttypid, true FROM pg_catalog.pg_attribute"
	"   WHERE attrelid = t.typrelid AND attnum > 0"
	"  UNION ALL SELECT rngsubtype, true FROM pg_catalog.pg_range WHERE rngtypid = t.oid)"
	" AS p (of, in_it) WHERE p.of >= 16384),"
	" tree (rel, at, t) AS ("
	"SELECT r.ev_class, CASE WHEN r.ev_type = '1' AND c.relkind <> 'm' THEN 'r' ELSE 'w' END,"
	" r.ev_action::text || r.ev_qual::text FROM pg_catalog.pg_rewrite r"
	" JOIN pg_catalog.pg_class c ON c.oid = r.ev_class WHERE r.ev_class >= 16384"
	" UNION ALL SELECT polrelid, 'p', pg_catalog.concat(polqual::text, polwithcheck::text)"
	" FROM pg_catalog.pg_policy"
	" UNION ALL SELECT adrelid, 'w', adbin::text FROM pg_catalog.pg_attrdef"
	" UNION ALL SELECT conrelid, 'w', conbin::text FROM pg_catalog.pg_constraint"
	" WHERE contype = 'c' AND conrelid >= 16384"
	" UNION ALL SELECT a.attrelid,"
	" CASE WHEN d.in_it OR d.type <> t.oid THEN 'r' ELSE 'w' END, k.conbin::text"
	" FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
	" JOIN domain d ON d.type IN (t.oid, t.typelem)"
	" JOIN pg_catalog.pg_constraint k ON k.contypid = d.of AND k.contype = 'c'"
	" WHERE a.attrelid >= 16384 AND a.attnum > 0"
	" UNION ALL SELECT a.attrelid, 'w', t.typdefaultbin::text FROM pg_catalog.pg_attribute a"
	" JOIN domain d ON d.type = a.atttypid JOIN pg_catalog.pg_type t ON t.oid = d.of"
	" WHERE a.attrelid >= 16384 AND a.attnum > 0 AND t.typdefaultbin IS NOT NULL"
	" UNION ALL SELECT tgrelid, 'w', tgqual::text FROM pg_catalog.pg_trigger"
	" WHERE tgqual IS NOT NULL"
	" UNION ALL SELECT partrelid, 'w', partexprs::text FROM pg_catalog.pg_partitioned_table"
	" WHERE partexprs IS NOT NULL"
	" UNION ALL SELECT indrelid, 'w', pg_catalog.concat(indexprs::text, indpred::text)"
	" FROM pg_catalog.pg_index WHERE indexprs IS NOT NULL OR indpred IS NOT NULL),"
	" ref (rel, at, kind, id) AS MATERIALIZED ("
	"SELECT DISTINCT rel, at, m[1], m[2]::oid FROM tree, pg_catalog.regexp_matches(t,"
	" ':(funcid|aggfnoid|winfnoid|opno|eqop|sortop|relid) ([1-9][0-9]*)', 'g') AS m),"
	" call (rel, at, fn) AS ("
	"SELECT rel, at, id FROM ref WHERE kind IN ('funcid', 'aggfnoid', 'winfnoid')"
	" UNION SELECT rel, at, o.oprcode FROM ref JOIN pg_catalog.pg_operator o ON o.oid = id"
	" WHERE kind IN ('opno', 'eqop', 'sortop')"
	" UNION SELECT tgrelid, 'w', tgfoid FROM pg_catalog.pg_trigger WHERE NOT tgisinternal"
	/* what is read there may be cast */
	" UNION SELECT a.attrelid, 'r', c.castfunc FROM pg_catalog.pg_cast c"
	" JOIN pg_catalog.pg_attribute a ON a.atttypid = c.castsource"
	" WHERE c.oid >= 16384 AND a.attrelid >= 16384 AND a.attnum > 0"
	"  AND (c.castsource >= 16384 OR c.castcontext = 'i')"
	/* and what is written there, or beside it */
	" UNION SELECT a.attrelid, CASE c.castcontext WHEN 'i' THEN 'r' ELSE 'w' END, c.castfunc"
	" FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_attribute a ON a.atttypid = c.casttarget"
	" WHERE c.oid >= 16384 AND c.castcontext <> 'e' AND a.attrelid >= 16384 AND a.attnum > 0"
	"  AND (c.casttarget >= 16384 OR c.castsource < 16384)"
	" UNION SELECT t.typrelid, 'r', c.castfunc FROM pg_catalog.pg_cast c"
	" JOIN pg_catalog.pg_type t ON t.oid = c.castsource"
	" WHERE c.oid >= 16384 AND t.typrelid <> 0),"
	" lead (rel, to_rel, on_write) AS ("
	"SELECT rel, id, at = 'w' FROM ref WHERE kind = 'relid' AND id <> rel"
	" UNION SELECT inhparent, inhrelid, false FROM pg_catalog.pg_inherits"
	" UNION SELECT confrelid, conrelid, true FROM pg_catalog.pg_constraint"
	" WHERE contype = 'f' AND (confdeltype NOT IN ('a', 'r')"
	"  OR confupdtype NOT IN ('a', 'r'))),";

/* %s: same_on_replica, of_the_server */
static const char relations[] =
	" hit (rel, nspname, proname, is_volatile, is_opaque, is_not_there, on_write) AS ("
	"SELECT c.rel, f.nspname, f.proname, h.is_volatile, h.is_opaque, false, c.at = 'w'"
	" FROM call c JOIN fn f ON f.oid = c.fn, LATERAL (SELECT"
	" f.is_opaque OR NOT f.is_user AND f.proname IN " LEAVES ","
	" f.is_volatile AND (f.is_user OR f.proname NOT IN (%s))"
	" OR c.at = 'r' AND NOT f.is_user AND f.proname <> 'current_setting'"
	"  AND (f.proname IN (%s) OR f.proname LIKE 'pg\\_stat\\_%%')) AS h (is_opaque, "
	"is_volatile)"
	" WHERE h.is_opaque OR h.is_volatile AND c.at <> 'w'"
	" UNION ALL SELECT oid, NULL, NULL, false, false, true, false FROM pg_catalog.pg_class"
	" WHERE oid >= 16384 AND relkind NOT IN ('i', 'I', 't')"
	"  AND (relkind IN ('S', 'f') OR relpersistence = 'u')),"
	" reach (rel, src, on_write) AS (SELECT rel, rel, false FROM hit"
	" UNION SELECT l.rel, r.src, r.on_write OR l.on_write"
	" FROM reach r JOIN lead l ON l.to_rel = r.rel)";

/* %s: the setting, the proof. For each thing: schema, name, of which function, facts. */
static const char answer[] =
	" SELECT 'f', nspname, proname, NULL, NULL, pg_catalog.bool_or(is_user),"
	" pg_catalog.bool_or(is_volatile), pg_catalog.bool_or(is_opaque),"
	" pg_catalog.bool_or(EXISTS (SELECT FROM pg_catalog.unnest(proconfig) AS s (setting)"
	"  WHERE pg_catalog.lower(pg_catalog.split_part(s.setting, '=', 1)) IN"
	"  (pg_catalog.lower('%s'), pg_catalog.lower('%s'), 'role', 'row_security',"
	"   'session_authorization', 'session_replication_role'))),"
	" pg_catalog.bool_or(is_user AND prosecdef AND is_volatile),"
	" pg_catalog.bool_or(is_of_row), false, false FROM fn GROUP BY nspname, proname"
	" UNION ALL SELECT DISTINCT 'o', n.nspname, o.oprname, f.nspname, f.proname, f.is_user,"
	" f.is_volatile, f.is_opaque, false, false, false, false, false"
	" FROM pg_catalog.pg_operator o JOIN fn f ON f.oid = o.oprcode"
	" JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace"
	" WHERE o.oid >= 16384 AND (f.is_opaque OR f.is_volatile)"
	" AND n.nspname NOT LIKE 'pg\\_temp\\_%%'"
	" UNION ALL SELECT DISTINCT 'r', n.nspname, c.relname, h.nspname, h.proname, false,"
	" h.is_volatile AND NOT (h.on_write OR r.on_write), h.is_opaque, false, false, false,"
	" h.is_not_there AND NOT r.on_write, h.on_write OR r.on_write"
	" FROM reach r JOIN hit h ON h.rel = r.src"
	" JOIN pg_catalog.pg_class c ON c.oid = r.rel"
	" JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
	" WHERE c.relpersistence <> 't' AND (h.is_opaque OR NOT (h.on_write OR r.on_write))";

/* Domains by their checks, types by their casts and by how they are read and shown; by name and,
 * for the parameters of a Parse, by number. Not tables' rows by name: it does not say that they are
 * meant (on_type_name in sql/walk.c). */
static const char types[] =
	" UNION ALL SELECT DISTINCT 't', n.nspname, by.name, f.nspname, f.proname, f.is_user,"
	" f.is_volatile, f.is_opaque, false, false, false, false, false FROM ("
	"SELECT d.type, m[1]::oid FROM domain d"
	" JOIN pg_catalog.pg_constraint k ON k.contypid = d.of AND k.contype = 'c',"
	" pg_catalog.regexp_matches(conbin::text, ':funcid ([1-9][0-9]*)', 'g') AS m"
	" UNION SELECT d.type, o.oprcode FROM domain d"
	" JOIN pg_catalog.pg_constraint k ON k.contypid = d.of AND k.contype = 'c',"
	" pg_catalog.regexp_matches(conbin::text, ':opno ([1-9][0-9]*)', 'g') AS m"
	" JOIN pg_catalog.pg_operator o ON o.oid = m[1]::oid"
	/* int is no sign of a cast from a type of one's own */
	" UNION SELECT casttarget, castfunc FROM pg_catalog.pg_cast WHERE oid >= 16384"
	"  AND (casttarget >= 16384 OR castsource < 16384)"
	" UNION SELECT castsource, castfunc FROM pg_catalog.pg_cast WHERE oid >= 16384"
	"  AND castsource >= 16384"
	" UNION SELECT oid, typinput FROM pg_catalog.pg_type WHERE oid >= 16384 AND typtype = 'b'"
	" UNION SELECT oid, typoutput FROM pg_catalog.pg_type WHERE oid >= 16384"
	"  AND typtype = 'b') AS u (type, fn)"
	" JOIN fn f ON f.oid = u.fn JOIN pg_catalog.pg_type t ON t.oid = u.type"
	" JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace"
	" LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid, LATERAL (VALUES"
	" (CASE WHEN c.relkind IS NULL OR c.relkind = 'c' THEN t.typname::text END),"
	" ('#' || t.oid), ('#' || NULLIF(t.typarray, 0))) AS by (name)"
	" WHERE by.name IS NOT NULL AND (f.is_opaque OR f.is_volatile AND f.is_user)"
	" AND n.nspname NOT LIKE 'pg\\_temp\\_%'";

/* The names of settings are of letters, digits, _ and a dot (conf). */
void catalog_query(const struct conf_context *context, struct buf *out)
{
	char part[CATALOG_PART_MAX];

	out->len = 0;
	buf_put(out, functions, sizeof(functions) - 1);
	buf_put(out, trees, sizeof(trees) - 1);
	snprintf(part, sizeof(part), relations, same_on_replica, of_the_server);
	buf_put(out, part, strlen(part));
	snprintf(part, sizeof(part), answer, context->setting, context->proof_setting);
	buf_put(out, part, strlen(part));
	buf_put_cstr(out, types);
}
