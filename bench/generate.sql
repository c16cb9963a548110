-- Data for the schema's benchmarks: tenants 1 to :tenants, :entities entities among them, :values
-- values over the last 90 days, the newest in the last hour. After deploy.sql, as a superuser, in
-- an empty schema; the indexes are there, so that the time is what loading costs with them:
--
--   psql -X -d eav [-v tenants=100] [-v entities=1000000] [-v values=10000000] -f bench/generate.sql
--
-- Entity e belongs to tenant 1 + e % tenants; no randomness, so that runs compare.

\set ON_ERROR_STOP on
\if :{?tenants}
\else
    \set tenants 100
\endif
\if :{?entities}
\else
    \set entities 1000000
\endif
\if :{?values}
\else
    \set values 10000000
\endif

BEGIN;

INSERT INTO public.tenants (tenant_id, tenant_name)
SELECT t, 'tenant ' || t FROM generate_series(1, :tenants) t;

INSERT INTO public.attributes (attribute_id, attribute_name, data_type, is_hot)
SELECT a, CASE a WHEN 42 THEN 'firmware' WHEN 77 THEN 'temperature' ELSE 'attribute ' || a END,
       CASE a WHEN 42 THEN 'string' ELSE 'decimal' END, a <= 20
  FROM generate_series(1, 10000) a;

-- One in ten is deleted; a new one every 90 days / entities.
INSERT INTO public.entities (entity_id, tenant_id, entity_type, created_at, updated_at, is_deleted)
SELECT e, 1 + e % :tenants,
       (ARRAY['sensor', 'gateway', 'camera', 'pump'])[1 + e / :tenants % 4], created, created,
       e / :tenants % 10 = 9
  FROM generate_series(0, :entities - 1) e,
       LATERAL (SELECT now() - interval '90 days' * (1 - (e + 1)::float8 / :entities)) c (created);

INSERT INTO public.entity_jsonb (entity_id, tenant_id, hot_attrs)
SELECT e, 1 + e % :tenants, jsonb_build_object(
           'environment', (ARRAY['production', 'production', 'staging', 'test'])[1 + n % 4],
           'status', (ARRAY['active', 'active', 'warning', 'offline', 'retired'])[1 + n % 5],
           'region', (ARRAY['us-west-2', 'us-east-1', 'eu-west-1'])[1 + n % 3],
           'category', 'category ' || n % 8,
           'priority', 1 + n % 10)
  FROM generate_series(0, :entities - 1) e, LATERAL (SELECT e / :tenants) k (n);

-- In order of time, as they would have come: every second a temperature, every tenth a firmware,
-- the others among the 10,000 attributes.
INSERT INTO public.entity_values_ts (
    entity_id, tenant_id, attribute_id, value, value_decimal, ingested_at)
SELECT e, 1 + e % :tenants,
       CASE WHEN pass % 2 = 0 THEN 77 WHEN pass % 10 = 5 THEN 42
            ELSE 100 + (v * 7919 % 9900) END,
       CASE WHEN pass % 10 = 5 THEN '2.' || v % 50 END,
       CASE WHEN pass % 10 <> 5 THEN (v * 31 % 1300) / 10.0 END,
       now() - interval '90 days' * (1 - (v + 1)::float8 / :values)
  FROM generate_series(0::bigint, :values - 1) v,
       LATERAL (SELECT v * 13 % :entities, v / greatest(:entities / 20, 1)) k (e, pass);

COMMIT;

VACUUM (ANALYZE) public.tenants, public.attributes, public.entities, public.entity_jsonb,
    public.entity_values_ts;
REFRESH MATERIALIZED VIEW public.mv_entity_attribute_stats;
ANALYZE public.mv_entity_attribute_stats;
