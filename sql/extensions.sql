-- The extensions of the schema, out of the tenants' sight: app may not look into their schemas.
-- One that is there already stays where it is.

CREATE SCHEMA IF NOT EXISTS extensions;
CREATE SCHEMA IF NOT EXISTS partman;
REVOKE ALL ON SCHEMA extensions, partman FROM PUBLIC, app, service, probe, eav_batch;
GRANT USAGE ON SCHEMA extensions TO eav_owner, pg_monitor;

CREATE EXTENSION IF NOT EXISTS pgcrypto SCHEMA extensions;
CREATE EXTENSION IF NOT EXISTS btree_gin SCHEMA extensions;
-- Counts only where shared_preload_libraries names it.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA extensions;

-- Debian: postgresql-NN-partman.
CREATE EXTENSION IF NOT EXISTS pg_partman SCHEMA partman;
GRANT USAGE, CREATE ON SCHEMA partman TO eav_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA partman TO eav_owner;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA partman FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA partman TO eav_owner;
