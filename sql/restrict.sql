-- Included with :policy (a name) and :tenant (an expression): every table that has a policy
-- tenant_isolation also gets this restrictive one, which compares tenant_id with the expression.
--
-- Why a second comparison: the planner merges tenant_isolation's with those of the query. From
-- "x = other.y AND x = tenant_id" it may conclude that comparing the setting with x once and each
-- row with x is enough. Where x is current_setting() of something that the query itself changes
-- as it runs, a tenant reads all rows so (measured on PostgreSQL 15: docs/tenancy.md). Wrapped,
-- this comparison stays out of that; the bare one stays for the indexes. The SELECT makes it once
-- a query (an InitPlan).
--
-- Why in NULLIF(..., false) IS NOT NULL, which is true where the comparison is, and false where
-- that is false or NULL: the planner takes 199 of 200 rows to pass it. (...) IS TRUE is as safe,
-- but counts as one more filter on the tenant, independent of the first, and tables of 100 tenants
-- seem 100 times smaller than they are: query 1 took 72 ms instead of 18 (docs/schema.md).
--
-- Roles that have a policy of their own on the table (batch work of all tenants) are not meant.

SELECT format($sql$
    DROP POLICY IF EXISTS %2$I ON %1$s;
    CREATE POLICY %2$I ON %1$s AS RESTRICTIVE
        USING (NULLIF(tenant_id = (SELECT %3$s), false) IS NOT NULL%4$s)
        WITH CHECK (NULLIF(tenant_id = (SELECT %3$s), false) IS NOT NULL%4$s)$sql$,
    p.polrelid::regclass, :'policy', :'tenant', own.exempt)
  FROM pg_catalog.pg_policy p
 CROSS JOIN LATERAL (
       SELECT coalesce(string_agg(DISTINCT format(' OR current_user = %L', r.rolname), ''), '')
                  AS exempt
         FROM pg_catalog.pg_policy o
         JOIN pg_catalog.pg_roles r ON r.oid = ANY (o.polroles)
        WHERE o.polrelid = p.polrelid AND o.polpermissive AND o.polname <> p.polname) AS own
 WHERE p.polname = 'tenant_isolation' \gexec
