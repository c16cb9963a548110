-- The signed context: a tenant setting counts only with PgUsher's proof beside it. After
-- deploy.sql (or by it, with -v signed=1), as a superuser, in one transaction; safe to repeat, and
-- to be repeated when a table gets a policy tenant_isolation:
--
--   psql -X -1 -d eav [-v owner=eav_owner] [-v app_role=app] -f sql/signed.sql
--   psql -X -d eav -v key_file=/etc/pgusher/proof.key -f sql/signed_key.sql
--
-- owner: the role that the keys will be of; the schema pgusher's, where that is there already, else
-- eav_owner. app_role: the one that tenants log in as.
--
-- From then on only PgUsher with [context] mode = signed and that key sees rows. unsigned.sql
-- takes it back.
--
-- The proof is HMAC-SHA256(key, 'pgusher proof 1|ROLE|PID|TENANT') in lower-case hex: the role
-- that logged in, this backend's process id and the tenant. Whoever reads a proof has one for a
-- tenant whose transaction he is in, good on that one backend: it gives him what he has.

\set ON_ERROR_STOP on
SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, pg_temp;

\if :{?owner}
\else
    SELECT coalesce((SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'pgusher'),
                    'eav_owner') AS owner \gset
\endif
\if :{?app_role}
\else
    \set app_role app
\endif
SELECT set_config('pgusher.owner', :'owner', true), set_config('pgusher.app_role', :'app_role', true)
\g /dev/null
DO $$
DECLARE
    given text;
BEGIN
    FOREACH given IN ARRAY ARRAY['owner', 'app_role'] LOOP
        PERFORM FROM pg_roles WHERE rolname = current_setting('pgusher.' || given);
        IF NOT FOUND THEN
            RAISE undefined_object USING
                MESSAGE = format('signed.sql: there is no role "%s"',
                                 current_setting('pgusher.' || given)),
                HINT = format('Name one with -v %s=ROLE, or run roles.sql before.', given);
        END IF;
    END LOOP;
    IF current_setting('pgusher.owner') = current_setting('pgusher.app_role') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'signed.sql: the tenants'' role cannot own the keys',
            HINT = 'Name another owner with -v owner=ROLE.';
    END IF;
END $$;

CREATE SCHEMA IF NOT EXISTS pgusher;
ALTER SCHEMA pgusher OWNER TO :"owner";
REVOKE ALL ON SCHEMA pgusher FROM PUBLIC, :"app_role";

-- A key is kept as what HMAC makes of it (RFC 2104: the key, padded, xor 0x36 and 0x5c), which
-- spares each query that work and is as secret as the key.
CREATE TABLE IF NOT EXISTS pgusher.proof_keys (
    key_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    inner_pad   bytea NOT NULL UNIQUE CHECK (length(inner_pad) = 64),
    outer_pad   bytea NOT NULL CHECK (length(outer_pad) = 64),
    added_at    timestamptz NOT NULL DEFAULT now(),
    valid_until timestamptz NOT NULL DEFAULT 'infinity'
);
COMMENT ON TABLE pgusher.proof_keys IS
    'The keys of tenant proofs: secrets, for their owner only. They are in dumps of the database.';
ALTER TABLE pgusher.proof_keys OWNER TO :"owner";
REVOKE ALL ON pgusher.proof_keys FROM PUBLIC, :"app_role";

-- The tenant of the context, if it is proven; else NULL, whatever is wrong. Never an error, so a
-- wrong proof looks like no context.
--
-- PL/pgSQL, whose plans stay: as an SQL function it was planned anew in each query (5 to 10 times
-- the cost). Built-in sha256 with ready pads is no slower than pgcrypto's hmac. PARALLEL
-- RESTRICTED: a parallel worker has another process id. Keys expire by the transaction's begin, so
-- that one under way ends as it began. Both sides are hashed once more before they are compared:
-- what the time of that comparison could tell is about a hash of the proof, not the proof.
CREATE OR REPLACE FUNCTION pgusher.proven_tenant_id() RETURNS bigint
    LANGUAGE plpgsql
    STABLE PARALLEL RESTRICTED
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tenant  text  := current_setting('app.current_tenant_id', true);
    proof   bytea := sha256(convert_to(current_setting('app.tenant_proof', true), 'UTF8'));
    message bytea := convert_to('pgusher proof 1|' || session_user || '|' || pg_backend_pid()
                                || '|' || tenant, 'UTF8');
BEGIN
    PERFORM FROM pgusher.proof_keys
      WHERE valid_until > now()
        AND sha256(convert_to(encode(sha256(outer_pad || sha256(inner_pad || message)), 'hex'),
                              'UTF8')) = proof;
    IF FOUND THEN
        RETURN tenant::bigint;
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION pgusher.proven_tenant_id() OWNER TO :"owner";
-- Policies call it as who queries. It tells nobody more than he has proven.
GRANT EXECUTE ON FUNCTION pgusher.proven_tenant_id() TO PUBLIC;

