-- The values of attributes over time: RANGE partitions by ingested_at, one a month, made ahead
-- by pg_partman. entity_values_maintain() is to be called daily.

CREATE TABLE IF NOT EXISTS public.entity_values_ts (
    entity_id       bigint,
    tenant_id       bigint,
    attribute_id    bigint,
    value           text,
    value_int       bigint,
    value_decimal   numeric(20,5),
    value_bool      boolean,
    value_date      date,
    value_timestamp timestamptz,
    ingested_at     timestamptz NOT NULL,
    created_at      timestamptz DEFAULT now(),
    CONSTRAINT entity_values_ts_pkey PRIMARY KEY (tenant_id, entity_id, attribute_id, ingested_at),
    -- A row beyond the months made ahead would lie in the default partition and stop
    -- pg_partman from ever making its month: one tenant's clock would stop everyone.
    CONSTRAINT entity_values_ts_not_in_future CHECK (ingested_at < now() + interval '1 day')
) PARTITION BY RANGE (ingested_at);

COMMENT ON TABLE public.entity_values_ts IS
    'Attribute values of all tenants over time, partitioned by month.';

ALTER TABLE public.entity_values_ts OWNER TO eav_owner;

CREATE INDEX IF NOT EXISTS entity_values_ts_ingested_idx
    ON public.entity_values_ts USING brin (ingested_at);
CREATE INDEX IF NOT EXISTS entity_values_ts_attribute_idx
    ON public.entity_values_ts (tenant_id, attribute_id, ingested_at);

ALTER TABLE public.entity_values_ts ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.entity_values_ts FORCE ROW LEVEL SECURITY;

DROP POLICY IF EXISTS tenant_isolation ON public.entity_values_ts;
CREATE POLICY tenant_isolation ON public.entity_values_ts
    USING (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint);
-- stage_flush writes and the materialized view reads for all tenants (roles.sql says why so).
DROP POLICY IF EXISTS batch_read ON public.entity_values_ts;
CREATE POLICY batch_read ON public.entity_values_ts FOR SELECT TO eav_batch USING (true);
DROP POLICY IF EXISTS batch_write ON public.entity_values_ts;
CREATE POLICY batch_write ON public.entity_values_ts FOR INSERT TO eav_batch WITH CHECK (true);

REVOKE ALL ON public.entity_values_ts FROM PUBLIC, app, service, probe, eav_batch;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.entity_values_ts TO app;
GRANT SELECT, INSERT ON public.entity_values_ts TO eav_batch;

-- pg_partman copies the template's autovacuum settings to each partition, but neither row-level
-- security nor, in every version, the owner. Addressed directly, a partition is not under its
-- parent's policy, so it gets row-level security without a policy, and no grant.
CREATE OR REPLACE FUNCTION public.entity_values_close_partitions() RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT i.inhrelid FROM pg_inherits i
                 WHERE i.inhparent = 'public.entity_values_ts'::regclass LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO eav_owner', part);
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY,'
                       ' SET (autovacuum_vacuum_threshold = 50000,'
                       ' autovacuum_vacuum_scale_factor = 0.1,'
                       ' autovacuum_analyze_threshold = 10000,'
                       ' autovacuum_analyze_scale_factor = 0.05)', part);
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, app, service, probe, eav_batch', part);
    END LOOP;
END
$$;
ALTER FUNCTION public.entity_values_close_partitions() OWNER TO eav_owner;
REVOKE ALL ON FUNCTION public.entity_values_close_partitions() FROM PUBLIC;

-- Makes the coming months' partitions and closes them to app. It waits for an ACCESS EXCLUSIVE
-- lock, and whoever comes behind waits with it: so one tenant's open transaction would stop all
-- others. With lock_timeout the call fails instead (pg_partman raises it as P0001) and is repeated.
CREATE OR REPLACE FUNCTION public.entity_values_make_partitions() RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '1s'
AS $$
BEGIN
    PERFORM partman.run_maintenance('public.entity_values_ts');
    PERFORM public.entity_values_close_partitions();
END
$$;
ALTER FUNCTION public.entity_values_make_partitions() OWNER TO eav_owner;
REVOKE ALL ON FUNCTION public.entity_values_make_partitions() FROM PUBLIC, app;
GRANT EXECUTE ON FUNCTION public.entity_values_make_partitions() TO service;

