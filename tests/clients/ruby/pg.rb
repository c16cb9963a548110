# ruby-pg, without a pool: a connection of the program's own, which names the tenant.

require "pg"
require_relative "checks"

# docs: begin
def login
  PG.connect(password: fetch_token(TENANT_A))
end

def with_tenant(conn, tenant)
  conn.transaction do
    conn.exec("SET LOCAL usher.token = #{conn.escape_literal(fetch_token(tenant))}")
    yield conn
  end
end
# docs: end

def bodies(conn)
  conn.exec("SELECT body FROM note ORDER BY id").column_values(0)
end

def check_login(conn)
  equal(conn.exec("SELECT current_user").getvalue(0, 0), ENV.fetch("PGUSER"))
  ok("login", refused(PG::ConnectionBad) { PG.connect(password: "no.token.this") })
end

def check_tenants(conn)
  [TENANT_A, TENANT_B].each do |tenant|
    with_tenant(conn, tenant) do
      conn.exec_params("INSERT INTO note (body) VALUES ($1), ($2)", ["#{tenant}: 0", "gone"])
      conn.exec_params("UPDATE note SET body = body || '!' WHERE body <> $1", ["gone"])
      equal(conn.exec("DELETE FROM note WHERE body = 'gone'").cmd_tuples, 1)
      equal(bodies(conn), ["#{tenant}: 0!"])
    end
  end
  message = refused(PG::InsufficientPrivilege) do
    with_tenant(conn, TENANT_B) do
      conn.exec_params("INSERT INTO note (tenant_id, body) VALUES ($1, 'spoof')", [TENANT_A])
    end
  end
  ok("tenants", message)
end

def check_renewal
  renewed, left = Array.new(2) { PG.connect(password: fetch_token(TENANT_A, BRIEF_S)) }
  sleep(BRIEF_S + 1)
  renewed.exec("SET usher.token = '#{fetch_token(TENANT_A)}'")
  equal(bodies(renewed).size, 1)
  ok("renewal", refused(PG::Error) { bodies(left) })
end

def check_prepared(conn)
  conn.prepare("count", "SELECT count(*) FROM note WHERE id > $1")
  20.times do
    with_tenant(conn, TENANT_A) { equal(conn.exec_prepared("count", [0]).getvalue(0, 0), "1") }
  end
  equal(conn.describe_prepared("count").nfields, 1)
  conn.exec("DEALLOCATE count")
  ok("prepared", "prepare, describe_prepared, DEALLOCATE")
end

def check_savepoint(conn)
  with_tenant(conn, TENANT_A) do
    conn.exec("INSERT INTO note (body) VALUES ('kept')")
    conn.exec("SAVEPOINT here")
    refused(PG::NotNullViolation) { conn.exec("INSERT INTO note (body) VALUES (NULL)") }
    conn.exec("ROLLBACK TO here")
    equal(bodies(conn).last, "kept")
  end
  ok("savepoint", "SAVEPOINT, ROLLBACK TO")
end

def check_batch(conn)
  with_tenant(conn, TENANT_B) do
    conn.enter_pipeline_mode
    100.times { |n| conn.send_query_params("INSERT INTO note (body) VALUES ($1)", ["many #{n}"]) }
    conn.pipeline_sync
    # Each result is followed by a nil; the last is of the Sync.
    results = 100.times.map { conn.get_result.tap { conn.get_result } }
    equal(results.sum(&:cmd_tuples), 100)
    equal(conn.get_result.result_status, PG::PGRES_PIPELINE_SYNC)
    conn.exit_pipeline_mode
  end
  ok("batch", "pipeline mode")
end

def check_copy(conn)
  conn.copy_data("COPY import FROM STDIN") do
    1000.times { |n| conn.put_copy_data("#{n}\trow #{n}\n") }
  end
  lines = 0
  conn.copy_data("COPY (SELECT * FROM import) TO STDOUT") do
    lines += 1 while conn.get_copy_data
  end
  equal(lines, 1000)
  ok("copy", "copy_data in and out")
end

def check_cancel(conn)
  conn.send_query("SELECT pg_sleep(60)")
  sleep(0.3)
  conn.cancel
  ok("cancel", refused(PG::QueryCanceled) { conn.get_last_result })
end

def check_restart(conn)
  before = with_tenant(conn, TENANT_A) { bodies(conn) }
  ask("restart")
  # `reset` would log in with the old token again.
  refused(PG::Error) { conn.exec("SELECT 1") }
  conn.close
  conn = login
  equal(with_tenant(conn, TENANT_A) { bodies(conn) }, before)
  ok("restart", "a new connection after the error")
  conn
end

def check_source(conn)
  port = conn.exec("SELECT inet_server_port()").getvalue(0, 0)
  node = ask("node", port)
  equal(conn.exec("SHOW usher.data_source").getvalue(0, 0), node)
  equal(conn.parameter_status("usher.data_source"), node)
  ok("source", "#{node}, by SHOW and parameter_status")
end

conn = login
check_login(conn)
check_tenants(conn)
check_renewal
check_prepared(conn)
check_savepoint(conn)
check_batch(conn)
check_copy(conn)
check_cancel(conn)
check_source(check_restart(conn))
