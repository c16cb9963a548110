import com.zaxxer.hikari.HikariDataSource;
import jakarta.persistence.Column;
import jakarta.persistence.Entity;
import jakarta.persistence.GeneratedValue;
import jakarta.persistence.GenerationType;
import jakarta.persistence.Id;
import jakarta.persistence.Table;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import java.util.function.Function;
import org.hibernate.HibernateException;
import org.hibernate.Session;
import org.hibernate.SessionFactory;
import org.hibernate.annotations.Generated;
import org.hibernate.cfg.Configuration;
import org.hibernate.engine.jdbc.connections.spi.MultiTenantConnectionProvider;

/** Hibernate's multi-tenancy over HikariCP: its connection provider names the tenant. */
final class Hibernate {
    // docs: begin
    static final class Tenants implements MultiTenantConnectionProvider<Integer> {
        private final transient HikariDataSource pool = Jdbc.pool(); // as with pgjdbc alone

        @Override
        public Connection getConnection(Integer tenant) throws SQLException {
            Connection connection = pool.getConnection();
            try (Statement statement = connection.createStatement()) {
                // A token has no quotes in it, so none are escaped.
                statement.execute("SET usher.token = '" + Checks.fetchToken(tenant) + "'");
                return connection;
            } catch (SQLException error) {
                connection.close();
                throw error;
            }
        }

        @Override
        public void releaseConnection(Integer tenant, Connection connection) throws SQLException {
            connection.close();
        }

        @Override
        public Connection getAnyConnection() throws SQLException {
            return pool.getConnection();
        }

        @Override
        public void releaseAnyConnection(Connection connection) throws SQLException {
            connection.close();
        }
        // docs: end

        @Override
        public boolean supportsAggressiveRelease() {
            return false;
        }

        @Override
        public boolean isUnwrappableAs(Class<?> type) {
            return type.isInstance(pool);
        }

        @Override
        public <T> T unwrap(Class<T> type) {
            return type.cast(pool);
        }
    }

    @Entity(name = "Note")
    @Table(name = "note")
    public static class Note {
        @Id
        @GeneratedValue(strategy = GenerationType.IDENTITY)
        Long id;
        @Generated
        @Column(name = "tenant_id", insertable = false, updatable = false)
        Long tenantId;
        @Column
        String body;

        Note() {
        }

        Note(String body) {
            this.body = body;
        }
    }

    static final SessionFactory FACTORY = factory();

    static SessionFactory factory() {
        Configuration configuration = new Configuration().addAnnotatedClass(Note.class);
        configuration.getProperties().put("hibernate.multi_tenant_connection_provider",
                new Tenants());
        configuration.setProperty("hibernate.hbm2ddl.auto", "validate");
        configuration.setProperty("hibernate.jdbc.batch_size", "50");
        return configuration.buildSessionFactory();
    }

    static <T> T of(int tenant, Function<Session, T> work) {
        try (Session session = sessionOf(tenant)) {
            var transaction = session.beginTransaction();
            try {
                T result = work.apply(session);
                transaction.commit();
                return result;
            } catch (RuntimeException error) {
                transaction.rollback();
                throw error;
            }
        }
    }

    static List<String> bodies(Session session) {
        return session.createSelectionQuery("select body from Note order by id", String.class)
                .list();
    }

    static Session sessionOf(int tenant) {
        return FACTORY.withOptions().tenantIdentifier((Object) tenant).openSession();
    }

    static void checkTenants() {
        for (int tenant : new int[] {Checks.TENANT_A, Checks.TENANT_B})
            of(tenant, session -> {
                Note kept = new Note(tenant + ": 0");
                Note gone = new Note("gone");
                session.persist(kept);
                session.persist(gone);
                Checks.equal(kept.tenantId, (long) tenant);
                kept.body += "!";
                session.remove(gone);
                return null;
            });
        for (int tenant : new int[] {Checks.TENANT_A, Checks.TENANT_B})
            Checks.equal(of(tenant, Hibernate::bodies), List.of(tenant + ": 0!"));
        String spoof = "INSERT INTO note (tenant_id, body) VALUES (?1, 'spoof')";
        Checks.ok("tenants", Checks.refused("42501", () -> of(Checks.TENANT_B, session -> session
                .createNativeMutationQuery(spoof).setParameter(1, Checks.TENANT_A)
                .executeUpdate())));
    }

