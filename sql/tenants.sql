-- One row a tenant. Tenants read their own row and nothing else; rows are written by whoever
-- runs the cluster.

CREATE TABLE IF NOT EXISTS public.tenants (
    tenant_id   bigint,
    tenant_name varchar(255) NOT NULL,
    created_at  timestamptz DEFAULT now(),
    is_active   boolean DEFAULT true,
    CONSTRAINT tenants_pkey PRIMARY KEY (tenant_id)
);

COMMENT ON TABLE public.tenants IS 'One row a tenant; row-level security shows each its own.';

ALTER TABLE public.tenants OWNER TO eav_owner;
ALTER TABLE public.tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.tenants FORCE ROW LEVEL SECURITY;

DROP POLICY IF EXISTS tenant_isolation ON public.tenants;
CREATE POLICY tenant_isolation ON public.tenants
    USING (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint);

-- PgUsher's directory query: SELECT tenant_id, is_active FROM tenants.
DROP POLICY IF EXISTS directory ON public.tenants;
CREATE POLICY directory ON public.tenants FOR SELECT TO probe USING (true);

REVOKE ALL ON public.tenants FROM PUBLIC, app, service, probe, eav_batch;
GRANT SELECT ON public.tenants TO app;
GRANT SELECT (tenant_id, is_active) ON public.tenants TO probe;
