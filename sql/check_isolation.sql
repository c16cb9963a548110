-- What in ANY database breaks a rule of tenant isolation for a role that tenants share. Changes
-- nothing; as a superuser:
--
--   psql -X -d eav [-v app_role=app] [-v setting=app.current_tenant_id] [-v tenant_column=tenant_id]
--        -f sql/check_isolation.sql
--
-- One row a finding: rule (README.md has the list), object, what is wrong, how to fix it. No row:
-- nothing found; a row of rule 0: there was nothing to check. Code is searched as text, so it finds
-- what is forgotten, not what is hidden: a function that mentions the setting is taken to compare
-- with it.

\if :{?app_role}
\else
    \set app_role app
\endif
\if :{?setting}
\else
    \set setting app.current_tenant_id
\endif
\if :{?tenant_column}
\else
    \set tenant_column tenant_id
\endif

WITH RECURSIVE
ask AS (
    SELECT r.oid AS app, rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb,
           rolreplication, :'setting' AS setting,
           regexp_replace(:'setting', '([^a-zA-Z0-9_])', '\\\1', 'g') AS setting_re
      FROM pg_roles r WHERE r.oid = quote_ident(:'app_role')::regrole),
rel AS (
    SELECT c.oid, c.relkind, c.relowner, c.relrowsecurity, c.relforcerowsecurity, c.relacl,
           c.oid::regclass::text AS name, coalesce(c.reloptions, '{}') AS reloptions,
           EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) AS is_child,
           EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
                      AND a.attname = :'tenant_column') AS by_tenant,
           reach AND has_any_column_privilege(app, c.oid, 'SELECT') AS reads,
           reach AND has_any_column_privilege(app, c.oid, 'INSERT') AS inserts,
           reach AND (has_any_column_privilege(app, c.oid, 'UPDATE')
                      OR has_table_privilege(app, c.oid, 'DELETE, TRUNCATE')) AS changes
      FROM ask, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
           LATERAL (SELECT has_schema_privilege(app, n.oid, 'USAGE') AS reach) u
     WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f')
       AND n.nspname NOT IN ('pg_catalog', 'information_schema')
       AND n.nspname !~ '^pg_(toast|temp)'),
-- Functions that are not PostgreSQL's own.
fn AS (
    SELECT p.*, p.oid::regprocedure::text AS name, l.lanname,
           coalesce(p.prosrc, '') || coalesce(pg_get_function_sqlbody(p.oid), '') AS src,
           EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
                      AND d.objid = p.oid AND d.deptype = 'e') AS is_extension,
           has_schema_privilege(app, p.pronamespace, 'USAGE')
               AND has_function_privilege(app, p.oid, 'EXECUTE') AS may_call
      FROM ask, pg_proc p JOIN pg_language l ON l.oid = p.prolang
     WHERE p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
       AND p.prokind IN ('f', 'p')),
-- Those that read the setting; naming one of them counts as naming it.
getter AS (
    SELECT fn.* FROM fn, ask WHERE NOT is_extension AND src ~ setting_re),
names_setting AS (
    SELECT '(' || setting_re
           || coalesce((SELECT '|\m' || string_agg(DISTINCT proname, '\M|\m') || '\M'
                          FROM getter WHERE pronargs = 0), '') || ')' AS re
      FROM ask),
policy AS (
    SELECT p.*, rel.name || ': ' || p.polname AS name, rel.by_tenant,
           pg_get_expr(p.polqual, p.polrelid) AS qual,
           pg_get_expr(p.polwithcheck, p.polrelid) AS checks,
           EXISTS (SELECT FROM unnest(p.polroles) r
                    WHERE r = 0 OR (r <> 0 AND pg_has_role(app, r, 'MEMBER'))) AS for_app
      FROM ask, pg_policy p JOIN rel ON rel.oid = p.polrelid),
-- Who is not held by a table's policies: a superuser, BYPASSRLS, the owner without FORCE, and
-- who has a policy of his own that does not name the setting. Held by none: no row security.
unheld AS (
    SELECT rel.oid AS relid, r.oid AS role
      FROM rel, pg_roles r
     WHERE rel.by_tenant
       AND (r.rolsuper OR r.rolbypassrls OR NOT rel.relrowsecurity
            OR (rel.relowner = r.oid AND NOT rel.relforcerowsecurity)
            OR EXISTS (SELECT FROM policy p, names_setting s
                        WHERE p.polrelid = rel.oid AND p.polpermissive AND p.polcmd IN ('r', '*')
                          AND p.polroles && ARRAY[0::oid, r.oid] AND p.qual !~ s.re))),
