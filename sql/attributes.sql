-- What can be said of an entity. The same for all tenants, so there is no tenant_id and no
-- row-level security: app reads it and writes nothing. Rows are written by the operator.

CREATE TABLE IF NOT EXISTS public.attributes (
    attribute_id     bigint,
    attribute_name   varchar(255) NOT NULL,
    data_type        varchar(50),
    is_indexed       boolean DEFAULT false,
    is_hot           boolean DEFAULT false,
    validation_regex text,
    created_at       timestamptz DEFAULT now(),
    updated_at       timestamptz DEFAULT now(),
    CONSTRAINT attributes_pkey PRIMARY KEY (attribute_id),
    CONSTRAINT attributes_data_type_check CHECK (data_type IN (
        'string', 'integer', 'decimal', 'boolean', 'date', 'timestamp', 'json'))
);

COMMENT ON TABLE public.attributes IS 'The attributes of entities; shared by all tenants.';

ALTER TABLE public.attributes OWNER TO eav_owner;

CREATE INDEX IF NOT EXISTS attributes_name_idx ON public.attributes (attribute_name);
CREATE INDEX IF NOT EXISTS attributes_hot_idx ON public.attributes (attribute_id) WHERE is_hot;

REVOKE ALL ON public.attributes FROM PUBLIC, app, service, probe, eav_batch;
GRANT SELECT ON public.attributes TO app, eav_batch;
