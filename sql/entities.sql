-- The entities: RANGE partitions of one million entity ids each, :entity_partitions of them.

CREATE TABLE IF NOT EXISTS public.entities (
    entity_id   bigint,
    tenant_id   bigint,
    entity_type varchar(100),
    created_at  timestamptz DEFAULT now(),
    updated_at  timestamptz DEFAULT now(),
    is_deleted  boolean DEFAULT false,
    version     integer DEFAULT 1,
    CONSTRAINT entities_pkey PRIMARY KEY (entity_id, tenant_id)
) PARTITION BY RANGE (entity_id);

COMMENT ON TABLE public.entities IS
    'Entities of all tenants, partitioned by entity_id, a million ids a partition.';

ALTER TABLE public.entities OWNER TO eav_owner;

-- Settings of autovacuum go on each partition: a partitioned table itself takes none.
SELECT format($sql$
    CREATE TABLE IF NOT EXISTS public.%1$I PARTITION OF public.entities
        FOR VALUES FROM (%2$s) TO (%3$s)
        WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.05,
              autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0.05);
    ALTER TABLE public.%1$I OWNER TO eav_owner;
    ALTER TABLE public.%1$I ENABLE ROW LEVEL SECURITY;
    ALTER TABLE public.%1$I FORCE ROW LEVEL SECURITY;
    REVOKE ALL ON public.%1$I FROM PUBLIC, app, service, probe, eav_batch$sql$,
    'entities_p' || lpad(n::text, 3, '0'), n * 1000000::bigint, (n + 1) * 1000000::bigint)
  FROM generate_series(0, :entity_partitions - 1) AS n \gexec

CREATE INDEX IF NOT EXISTS entities_tenant_entity_idx
    ON public.entities (tenant_id, entity_id);
CREATE INDEX IF NOT EXISTS entities_type_tenant_idx
    ON public.entities (entity_type, tenant_id);
CREATE INDEX IF NOT EXISTS entities_updated_idx
    ON public.entities (updated_at) WHERE NOT is_deleted;

CREATE OR REPLACE FUNCTION public.entities_set_updated_at() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    NEW.updated_at := pg_catalog.clock_timestamp();
    RETURN NEW;
END
$$;
ALTER FUNCTION public.entities_set_updated_at() OWNER TO eav_owner;
REVOKE ALL ON FUNCTION public.entities_set_updated_at() FROM PUBLIC;

CREATE OR REPLACE TRIGGER entities_set_updated_at
    BEFORE UPDATE ON public.entities
    FOR EACH ROW EXECUTE FUNCTION public.entities_set_updated_at();

ALTER TABLE public.entities ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.entities FORCE ROW LEVEL SECURITY;

DROP POLICY IF EXISTS tenant_isolation ON public.entities;
CREATE POLICY tenant_isolation ON public.entities
    USING (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint);

REVOKE ALL ON public.entities FROM PUBLIC, app, service, probe, eav_batch;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.entities TO app;
