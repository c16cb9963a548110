-- Statistics of each tenant's attributes, refreshed hourly. Row-level security does not apply
-- to a materialized view (isolation row 15), so app may not touch it: it reads
-- entity_attribute_stats, a view that shows the tenant its own rows.

CREATE MATERIALIZED VIEW IF NOT EXISTS public.mv_entity_attribute_stats AS
SELECT v.tenant_id, v.attribute_id, a.attribute_name,
       count(DISTINCT v.entity_id) AS distinct_entities,
       count(*) AS total_values,
       min(v.ingested_at) AS oldest,
       max(v.ingested_at) AS newest
  FROM public.entity_values_ts v
  JOIN public.attributes a ON a.attribute_id = v.attribute_id
 GROUP BY v.tenant_id, v.attribute_id, a.attribute_name;

COMMENT ON MATERIALIZED VIEW public.mv_entity_attribute_stats IS
    'All tenants'' statistics; tenants read entity_attribute_stats.';

-- REFRESH ... CONCURRENTLY needs a unique index.
CREATE UNIQUE INDEX IF NOT EXISTS mv_entity_attribute_stats_key
    ON public.mv_entity_attribute_stats (tenant_id, attribute_id);
CREATE INDEX IF NOT EXISTS mv_entity_attribute_stats_tenant_idx
    ON public.mv_entity_attribute_stats (tenant_id);

-- A refresh runs as the owner, which therefore must see all tenants.
ALTER MATERIALIZED VIEW public.mv_entity_attribute_stats OWNER TO eav_batch;
REVOKE ALL ON public.mv_entity_attribute_stats FROM PUBLIC, app, service, probe;

-- security_barrier: no function of the caller's sees a row before the tenant is compared. IS TRUE:
-- the planner may put a query's own comparison in the place of a bare one, which is for the index.
CREATE OR REPLACE VIEW public.entity_attribute_stats WITH (security_barrier) AS
SELECT * FROM public.mv_entity_attribute_stats
 WHERE tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint
   AND (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint) IS TRUE;
ALTER VIEW public.entity_attribute_stats OWNER TO eav_batch;
REVOKE ALL ON public.entity_attribute_stats FROM PUBLIC, app, service, probe;
GRANT SELECT ON public.entity_attribute_stats TO app;

-- Brings the statistics up to date without stopping who reads them.
CREATE OR REPLACE FUNCTION public.refresh_entity_attribute_stats() RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    REFRESH MATERIALIZED VIEW CONCURRENTLY public.mv_entity_attribute_stats;
END
$$;
ALTER FUNCTION public.refresh_entity_attribute_stats() OWNER TO eav_batch;
REVOKE ALL ON FUNCTION public.refresh_entity_attribute_stats() FROM PUBLIC, app;
GRANT EXECUTE ON FUNCTION public.refresh_entity_attribute_stats() TO service;
