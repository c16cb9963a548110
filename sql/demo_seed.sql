-- The demo's data: tenants 123 and 456, five entities each, with values of the last hours. As a
-- superuser, after deploy.sql; the same rows whenever it is run, however often, but that values are as
-- old as they were then.

\set ON_ERROR_STOP on

BEGIN;

INSERT INTO public.tenants (tenant_id, tenant_name, created_at) VALUES
    (123, 'Acme Sensors',    '2025-01-01 00:00:00+00'),
    (456, 'Globex Pipeline', '2025-01-02 00:00:00+00')
ON CONFLICT (tenant_id) DO UPDATE
    SET tenant_name = EXCLUDED.tenant_name, created_at = EXCLUDED.created_at, is_active = true;

INSERT INTO public.attributes (attribute_id, attribute_name, data_type, is_indexed, is_hot) VALUES
    (42, 'firmware',    'string',  false, false),
    (77, 'temperature', 'decimal', true,  false)
ON CONFLICT (attribute_id) DO NOTHING;

DELETE FROM public.entity_values_ts WHERE tenant_id IN (123, 456);
DELETE FROM public.entity_jsonb WHERE tenant_id IN (123, 456);
DELETE FROM public.entities WHERE tenant_id IN (123, 456);

INSERT INTO public.entities (entity_id, tenant_id, entity_type, created_at, updated_at) VALUES
    (1001, 123, 'sensor',  '2025-01-03 08:00:00+00', '2025-01-03 08:00:00+00'),
    (1002, 123, 'sensor',  '2025-01-03 08:05:00+00', '2025-01-03 08:05:00+00'),
    (1003, 123, 'gateway', '2025-01-03 08:10:00+00', '2025-01-03 08:10:00+00'),
    (1004, 123, 'sensor',  '2025-01-03 08:15:00+00', '2025-01-03 08:15:00+00'),
    (1000005, 123, 'camera', '2025-01-03 08:20:00+00', '2025-01-03 08:20:00+00'),
    (2001, 456, 'pump',    '2025-01-04 09:00:00+00', '2025-01-04 09:00:00+00'),
    (2002, 456, 'pump',    '2025-01-04 09:05:00+00', '2025-01-04 09:05:00+00'),
    (2003, 456, 'valve',   '2025-01-04 09:10:00+00', '2025-01-04 09:10:00+00'),
    (2004, 456, 'gateway', '2025-01-04 09:15:00+00', '2025-01-04 09:15:00+00'),
    (1002005, 456, 'pump', '2025-01-04 09:20:00+00', '2025-01-04 09:20:00+00');

INSERT INTO public.entity_jsonb (entity_id, tenant_id, hot_attrs, updated_at)
SELECT v.entity_id, e.tenant_id, v.hot_attrs::jsonb, e.updated_at
  FROM (VALUES
    (1001,
     '{"environment": "production", "status": "active", "priority": 9, "region": "us-west-2"}'),
    (1002,
     '{"environment": "production", "status": "warning", "priority": 8, "region": "us-west-2"}'),
    (1003,
     '{"environment": "staging", "status": "active", "priority": 5, "region": "us-east-1"}'),
    (1004,
     '{"environment": "production", "status": "offline", "priority": 3, "region": "eu-west-1"}'),
    (1000005,
     '{"environment": "production", "status": "active", "priority": 10, "region": "us-west-2"}'),
    (2001,
     '{"environment": "production", "status": "active", "priority": 10, "region": "eu-west-1"}'),
    (2002,
     '{"environment": "production", "status": "active", "priority": 7, "region": "eu-west-1"}'),
    (2003,
     '{"environment": "test", "status": "warning", "priority": 8, "region": "eu-central-1"}'),
    (2004,
     '{"environment": "production", "status": "warning", "priority": 9, "region": "eu-central-1"}'),
    (1002005,
     '{"environment": "staging", "status": "active", "priority": 2, "region": "eu-west-1"}')
  ) AS v (entity_id, hot_attrs)
  JOIN public.entities e USING (entity_id);

INSERT INTO public.entity_values_ts (
    entity_id, tenant_id, attribute_id, value, value_decimal, ingested_at)
SELECT e.entity_id, e.tenant_id, 42, '2.' || n, NULL, now() - n * interval '1 hour'
  FROM public.entities e, generate_series(0, 2) n WHERE e.tenant_id IN (123, 456)
UNION ALL
SELECT e.entity_id, e.tenant_id, 77, NULL, e.entity_id % 10 * 12 + n, now() - n * interval '1 hour'
  FROM public.entities e, generate_series(0, 5) n WHERE e.tenant_id IN (123, 456);

REFRESH MATERIALIZED VIEW public.mv_entity_attribute_stats;

COMMIT;
