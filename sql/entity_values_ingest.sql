-- The staging table: tenants COPY values into it, stage_flush moves them to entity_values_ts.
--
-- PostgreSQL refuses COPY FROM on a table with row-level security, so this one has none. What
-- holds instead (isolation row 15): app may INSERT and do nothing else, not even read, and a
-- trigger refuses rows of another tenant. Its WHEN clause decides, so that a row that is right
-- costs no function call. UNLOGGED: a crash of the server empties it.

CREATE UNLOGGED TABLE IF NOT EXISTS public.entity_values_ingest (
    entity_id       bigint NOT NULL,
    tenant_id       bigint NOT NULL,
    attribute_id    bigint NOT NULL,
    value           text,
    value_int       bigint,
    value_decimal   numeric(20,5),
    value_bool      boolean,
    value_date      date,
    value_timestamp timestamptz,
    -- now() would be the same for all rows of a COPY, and two values of one attribute the same.
    ingested_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at      timestamptz DEFAULT now(),
    -- What the target refuses must be refused here, or one row would stop everybody's flush.
    CONSTRAINT entity_values_ingest_not_in_future
        CHECK (ingested_at < now() + interval '1 day')
) WITH (autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0.05,
        autovacuum_vacuum_cost_delay = 0);

COMMENT ON TABLE public.entity_values_ingest IS
    'Values on their way to entity_values_ts: COPY in, stage_flush out.';

ALTER TABLE public.entity_values_ingest OWNER TO eav_owner;

CREATE OR REPLACE FUNCTION public.entity_values_ingest_refuse() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE =
        'entity_values_ingest: tenant_id is not the tenant of this transaction';
END
$$;
ALTER FUNCTION public.entity_values_ingest_refuse() OWNER TO eav_owner;
REVOKE ALL ON FUNCTION public.entity_values_ingest_refuse() FROM PUBLIC;

CREATE OR REPLACE TRIGGER tenant_isolation
    BEFORE INSERT ON public.entity_values_ingest FOR EACH ROW
    WHEN (NEW.tenant_id IS DISTINCT FROM
          NULLIF(current_setting('app.current_tenant_id', true), '')::bigint)
    EXECUTE FUNCTION public.entity_values_ingest_refuse();
-- ALWAYS: session_replication_role does not switch it off.
ALTER TABLE public.entity_values_ingest ENABLE ALWAYS TRIGGER tenant_isolation;

REVOKE ALL ON public.entity_values_ingest FROM PUBLIC, app, service, probe, eav_batch;
GRANT INSERT ON public.entity_values_ingest TO app;
-- UPDATE is what FOR UPDATE asks for.
GRANT SELECT, UPDATE, DELETE ON public.entity_values_ingest TO eav_batch;

-- Moves up to p_limit rows, oldest first, of one tenant or, with NULL, of all. One statement takes
-- a row out and puts it in. Two rows with the same key are one value delivered twice, and the first
-- stays.
CREATE OR REPLACE FUNCTION public.stage_move(p_limit integer, p_tenant_id bigint) RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    moved integer;
BEGIN
    WITH taken AS (
        DELETE FROM public.entity_values_ingest
         WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM public.entity_values_ingest
              WHERE p_tenant_id IS NULL OR tenant_id = p_tenant_id
              ORDER BY ingested_at LIMIT p_limit FOR UPDATE SKIP LOCKED))
        RETURNING *
    ), put AS (
        INSERT INTO public.entity_values_ts (
            entity_id, tenant_id, attribute_id, value, value_int, value_decimal, value_bool,
            value_date, value_timestamp, ingested_at, created_at)
        SELECT entity_id, tenant_id, attribute_id, value, value_int, value_decimal, value_bool,
               value_date, value_timestamp, ingested_at, created_at
          FROM taken
         ORDER BY ingested_at
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) INTO moved FROM taken;
    RETURN moved;
END
$$;
ALTER FUNCTION public.stage_move(integer, bigint) OWNER TO eav_batch;
REVOKE ALL ON FUNCTION public.stage_move(integer, bigint) FROM PUBLIC, app;

-- Moves up to p_limit rows of all tenants; returns how many it took. To be called again and again
-- (every 100 ms), by as many callers as one likes: each row is locked by one of them.
--
-- A tenant's open transaction that has put a value of its own beside a staged one with the same
-- key makes the insert wait for it. Nobody else must wait with it: after lock_timeout the tenants
-- are gone through one by one, and those whose rows still wait are left for the next call.
CREATE OR REPLACE FUNCTION public.stage_flush(p_limit integer DEFAULT 50000) RETURNS integer
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '200ms'
AS $$
DECLARE
    moved integer := 0;
    tenant bigint;
BEGIN
    IF p_limit IS NULL OR p_limit < 1 THEN
        RAISE invalid_parameter_value
            USING MESSAGE = 'stage_flush: p_limit is not a positive number';
    END IF;
    -- For the caller's transaction: as a SET of the function it would end before the commit.
    PERFORM set_config('synchronous_commit', 'off', true);
    BEGIN
        RETURN public.stage_move(p_limit, NULL);
    EXCEPTION WHEN lock_not_available THEN
        NULL;
    END;
    FOR tenant IN SELECT DISTINCT i.tenant_id FROM public.entity_values_ingest i LOOP
        EXIT WHEN moved >= p_limit;
        BEGIN
            moved := moved + public.stage_move(p_limit - moved, tenant);
        EXCEPTION WHEN lock_not_available THEN
            RAISE NOTICE 'stage_flush: tenant % waits for its own open transaction', tenant;
        END;
    END LOOP;
    RETURN moved;
END
$$;
ALTER FUNCTION public.stage_flush(integer) OWNER TO eav_batch;
REVOKE ALL ON FUNCTION public.stage_flush(integer) FROM PUBLIC, app;
GRANT EXECUTE ON FUNCTION public.stage_flush(integer) TO service;
