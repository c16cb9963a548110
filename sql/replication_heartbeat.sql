-- What PgUsher measures lag by: one row a source; at each beat id is drawn anew from its
-- sequence and timestamp is clock_timestamp(). The role probe may do that and nothing else.

CREATE TABLE IF NOT EXISTS public.replication_heartbeat (
    id          serial,
    "timestamp" timestamptz DEFAULT now(),
    source      varchar(50) NOT NULL,
    CONSTRAINT replication_heartbeat_pkey PRIMARY KEY (id),
    CONSTRAINT replication_heartbeat_source_key UNIQUE (source)
);

COMMENT ON TABLE public.replication_heartbeat IS 'PgUsher''s heartbeats, one row a source.';

ALTER TABLE public.replication_heartbeat OWNER TO eav_owner;

REVOKE ALL ON public.replication_heartbeat FROM PUBLIC, app, service, probe, eav_batch;
REVOKE ALL ON SEQUENCE public.replication_heartbeat_id_seq
    FROM PUBLIC, app, service, probe, eav_batch;
GRANT SELECT, INSERT, UPDATE ON public.replication_heartbeat TO probe;
GRANT USAGE ON SEQUENCE public.replication_heartbeat_id_seq TO probe;
