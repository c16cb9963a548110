-- The hot projection: an entity's most queried attributes as one jsonb, HASH partitions,
-- :jsonb_partitions of them.

CREATE TABLE IF NOT EXISTS public.entity_jsonb (
    entity_id  bigint,
    tenant_id  bigint,
    hot_attrs  jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT entity_jsonb_pkey PRIMARY KEY (entity_id, tenant_id)
) PARTITION BY HASH (entity_id);

COMMENT ON TABLE public.entity_jsonb IS
    'Hot attributes of the entities of all tenants, one jsonb a row.';

ALTER TABLE public.entity_jsonb OWNER TO eav_owner;

-- As in entities.sql: a partitioned table itself takes no settings of autovacuum.
SELECT format($sql$
    CREATE TABLE IF NOT EXISTS public.%1$I PARTITION OF public.entity_jsonb
        FOR VALUES WITH (MODULUS %3$s, REMAINDER %2$s)
        WITH (autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0.01,
              autovacuum_vacuum_cost_delay = 2);
    ALTER TABLE public.%1$I OWNER TO eav_owner;
    ALTER TABLE public.%1$I ENABLE ROW LEVEL SECURITY;
    ALTER TABLE public.%1$I FORCE ROW LEVEL SECURITY;
    REVOKE ALL ON public.%1$I FROM PUBLIC, app, service, probe, eav_batch$sql$,
    'entity_jsonb_p' || lpad(n::text, 3, '0'), n, :jsonb_partitions)
  FROM generate_series(0, :jsonb_partitions - 1) AS n \gexec

CREATE INDEX IF NOT EXISTS entity_jsonb_hot_attrs_idx
    ON public.entity_jsonb USING gin (hot_attrs);
CREATE INDEX IF NOT EXISTS entity_jsonb_tenant_idx
    ON public.entity_jsonb (tenant_id);

ALTER TABLE public.entity_jsonb ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.entity_jsonb FORCE ROW LEVEL SECURITY;

DROP POLICY IF EXISTS tenant_isolation ON public.entity_jsonb;
CREATE POLICY tenant_isolation ON public.entity_jsonb
    USING (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint);

-- Merges p_delta into an entity's hot attributes; keys that it names win. The tenant must be
-- the context's (isolation row 14): eav_owner, as whom this runs, is under the policies too,
-- but a caller deserves the reason, and a later BYPASSRLS owner must not open this door.
CREATE OR REPLACE FUNCTION public.upsert_hot_attrs(
    p_tenant_id bigint, p_entity_id bigint, p_delta jsonb) RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_tenant_id IS DISTINCT FROM
           NULLIF(current_setting('app.current_tenant_id', true), '')::bigint
       OR p_tenant_id IS NULL THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'upsert_hot_attrs: p_tenant_id is not the tenant of this transaction';
    END IF;
    -- On arrays and scalars || would append where a merge was meant.
    IF jsonb_typeof(p_delta) IS DISTINCT FROM 'object' THEN
        RAISE invalid_parameter_value
            USING MESSAGE = 'upsert_hot_attrs: p_delta is not a JSON object';
    END IF;
    INSERT INTO public.entity_jsonb AS e (entity_id, tenant_id, hot_attrs, updated_at)
    VALUES (p_entity_id, p_tenant_id, p_delta, clock_timestamp())
    ON CONFLICT (entity_id, tenant_id) DO UPDATE
        SET hot_attrs = e.hot_attrs || EXCLUDED.hot_attrs, updated_at = EXCLUDED.updated_at;
END
$$;
ALTER FUNCTION public.upsert_hot_attrs(bigint, bigint, jsonb) OWNER TO eav_owner;
REVOKE ALL ON FUNCTION public.upsert_hot_attrs(bigint, bigint, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.upsert_hot_attrs(bigint, bigint, jsonb) TO app;

REVOKE ALL ON public.entity_jsonb FROM PUBLIC, app, service, probe, eav_batch;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.entity_jsonb TO app;
