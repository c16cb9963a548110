# ActiveRecord: an adapter that logs in with a token, and a transaction that names its tenant.

require "active_record"
require_relative "checks"

require "active_record/connection_adapters/postgresql_adapter"

# docs: begin
# In an initializer. Called for each new connection.
module TokenLogin
  def new_client(settings)
    super(settings.merge(password: fetch_token(TENANT_A)))
  end
end
ActiveRecord::ConnectionAdapters::PostgreSQLAdapter.singleton_class.prepend(TokenLogin)

class ApplicationRecord < ActiveRecord::Base
  self.abstract_class = true

  # In an around_action of the controller.
  def self.with_tenant(tenant)
    transaction do
      # A token has no quotes in it, so none are escaped.
      connection.execute("SET LOCAL usher.token = '#{fetch_token(tenant)}'")
      yield
    end
  end
end
# docs: end

class Note < ApplicationRecord
  self.table_name = "note"
end

def bodies
  Note.order(:id).pluck(:body)
end

def check_login
  equal(ActiveRecord::Base.connection.select_value("SELECT current_user"), ENV.fetch("PGUSER"))
  equal(Note.columns.map(&:name), %w[id tenant_id body])
  equal(Note.primary_key, "id")
  ok("login", "and the schema's columns")
end

def create(body)
  Note.new(body: body).tap(&:save!)
end

def check_tenants
  [TENANT_A, TENANT_B].each do |tenant|
    ApplicationRecord.with_tenant(tenant) do
      kept = create("#{tenant}: 0")
      create("gone").destroy!
      kept.update!(body: kept.body + "!")
    end
  end
  [TENANT_A, TENANT_B].each do |tenant|
    equal(ApplicationRecord.with_tenant(tenant) { bodies }, ["#{tenant}: 0!"])
  end
  message = refused(ActiveRecord::StatementInvalid) do
    ApplicationRecord.with_tenant(TENANT_B) { Note.create!(tenant_id: TENANT_A, body: "spoof") }
  end
  ok("tenants", message)
end

def check_renewal
  connection = ActiveRecord::Base.connection
  connection.execute("SET usher.token = '#{fetch_token(TENANT_A, BRIEF_S)}'")
  sleep(BRIEF_S + 1)
  equal(ApplicationRecord.with_tenant(TENANT_A) { bodies }.size, 1)
  ok("renewal", refused(ActiveRecord::StatementInvalid) { bodies })
  connection.reconnect!
end

def check_prepared
  ApplicationRecord.with_tenant(TENANT_A) do
    20.times { equal(Note.where("id > ?", 0).where(id: 1).count, 1) }
    equal(Note.find(1).id, 1)
  end
  ActiveRecord::Base.connection.clear_cache!
  ok("prepared", "bound parameters, clear_cache!")
end

def check_savepoint
  ApplicationRecord.with_tenant(TENANT_A) do
    create("kept")
    refused(ActiveRecord::NotNullViolation) do
      Note.transaction(requires_new: true) { create(nil) }
    end
    equal(bodies.last, "kept")
  end
  ok("savepoint", "transaction(requires_new: true)")
end

def check_batch
  ApplicationRecord.with_tenant(TENANT_B) do
    equal(Note.insert_all!(Array.new(500) { |n| { body: "many #{n}" } }).length, 500)
    equal(Note.find_each(batch_size: 100).count, 501)
  end
  ok("batch", "insert_all!, find_each")
end

def check_cancel
  message = refused(ActiveRecord::QueryCanceled) do
    ApplicationRecord.with_tenant(TENANT_A) do
      Note.connection.execute("SET LOCAL statement_timeout = '50ms'")
      Note.connection.execute("SELECT pg_sleep(60)")
    end
  end
  ok("cancel", message)
end

def check_restart
  before = ApplicationRecord.with_tenant(TENANT_A) { bodies }
  ask("restart")
  # The pool looks at a connection when it is taken, as a request does.
  ActiveRecord::Base.clear_active_connections!
  equal(ApplicationRecord.with_tenant(TENANT_A) { bodies }, before)
  ok("restart", "the pool's verify! when a connection is taken")
end

def check_source
  ApplicationRecord.with_tenant(TENANT_A) do
    connection = ActiveRecord::Base.connection
    node = ask("node", connection.select_value("SELECT inet_server_port()"))
    equal(connection.select_value("SHOW usher.data_source"), node)
    ok("source", node)
  end
end

ActiveRecord::Base.establish_connection(
  adapter: "postgresql", host: ENV["PGHOST"], port: ENV["PGPORT"],
  database: ENV["PGDATABASE"], username: ENV["PGUSER"], pool: 2
)
check_login
check_tenants
check_renewal
check_prepared
check_savepoint
check_batch
none("copy", "that is the driver's")
check_cancel
check_restart
check_source