-- The same, for callers: pg_partman sets search_path for the session, which outlives the SET of
-- the function above, so it is put back.
CREATE OR REPLACE FUNCTION public.entity_values_maintain() RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    search_path_before text := pg_catalog.current_setting('search_path');
BEGIN
    PERFORM public.entity_values_make_partitions();
    PERFORM pg_catalog.set_config('search_path', search_path_before, false);
END
$$;
ALTER FUNCTION public.entity_values_maintain() OWNER TO eav_owner;
REVOKE ALL ON FUNCTION public.entity_values_maintain() FROM PUBLIC, app;
GRANT EXECUTE ON FUNCTION public.entity_values_maintain() TO service;

-- pg_partman 4 and 5 name types and intervals differently.
\o /dev/null
SELECT format('SELECT partman.create_parent(p_parent_table => %L, p_control => %L, p_type => %L,'
              ' p_interval => %L, p_premake => 4, p_start_partition => %L)',
              'public.entity_values_ts', 'ingested_at',
              CASE WHEN extversion LIKE '4.%' THEN 'native' ELSE 'range' END,
              CASE WHEN extversion LIKE '4.%' THEN 'monthly' ELSE '1 month' END,
              date_trunc('month', now()) - make_interval(months => :history_months))
  FROM pg_catalog.pg_extension
 WHERE extname = 'pg_partman'
   AND NOT EXISTS (SELECT FROM partman.part_config
                    WHERE parent_table = 'public.entity_values_ts') \gexec
-- By the clock, not by the newest value: those the owner, as whom it runs, does not see.
UPDATE partman.part_config SET infinite_time_partitions = true
 WHERE parent_table = 'public.entity_values_ts';
SELECT public.entity_values_close_partitions();
\o

-- The tenant's entities whose newest value of every attribute named in p_filters, within the
-- last p_recent_days, is the one wanted: {"firmware": "2.1", "priority": 8, "online": true}.
-- Runs as its caller, under the policies; the comparison says what is wrong instead of
-- finding nothing (isolation row 14).
CREATE OR REPLACE FUNCTION public.find_entities_by_attributes(
    p_tenant_id bigint, p_filters jsonb, p_recent_days integer DEFAULT 7)
    RETURNS TABLE (entity_id bigint)
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_tenant_id IS DISTINCT FROM
           NULLIF(current_setting('app.current_tenant_id', true), '')::bigint
       OR p_tenant_id IS NULL THEN
        RAISE insufficient_privilege USING MESSAGE =
            'find_entities_by_attributes: p_tenant_id is not the tenant of this transaction';
    END IF;
    IF jsonb_typeof(p_filters) IS DISTINCT FROM 'object' OR p_filters = '{}' THEN
        RAISE invalid_parameter_value USING MESSAGE =
            'find_entities_by_attributes: p_filters is not a JSON object with attributes';
    END IF;
    RETURN QUERY
    WITH newest AS (
        SELECT DISTINCT ON (v.entity_id, f.key) v.entity_id, f.value AS wanted, v.value,
               v.value_bool, v.value_date, coalesce(v.value_decimal, v.value_int) AS number
          FROM jsonb_each(p_filters) f
          JOIN public.attributes a ON a.attribute_name = f.key
          JOIN public.entity_values_ts v ON v.attribute_id = a.attribute_id
         WHERE v.tenant_id = p_tenant_id
           AND v.ingested_at >= now() - make_interval(days => p_recent_days)
         ORDER BY v.entity_id, f.key, v.ingested_at DESC)
    SELECT n.entity_id FROM newest n
     WHERE CASE jsonb_typeof(n.wanted)
               WHEN 'number' THEN n.number = n.wanted::numeric
               WHEN 'boolean' THEN n.value_bool = n.wanted::boolean
               ELSE n.wanted #>> '{}' IN (n.value, n.value_date::text)
           END
     GROUP BY n.entity_id
    HAVING count(*) = (SELECT count(*) FROM jsonb_object_keys(p_filters));
END
$$;
ALTER FUNCTION public.find_entities_by_attributes(bigint, jsonb, integer) OWNER TO eav_owner;
REVOKE ALL ON FUNCTION public.find_entities_by_attributes(bigint, jsonb, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.find_entities_by_attributes(bigint, jsonb, integer) TO app;
