-- The documented example queries, as a tenant asks them: no tenant is named, row-level security
-- adds it. For PgUsher (psql -h ... -U app eav -f sql/queries.sql) or any session with a context.
-- bench/schema.sh times them.

\echo 1. hot filter: what is in production, on and urgent
SELECT e.entity_id, e.entity_type, j.hot_attrs, e.updated_at
  FROM entities e
  JOIN entity_jsonb j USING (tenant_id, entity_id)
 WHERE NOT e.is_deleted
   AND j.hot_attrs @> '{"environment": "production"}'
   AND j.hot_attrs ->> 'status' IN ('active', 'warning')
   AND (j.hot_attrs ->> 'priority')::int >= 8
 ORDER BY e.updated_at DESC
 LIMIT 100;

\echo 2. one entity with its newest firmware and temperature
SELECT e.entity_id, e.entity_type, firmware.value AS firmware,
       temperature.value_decimal AS temperature, temperature.ingested_at AS measured_at
  FROM entities e
  LEFT JOIN LATERAL (
       SELECT v.value FROM entity_values_ts v
        WHERE v.tenant_id = e.tenant_id AND v.entity_id = e.entity_id AND v.attribute_id = 42
        ORDER BY v.ingested_at DESC LIMIT 1) firmware ON true
  LEFT JOIN LATERAL (
       SELECT v.value_decimal, v.ingested_at FROM entity_values_ts v
        WHERE v.tenant_id = e.tenant_id AND v.entity_id = e.entity_id AND v.attribute_id = 77
        ORDER BY v.ingested_at DESC LIMIT 1) temperature ON true
 WHERE e.entity_id = 1001;

\echo 3. mixed: sensors of a region that ran hot within a day
SELECT e.entity_id, j.hot_attrs ->> 'region' AS region, hot.value_decimal, hot.ingested_at
  FROM entities e
  JOIN entity_jsonb j USING (tenant_id, entity_id)
 CROSS JOIN LATERAL (
       SELECT v.value_decimal, v.ingested_at FROM entity_values_ts v
        WHERE v.tenant_id = e.tenant_id AND v.entity_id = e.entity_id AND v.attribute_id = 77
          AND v.ingested_at > now() - interval '24 hours' AND v.value_decimal > 100
        ORDER BY v.value_decimal DESC LIMIT 1) hot
 WHERE e.entity_type = 'sensor'
   AND j.hot_attrs @> '{"region": "us-west-2"}'
 ORDER BY hot.value_decimal DESC
 LIMIT 50;

\echo 3b. the same from the values' side: a tenth of the work where few values match
SELECT e.entity_id, j.hot_attrs ->> 'region' AS region, hot.value_decimal, hot.ingested_at
  FROM (SELECT DISTINCT ON (v.entity_id) v.tenant_id, v.entity_id, v.value_decimal, v.ingested_at
          FROM entity_values_ts v
         WHERE v.attribute_id = 77
           AND v.ingested_at > now() - interval '24 hours' AND v.value_decimal > 100
         ORDER BY v.entity_id, v.value_decimal DESC) hot
  JOIN entities e USING (tenant_id, entity_id)
  JOIN entity_jsonb j USING (tenant_id, entity_id)
 WHERE e.entity_type = 'sensor'
   AND j.hot_attrs @> '{"region": "us-west-2"}'
 ORDER BY hot.value_decimal DESC
 LIMIT 50;

\echo 4. cold scan: averages by category over 30 days
SELECT j.hot_attrs ->> 'category' AS category, count(*) AS n, avg(v.value_decimal) AS average
  FROM entity_values_ts v
  JOIN entity_jsonb j USING (tenant_id, entity_id)
 WHERE v.ingested_at > now() - interval '30 days'
   AND v.value_decimal IS NOT NULL
 GROUP BY 1
 ORDER BY 1;

\echo 5. new entities a day, and the average of seven days, over 90 days
WITH days AS (
    SELECT date_trunc('day', created_at) AS day, count(*) AS n
      FROM entities
     WHERE created_at > now() - interval '90 days'
     GROUP BY 1)
SELECT day::date, n,
       round(avg(n) OVER (ORDER BY day ROWS BETWEEN 6 PRECEDING AND CURRENT ROW), 1) AS average_7d
  FROM days
 ORDER BY day;

\echo 6. the statistics: attributes with values in the last hour
SELECT attribute_name, distinct_entities, total_values, newest
  FROM entity_attribute_stats
 WHERE newest > now() - interval '1 hour'
 ORDER BY total_values DESC;
