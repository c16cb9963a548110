-- The two database roles of the schema. Roles belong to the whole cluster, so they may exist
-- already; whatever they were allowed before, afterwards they are allowed no more than this.
--
--   eav_owner  owns tables and functions and never logs in. SECURITY DEFINER functions run as
--              it, and FORCE ROW LEVEL SECURITY holds for it too.
--   app        what PgUsher logs in as for tenants. It owns nothing. Its password is set by
--              whoever runs the cluster (\password app), never here.

SELECT 'CREATE ROLE eav_owner'
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'eav_owner') \gexec
SELECT 'CREATE ROLE app'
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'app') \gexec

ALTER ROLE eav_owner
    NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION NOINHERIT;
ALTER ROLE app
    LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION NOINHERIT;

-- A membership would let app SET ROLE to something stronger (isolation row 5).
SELECT format('REVOKE %I FROM app', r.rolname)
  FROM pg_catalog.pg_auth_members m
  JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
  JOIN pg_catalog.pg_roles a ON a.oid = m.member
 WHERE a.rolname = 'app' \gexec

-- Nor may a setting stored with the role stand in for a context (isolation row 1).
ALTER ROLE app RESET ALL;
SELECT format('ALTER ROLE app IN DATABASE %I RESET ALL', current_database()) \gexec

-- Nobody but the owner creates anything where search_path looks (isolation row 5); temporary
-- tables stay possible, PgUsher pins and scrubs those (row 6).
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM app;
GRANT USAGE, CREATE ON SCHEMA public TO eav_owner;
GRANT USAGE ON SCHEMA public TO app;