    static void checkRenewal() throws Exception {
        String set = "SET usher.token = '" + Checks.briefToken(Checks.TENANT_A) + "'";
        try (Session session = sessionOf(Checks.TENANT_A)) {
            session.doWork(connection -> Jdbc.update(connection, set));
            Thread.sleep((Checks.BRIEF_S + 1) * 1000L);
            Checks.ok("renewal", Checks.refused("28000", () -> bodies(session)));
        }
        Checks.equal(of(Checks.TENANT_A, Hibernate::bodies).size(), 1);
    }

    static void checkPrepared() {
        of(Checks.TENANT_A, session -> {
            for (long id = 1; id < 20; id++) {
                session.clear();
                Checks.equal(session.find(Note.class, id) != null, id == 1);
            }
            return null;
        });
        Checks.ok("prepared", "find()");
    }

    static void checkSavepoint() {
        of(Checks.TENANT_A, session -> {
            session.persist(new Note("kept"));
            session.flush();
            session.doWork(connection -> {
                var here = connection.setSavepoint();
                Checks.refused("23502", () -> Jdbc.update(connection,
                        "INSERT INTO note (body) VALUES (NULL)"));
                connection.rollback(here);
            });
            return null;
        });
        Checks.equal(of(Checks.TENANT_A, Hibernate::bodies).contains("kept"), true);
        Checks.ok("savepoint", "by doWork()");
    }

    static void checkBatch() {
        of(Checks.TENANT_B, session -> {
            for (int n = 0; n < 200; n++)
                session.persist(new Note("many " + n));
            session.flush();
            for (Note note : session.createSelectionQuery("from Note", Note.class).list())
                note.body = "more";
            return null;
        });
        long more = of(Checks.TENANT_B, session -> session
                .createSelectionQuery("select count(*) from Note where body = 'more'", Long.class)
                .getSingleResult());
        Checks.equal(more, 201L);
        Checks.ok("batch", "hibernate.jdbc.batch_size");
    }

    static void checkCancel() {
        Checks.ok("cancel", Checks.refused("57014", () -> of(Checks.TENANT_A, session -> session
                .createNativeQuery("SELECT 1 FROM pg_sleep(60)", Integer.class)
                .setTimeout(1).getSingleResult())));
    }

    static void checkRestart() {
        List<String> before = of(Checks.TENANT_A, Hibernate::bodies);
        Checks.ask("restart");
        // HikariCP does not look at connections that it used half a second ago.
        for (int gone = 0; gone < 2; gone++)
            try {
                of(Checks.TENANT_A, Hibernate::bodies);
                break;
            } catch (HibernateException error) {
                Checks.equal(error.getCause() instanceof SQLException, true);
            }
        Checks.equal(of(Checks.TENANT_A, Hibernate::bodies), before);
        Checks.ok("restart", "the pool drops what the proxy has closed");
    }

    static void checkSource() {
        of(Checks.TENANT_A, session -> {
            int port = session.createNativeQuery("SELECT inet_server_port()", Integer.class)
                    .getSingleResult();
            String node = Checks.ask("node " + port);
            Checks.equal(session.createNativeQuery("SHOW usher.data_source", String.class)
                    .getSingleResult(), node);
            Checks.ok("source", node);
            return null;
        });
    }

    public static void main(String[] args) throws Exception {
        Checks.ok("login", "hbm2ddl.auto = validate has read the catalogue");
        checkTenants();
        checkRenewal();
        checkPrepared();
        checkSavepoint();
        checkBatch();
        Checks.none("copy", "that is the driver's");
        checkCancel();
        checkRestart();
        checkSource();
        FACTORY.close();
    }
}