-- What each view takes its rows from, through other views too.
base AS (
    SELECT rel.oid AS viewid, rel.oid AS relid FROM rel WHERE relkind IN ('v', 'm')
    UNION
    SELECT b.viewid, d.refobjid
      FROM base b JOIN pg_rewrite w ON w.ev_class = b.relid
      JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> b.relid),
-- Texts in which the setting may be read.
code AS (
    SELECT 'policy ' || name AS object, concat_ws(' ', qual, checks) AS src FROM policy
    UNION ALL SELECT 'function ' || name, src FROM fn WHERE NOT is_extension
    UNION ALL SELECT 'view ' || name, pg_get_viewdef(oid) FROM rel WHERE relkind IN ('v', 'm')
    UNION ALL SELECT 'trigger ' || rel.name || ': ' || t.tgname, pg_get_triggerdef(t.oid)
                FROM pg_trigger t JOIN rel ON rel.oid = t.tgrelid WHERE NOT t.tgisinternal),
-- What PostgreSQL and its extensions bring, and tenants must not call or read.
closed (rule, name, what) AS (VALUES
    (8, 'pg_stat_get_(activity|backend_.*|progress_info|wal_senders|wal_receiver)',
        'shows what others run'),
    (8, 'pg_(prepared_statement|cursor|prepared_xact|lock_status)', 'shows what others have'),
    (8, 'pg_stat_statements(_info|_reset)?', 'shows what others ran'),
    (8, 'pg_isolation_test_session_is_blocked', 'shows whom others wait for'),
    (8, 'pg_stat_get_(xact_)?(numscans|lastscan|tuples_.*|blocks_(fetched|hit))',
        'counts the rows of all tenants'),
    (8, 'pg_stat_get_(live_tuples|dead_tuples|mod_since_analyze|ins_since_vacuum)',
        'counts the rows of all tenants'),
    (8, 'pg_wal_summary_contents', 'tells which blocks others wrote'),
    (8, 'currtid2?', 'follows rows past row-level security'),
    (11, 'pg_logical_emit_message', 'messages have no tenant'),
    (9, 'pg_(cancel|terminate)_backend|pg_log_backend_memory_contexts', 'signals other backends'),
    (13, 'lo_.*|lo(read|write)', 'large objects have no row-level security'),
    (13, 'pg_read_(binary_)?file.*|pg_stat_file.*|pg_ls_.*|pg_file_.*|pg_current_logfile',
         'touches files of the server'),
    (2, '(query|cursor|table|schema|database)_to_xml.*', 'runs SQL text'),
    (2, 'ts_stat|crosstab.*|connectby|xpath_table|xpath_list|dblink.*', 'runs SQL text')),