-- Adds a key (hex or base64, as in PgUsher's proof_key_file), or makes an old one valid again;
-- is_only: and expires all others.
CREATE OR REPLACE FUNCTION pgusher.proof_key_add(key_text text, is_only boolean DEFAULT false)
    RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    word text := btrim(key_text, E' \t\r\n');
    secret bytea;
    inner_key bytea;
    outer_key bytea;
    id bigint;
BEGIN
    IF word ~ '^([0-9A-Fa-f]{2})+$' THEN
        secret := decode(word, 'hex');
    ELSIF word ~ '^[0-9A-Za-z+/_-]+=*$' THEN
        word := rtrim(translate(word, '-_', '+/'), '=');
        secret := decode(rpad(word, (length(word) + 3) / 4 * 4, '='), 'base64');
    END IF;
    IF secret IS NULL OR length(secret) < 32 THEN
        RAISE invalid_parameter_value
            USING MESSAGE = 'the key is not hex or base64 of at least 32 bytes';
    END IF;
    IF length(secret) > 64 THEN
        secret := sha256(secret);
    END IF;
    secret := secret || decode(repeat('00', 64 - length(secret)), 'hex');
    inner_key := secret;
    outer_key := secret;
    FOR i IN 0..63 LOOP
        inner_key := set_byte(inner_key, i, get_byte(secret, i) # 54);
        outer_key := set_byte(outer_key, i, get_byte(secret, i) # 92);
    END LOOP;

    LOCK TABLE pgusher.proof_keys IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO pgusher.proof_keys AS k (inner_pad, outer_pad) VALUES (inner_key, outer_key)
        ON CONFLICT (inner_pad) DO UPDATE SET valid_until = 'infinity'
        RETURNING k.key_id INTO id;
    IF is_only THEN
        UPDATE pgusher.proof_keys k SET valid_until = now()
         WHERE k.key_id <> id AND valid_until > now();
    END IF;
    DELETE FROM pgusher.proof_keys WHERE valid_until < now() - interval '1 day';
    IF (SELECT count(*) FROM pgusher.proof_keys WHERE valid_until > now()) > 2 THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'two other proof keys are valid already',
                  HINT = 'Expire one first: sql/signed_key.sql with -v only=1 and the key to keep.';
    END IF;
    RETURN id;
END
$$;
ALTER FUNCTION pgusher.proof_key_add(text, boolean) OWNER TO :"owner";
REVOKE ALL ON FUNCTION pgusher.proof_key_add(text, boolean) FROM PUBLIC, :"app_role";

-- The row must be the tenant's that was proven, not of whatever the setting says by then: SQL may
-- change the setting between the proof and the row.
\set policy tenant_proof
\set tenant 'pgusher.proven_tenant_id()'
\ir restrict.sql

-- Staging tables have no row-level security, for COPY's sake, but a row trigger tenant_isolation. It
-- knows the setting only, so what a statement has brought in is checked once more when it ends.
CREATE OR REPLACE FUNCTION pgusher.check_new_rows() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    proven bigint := pgusher.proven_tenant_id();
BEGIN
    PERFORM FROM new_rows WHERE tenant_id IS DISTINCT FROM proven;
    IF FOUND THEN
        RAISE insufficient_privilege USING MESSAGE = format(
            '%I: a row''s tenant_id is not the proven tenant of this transaction', TG_TABLE_NAME);
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION pgusher.check_new_rows() OWNER TO :"owner";
REVOKE ALL ON FUNCTION pgusher.check_new_rows() FROM PUBLIC, :"app_role";

SELECT format($sql$
    CREATE OR REPLACE TRIGGER tenant_proof AFTER INSERT ON %1$s REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION pgusher.check_new_rows();
    ALTER TABLE %1$s ENABLE ALWAYS TRIGGER tenant_proof$sql$, tgrelid::regclass)
  FROM pg_catalog.pg_trigger WHERE tgname = 'tenant_isolation' AND NOT tgisinternal \gexec

-- Views that compare with the setting: their rows must be the proven tenant's, too.
SELECT format('CREATE OR REPLACE VIEW %s WITH (security_barrier) AS SELECT v.* FROM (%s) AS v'
              ' WHERE (v.tenant_id = (SELECT pgusher.proven_tenant_id())) IS TRUE',
              oid::regclass, rtrim(pg_get_viewdef(oid), ';'))
  FROM pg_catalog.pg_class
 WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace
   AND pg_get_viewdef(oid) LIKE '%app.current_tenant_id%'
   AND pg_get_viewdef(oid) NOT LIKE '%proven_tenant_id%' \gexec
