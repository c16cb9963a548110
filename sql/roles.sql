-- The database roles of the schema. Roles belong to the whole cluster, so they may exist already;
-- whatever they were allowed before, afterwards they are allowed no more than sql/ says.
--
--   eav_owner  owns tables and functions and never logs in. SECURITY DEFINER functions that
--              tenants call run as it, and FORCE ROW LEVEL SECURITY holds for it too.
--   eav_batch  what the work on all tenants runs as: stage_flush, the materialized view. It
--              never logs in and nobody is a member, so only its own functions act as it. It is
--              a role apart because a policy that lets the owner past would let every
--              SECURITY DEFINER function past, and BYPASSRLS would hold for all tables.
--   app        what PgUsher logs in as for tenants. It owns nothing.
--   service    background jobs: may call those functions, and nothing else.
--   probe      PgUsher's heartbeat and tenant directory, and nothing else.
--
-- Passwords are set by whoever runs the cluster (\password app), never here.

CREATE TEMP TABLE pgusher_roles ON COMMIT DROP AS
SELECT * FROM (VALUES ('eav_owner', 'NOLOGIN'), ('eav_batch', 'NOLOGIN'), ('app', 'LOGIN'),
                      ('service', 'LOGIN'), ('probe', 'LOGIN')) AS r (name, login);

SELECT format('CREATE ROLE %I', name) FROM pgusher_roles
 WHERE name NOT IN (SELECT rolname FROM pg_catalog.pg_roles) \gexec
SELECT format('ALTER ROLE %I %s NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION'
              ' NOINHERIT', name, login) FROM pgusher_roles \gexec

-- A membership would let a role SET ROLE to something stronger (isolation row 5), and a member
-- of one of ours act as it.
SELECT format('REVOKE %s FROM %s', m.roleid::regrole, m.member::regrole)
  FROM pg_catalog.pg_auth_members m
  JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
  JOIN pg_catalog.pg_roles b ON b.oid = m.member
 WHERE b.rolname IN (SELECT name FROM pgusher_roles)
    OR (r.rolname IN (SELECT name FROM pgusher_roles) AND NOT b.rolsuper) \gexec

-- Nor may a setting stored with the role stand in for a context (isolation row 1).
SELECT format('ALTER ROLE %I RESET ALL', name) FROM pgusher_roles \gexec
SELECT format('ALTER ROLE %I IN DATABASE %I RESET ALL', name, current_database())
  FROM pgusher_roles \gexec

-- Nobody but the owner creates anything where search_path looks (isolation row 5).
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM app, service, probe, eav_batch;
GRANT USAGE, CREATE ON SCHEMA public TO eav_owner;
GRANT USAGE ON SCHEMA public TO app, service, probe, eav_batch;
-- hardening.sql takes TEMP from PUBLIC; REFRESH ... CONCURRENTLY needs it.
SELECT format('GRANT TEMP ON DATABASE %I TO eav_batch', current_database()) \gexec