finding (rule, object, what, fix) AS (
    SELECT 0, 'role ' || rolname, format('may use nothing with a column %s: there was nothing to'
           ' check', :'tenant_column'),
           'grant first; or is it another database, role (-v app_role) or column (-v tenant_column)?'
      FROM ask WHERE NOT EXISTS (SELECT FROM rel WHERE by_tenant AND (reads OR inserts OR changes))
    UNION ALL
    -- The role.
    SELECT 5, 'role ' || rolname, 'is a superuser, or has BYPASSRLS, CREATEROLE, CREATEDB or'
           ' REPLICATION', format('ALTER ROLE %I NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB'
           ' NOREPLICATION', rolname)
      FROM ask WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication
    UNION ALL
    SELECT 5, 'role ' || rolname, format('is a member of %s', m.roleid::regrole),
           format('REVOKE %s FROM %I', m.roleid::regrole, rolname)
      FROM ask JOIN pg_auth_members m ON m.member = app
    UNION ALL
    SELECT 5, pg_describe_object(d.classid, d.objid, d.objsubid), 'is owned by ' || rolname,
           'ALTER ... OWNER TO a role that never logs in'
      FROM ask JOIN pg_shdepend d ON d.refclassid = 'pg_authid'::regclass AND d.refobjid = app
     WHERE d.deptype = 'o'
       AND d.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    UNION ALL
    SELECT 1, 'role ' || CASE WHEN s.setrole = 0 THEN 'ALL' ELSE rolname::text END,
           'has a stored setting: ' || split_part(c, '=', 1),
           format('ALTER ROLE %s RESET %s (or IN DATABASE)',
                  CASE WHEN s.setrole = 0 THEN 'ALL' ELSE quote_ident(rolname) END,
                  split_part(c, '=', 1))
      FROM ask, pg_db_role_setting s, unnest(s.setconfig) c
     WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database
                                  WHERE datname = current_database()))
       AND ((s.setrole = app AND c ~* ('^(' || setting_re || '|row_security|search_path|role'
                                       '|session_replication_role)='))
            OR (s.setrole = 0 AND c ~* ('^' || setting_re || '=')))
    UNION ALL
    SELECT 5, 'schema ' || nspname, 'the role may create in it',
           format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC, %I', nspname, rolname)
      FROM ask, pg_namespace n
     WHERE nspname !~ '^pg_(temp|toast)' AND has_schema_privilege(app, n.oid, 'CREATE')
       AND NOT rolsuper
    UNION ALL
    SELECT CASE p WHEN 'TEMP' THEN 6 ELSE 5 END, 'database ' || datname, 'the role has ' || p,
           format('REVOKE %s ON DATABASE %I FROM PUBLIC, %I', p, datname, rolname)
      FROM ask, pg_database d, unnest(ARRAY['CREATE', 'TEMP']) p
     WHERE datname = current_database() AND has_database_privilege(app, d.oid, p)
    UNION ALL
    SELECT 2, 'language ' || lanname, 'the role may write code in it (DO, functions)',
           format('REVOKE USAGE ON LANGUAGE %I FROM PUBLIC, %I', lanname, rolname)
      FROM ask, pg_language l
     WHERE lanpltrusted AND has_language_privilege(app, l.oid, 'USAGE')
    UNION ALL
    -- Relations.
    SELECT 15, 'partition ' || name, 'the role may address it directly, past its parent''s policy',
           format('REVOKE ALL ON %s FROM PUBLIC, %I', name, rolname)
      FROM ask, rel WHERE is_child AND (reads OR inserts OR changes)
    UNION ALL
    SELECT 15, 'table ' || name, 'has tenants'' rows and no row-level security',
           format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY, and a policy',
                  name)
      FROM rel WHERE relkind IN ('r', 'p') AND by_tenant AND NOT relrowsecurity AND NOT is_child
                 AND (reads OR changes)
    UNION ALL
    SELECT 15, 'table ' || name, 'takes rows of any tenant: no row-level security, and no enabled'
           ' BEFORE INSERT row trigger that names the setting',
           'row-level security and a policy, or such a trigger (sql/entity_values_ingest.sql)'
      FROM rel, names_setting s
     WHERE relkind IN ('r', 'p') AND by_tenant AND NOT relrowsecurity AND inserts
       AND NOT EXISTS (
           SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
            WHERE t.tgrelid = rel.oid AND t.tgenabled IN ('O', 'A') AND t.tgtype & 7 = 7
              AND (pg_get_triggerdef(t.oid) ~ s.re OR p.prosrc ~ s.re))
    UNION ALL
    SELECT 15, 'table ' || name, 'is shared by all tenants, and the role may change it',
           format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON %s FROM PUBLIC, %I, or give it a %s',
                  name, rolname, :'tenant_column')
      FROM ask, rel WHERE relkind IN ('r', 'p') AND NOT by_tenant AND (inserts OR changes)
                      AND NOT is_child AND NOT relrowsecurity
    UNION ALL
    SELECT 15, 'table ' || rel.name, format('its rows belong to those of %s, and every tenant reads'
           ' them', min(parent.name)), format('a %s and row-level security, or a policy that looks'
           ' for its row of %s', :'tenant_column', min(parent.name))
      FROM rel JOIN pg_constraint k ON k.conrelid = rel.oid AND k.contype = 'f'
      JOIN rel parent ON parent.oid = k.confrelid AND parent.by_tenant
     WHERE rel.relkind IN ('r', 'p') AND NOT rel.by_tenant AND NOT rel.is_child AND rel.reads
       AND (NOT rel.relrowsecurity
            OR EXISTS (SELECT FROM policy p WHERE p.polrelid = rel.oid AND p.for_app
                          AND p.polpermissive AND p.qual = 'true'))
     GROUP BY rel.name
    UNION ALL
    -- PostgreSQL looks for the row past row-level security.
    SELECT 15, format('foreign key %s of %s', k.conname, rel.name), 'a row may refer to another'
           ' tenant''s: its tenant learns that it is there, and keeps it from being deleted',
           format('put %s into it, and into the key of %s', :'tenant_column', parent.name)
      FROM rel JOIN pg_constraint k ON k.conrelid = rel.oid AND k.contype = 'f'
      JOIN rel parent ON parent.oid = k.confrelid AND parent.by_tenant
     WHERE rel.by_tenant AND NOT rel.is_child AND (rel.inserts OR rel.changes)
       AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = k.confrelid
                          AND a.attnum = ANY (k.confkey) AND a.attname = :'tenant_column')
    UNION ALL
    SELECT 15, 'sequence ' || c.oid::regclass, 'the role may set it back (setval), and new rows of'
           ' all tenants fail then', format('REVOKE UPDATE ON SEQUENCE %s FROM PUBLIC, %I; nextval needs'
           ' USAGE only', c.oid::regclass, rolname)
      FROM ask, pg_class c
     WHERE c.relkind = 'S' AND c.relpersistence <> 't'
       AND has_schema_privilege(app, c.relnamespace, 'USAGE')
       AND has_sequence_privilege(app, c.oid, 'UPDATE')
    UNION ALL
    SELECT 5, 'table ' || name, 'row-level security does not hold for its owner',
           format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name)
      FROM rel WHERE relrowsecurity AND NOT relforcerowsecurity
    UNION ALL
    SELECT 15, 'table ' || name, 'TRUNCATE, REFERENCES and TRIGGER are under no policy',
           format('REVOKE TRUNCATE, REFERENCES, TRIGGER ON %s FROM PUBLIC, %I', name, rolname)
      FROM ask, rel WHERE relkind IN ('r', 'p') AND NOT is_child
                      AND has_table_privilege(app, oid, 'TRUNCATE, REFERENCES, TRIGGER')
    UNION ALL
    SELECT 15, 'foreign table ' || name, 'can have no row-level security',
           format('REVOKE ALL ON %s FROM PUBLIC, %I', name, rolname)
      FROM ask, rel WHERE relkind = 'f' AND (reads OR inserts OR changes)
    UNION ALL
    SELECT 15, 'materialized view ' || name, 'has tenants'' rows and can have no row-level security',
           format('REVOKE ALL ON %s FROM PUBLIC, %I; a security_barrier view that compares with the'
                  ' setting goes before it', name, rolname)
      FROM ask, rel
     WHERE relkind = 'm' AND reads
       AND EXISTS (SELECT FROM base b JOIN rel t ON t.oid = b.relid
                    WHERE b.viewid = rel.oid AND t.by_tenant)
    UNION ALL
    SELECT 15, 'view ' || name, 'shows rows that its owner may see, of all tenants',
           format('ALTER VIEW %s SET (security_invoker), or security_barrier and a comparison with'
                  ' the setting', name)
      FROM rel, names_setting s
     WHERE relkind = 'v' AND (reads OR inserts OR changes)
       AND NOT reloptions && '{security_invoker=true,security_invoker=on,security_invoker=1}'
       AND EXISTS (SELECT FROM base b JOIN unheld u ON u.relid = b.relid AND u.role = rel.relowner
                    WHERE b.viewid = rel.oid AND b.relid <> rel.oid)
       AND NOT (pg_get_viewdef(rel.oid) ~ s.re AND reloptions
                && '{security_barrier=true,security_barrier=on,security_barrier=1}')
    UNION ALL
    -- The planner merges a bare comparison with those of the query (sql/restrict.sql).
    SELECT 18, 'table ' || name, 'a comparison of the query''s own can stand in for the policy''s',
           format('a RESTRICTIVE policy with NULLIF(%I = ..., false) IS NOT NULL beside it'
                  ' (sql/restrict.sql)', :'tenant_column')
      FROM rel, names_setting s
     WHERE relkind IN ('r', 'p') AND by_tenant AND relrowsecurity AND (reads OR changes)
       AND NOT EXISTS (SELECT FROM policy p
                        WHERE p.polrelid = rel.oid AND NOT p.polpermissive AND p.for_app
                          AND p.polcmd = '*' AND p.qual ~ s.re
                          AND p.qual ~ ' IS TRUE|NULLIF\(\(.* = .*, false\) IS NOT NULL')
    UNION ALL
    SELECT 2, 'table ' || name, 'is not signed: the setting alone lets rows through',
           'sql/signed.sql again, with a policy tenant_isolation on the table'
      FROM rel
     WHERE relkind IN ('r', 'p') AND by_tenant AND relrowsecurity AND (reads OR changes)
       AND to_regprocedure('pgusher.proven_tenant_id()') IS NOT NULL
       AND NOT EXISTS (SELECT FROM policy p
                        WHERE p.polrelid = rel.oid AND NOT p.polpermissive AND p.for_app
                          AND p.qual ~ 'proven_tenant_id')
    UNION ALL
    SELECT 18, 'view ' || name, 'a comparison of the query''s own can stand in for the view''s',
           format('AND (%I = ...) IS TRUE in its WHERE', :'tenant_column')
      FROM rel, names_setting s
     WHERE relkind = 'v' AND (reads OR inserts OR changes) AND pg_get_viewdef(rel.oid) ~ s.re
       AND NOT reloptions && '{security_invoker=true,security_invoker=on,security_invoker=1}'
       AND pg_get_viewdef(rel.oid) !~ ' IS TRUE'
    UNION ALL
    -- The operators of GIN indexes. Those that btree_gin borrows from B-trees are vouched for.
    SELECT DISTINCT 15, 'function ' || p.oid::regprocedure, 'is LEAKPROOF: it looks at all'
           ' tenants'' rows before the policies do, and EXPLAIN ANALYZE tells how many it found',
           format('ALTER FUNCTION %s NOT LEAKPROOF', p.oid::regprocedure)
      FROM pg_amop o JOIN pg_am a ON a.oid = o.amopmethod AND a.amname = 'gin'
      JOIN pg_operator r ON r.oid = o.amopopr
      JOIN pg_proc p ON p.oid = r.oprcode
     WHERE p.proleakproof
       AND NOT EXISTS (SELECT FROM pg_amop b JOIN pg_am t ON t.oid = b.amopmethod
                        WHERE b.amopopr = o.amopopr AND t.amname = 'btree')
    UNION ALL
    SELECT 15, 'default privileges of ' || d.defaclrole::regrole,
           'new tables, partitions too, are granted to the role or to PUBLIC',
           format('ALTER DEFAULT PRIVILEGES FOR ROLE %s REVOKE ALL ON TABLES FROM PUBLIC, %I',
                  d.defaclrole::regrole, rolname)
      FROM ask, pg_default_acl d
     WHERE d.defaclobjtype = 'r'
       AND EXISTS (SELECT FROM aclexplode(d.defaclacl) a WHERE a.grantee IN (0, app))
    UNION ALL
    -- Policies.
    SELECT 15, 'policy ' || name, 'lets the role see rows without comparing with the setting',
           format('USING (%I = NULLIF(current_setting(%L, true), '''')::bigint)',
                  :'tenant_column', setting)
      FROM ask, policy, names_setting s
     WHERE for_app AND polpermissive AND by_tenant AND polcmd <> 'a' AND qual !~ s.re
    UNION ALL
    SELECT 15, 'policy ' || name, 'has no WITH CHECK that compares with the setting',
           format('WITH CHECK (%I = NULLIF(current_setting(%L, true), '''')::bigint)',
                  :'tenant_column', setting)
      FROM ask, policy, names_setting s
     WHERE for_app AND polpermissive AND polcmd IN ('*', 'a', 'w') AND by_tenant
       AND (checks IS NULL OR checks !~ s.re)
    UNION ALL
    SELECT 17, 'policy ' || policy.name, 'calls ' || fn.name || ', which is IMMUTABLE: its value may'
           ' be kept in a plan', format('ALTER FUNCTION %s STABLE', fn.name)
      FROM policy JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = policy.oid
                                  AND d.refclassid = 'pg_proc'::regclass
      JOIN fn ON fn.oid = d.refobjid
     WHERE fn.provolatile = 'i' AND NOT fn.is_extension
    UNION ALL
    SELECT 17, 'function ' || name, 'reads the setting and is IMMUTABLE',
           format('ALTER FUNCTION %s STABLE', name)
      FROM getter WHERE provolatile = 'i'
    UNION ALL
    SELECT 16, object, 'casts the setting without NULLIF, or without missing_ok: an error, not'
           ' no rows, where there is no context',
           format('NULLIF(current_setting(%L, true), '''')::bigint', setting)
      FROM ask, code
     WHERE src ~* ('((?<!nullif\()\mcurrent_setting\(\s*''' || setting_re || '''(::text)?'
                   '(,\s*(true|false))?\s*\)+::(?!text)'
                   '|\mcast\(\s*(pg_catalog\.)?current_setting\(\s*''' || setting_re || ''''
                   '|\mcurrent_setting\(\s*''' || setting_re || '''(::text)?\s*\))')
    UNION ALL
    -- Functions.
    SELECT 14, 'function ' || name, 'SECURITY DEFINER without a fixed search_path',
           format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', name)
      FROM fn
     WHERE prosecdef AND may_call
       AND NOT EXISTS (SELECT FROM unnest(proconfig) c
                        WHERE c ~ '^search_path=' AND c !~ '\$user')
    UNION ALL
    SELECT 14, 'function ' || name, 'SECURITY DEFINER that takes a tenant, and does not compare it'
           ' with the setting', 'compare it and raise 42501, or REVOKE EXECUTE'
      FROM fn, names_setting s
     WHERE prosecdef AND may_call AND NOT is_extension AND src !~ s.re
       AND EXISTS (SELECT FROM unnest(proargnames) a WHERE a ~* 'tenant')
    UNION ALL
    SELECT 14, 'function ' || name, 'SECURITY DEFINER as ' || proowner::regrole || ', whom no policy'
           ' holds, and does not name the setting', 'REVOKE EXECUTE, or another owner'
      FROM fn, names_setting s
     WHERE prosecdef AND may_call
       AND name <> 'pgusher_session.is_clean()' -- hardening.sql's: of one's own session
       AND NOT is_extension AND src !~ s.re
       AND EXISTS (SELECT FROM unheld u JOIN rel ON rel.oid = u.relid
                    WHERE u.role = proowner AND rel.relrowsecurity)
    UNION ALL
    SELECT 1, 'function ' || name, 'sets the setting',
           format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, %I', name, rolname)
      FROM ask, fn
     WHERE may_call AND NOT is_extension
       AND (src ~* ('set_config\s*\(\s*''' || setting_re || '''')
            OR src ~* ('\mset\s+((local|session)\s+)?' || setting_re || '\M')
            OR EXISTS (SELECT FROM unnest(proconfig) c WHERE c ~* ('^' || setting_re || '=')))
    UNION ALL
    SELECT 1, 'function ' || name, 'sets whichever setting its caller names',
           format('a constant name, or REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, %I', name, rolname)
      FROM ask, fn
     WHERE may_call AND NOT is_extension
       AND (src ~* 'set_config\s*\((?!\s*''[^'']*''(::text)?\s*,)'
            OR src ~* '\mupdate\s+(only\s+)?(pg_catalog\s*\.\s*)?pg_settings\M')
    UNION ALL
    SELECT 2, 'function ' || name, 'runs SQL text (EXECUTE)',
           format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, %I', name, rolname)
      FROM ask, fn
     WHERE may_call AND NOT is_extension AND lanname = 'plpgsql' AND prorettype <> 'trigger'::regtype
       AND src ~* '\mexecute\M(?!\s+(function|procedure|on)\M)'
    UNION ALL
    SELECT c.rule, 'function ' || p.oid::regprocedure, c.what,
           format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, %I (sql/hardening.sql)',
                  p.oid::regprocedure, rolname)
      FROM ask, closed c JOIN pg_proc p ON p.proname ~ ('^(' || c.name || ')$')
     WHERE has_schema_privilege(app, p.pronamespace, 'USAGE')
       AND has_function_privilege(app, p.oid, 'EXECUTE')
       AND (p.pronamespace = 'pg_catalog'::regnamespace
            OR EXISTS (SELECT FROM fn WHERE fn.oid = p.oid AND fn.is_extension))
    UNION ALL
    SELECT 2, 'function ' || p, 'runs SQL text',
           format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, %I (sql/hardening.sql)', p, rolname)
      FROM ask, CAST('ts_rewrite(tsquery, text)' AS regprocedure) p
     WHERE has_function_privilege(app, p, 'EXECUTE')
    UNION ALL
    SELECT CASE WHEN c.relname ~ '^pg_largeobject' THEN 13 ELSE 8 END, 'view ' || c.oid::regclass,
           'shows what others have, or run',
           format('REVOKE ALL ON %s FROM PUBLIC, %I (sql/hardening.sql)', c.oid::regclass, rolname)
      FROM ask, pg_class c
     WHERE c.relname IN ('pg_stat_activity', 'pg_prepared_statements', 'pg_cursors', 'pg_locks',
                         'pg_prepared_xacts', 'pg_stat_replication', 'pg_stat_ssl',
                         'pg_stat_gssapi', 'pg_stat_statements', 'pg_stat_statements_info',
                         'pg_largeobject', 'pg_largeobject_metadata')
       AND has_schema_privilege(app, c.relnamespace, 'USAGE')
       AND has_any_column_privilege(app, c.oid, 'SELECT'))
SELECT rule, object, what, fix FROM finding ORDER BY rule, object, what;
