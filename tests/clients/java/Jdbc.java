import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import com.zaxxer.hikari.util.Credentials;
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Timer;
import java.util.TimerTask;
import org.postgresql.PGConnection;
import org.postgresql.PGStatement;

/** pgjdbc with HikariCP, which asks for the password of each new connection; whoever takes one
 *  names the tenant. */
final class Jdbc {
    // docs: begin
    static HikariDataSource pool() {
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl(Checks.URL);
        config.setMaximumPoolSize(2);
        config.setCredentialsProvider(
                () -> new Credentials(Checks.USER, Checks.fetchToken(Checks.TENANT_A)));
        return new HikariDataSource(config);
    }

    static Connection connectionOf(int tenant) throws SQLException {
        Connection connection = POOL.getConnection();
        try (Statement statement = connection.createStatement()) {
            // A token has no quotes in it, so none are escaped.
            statement.execute("SET usher.token = '" + Checks.fetchToken(tenant) + "'");
            return connection;
        } catch (SQLException error) {
            connection.close();
            throw error;
        }
    }
    // docs: end

    static final HikariDataSource POOL = pool();

    static Connection login(String token) throws SQLException {
        return DriverManager.getConnection(Checks.URL, Checks.USER, token);
    }

    static int update(Connection connection, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++)
                statement.setObject(i + 1, values[i]);
            return statement.executeUpdate();
        }
    }

    static List<String> column(Connection connection, String sql) throws SQLException {
        List<String> all = new ArrayList<>();
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(sql)) {
            while (rows.next())
                all.add(rows.getString(1));
        }
        return all;
    }

    static List<String> bodies(Connection connection) throws SQLException {
        return column(connection, "SELECT body FROM note ORDER BY id");
    }

    static void checkLogin() throws SQLException {
        try (Connection connection = login(Checks.fetchToken(Checks.TENANT_A))) {
            Checks.equal(column(connection, "SELECT current_user"), List.of(Checks.USER));
        }
        Checks.ok("login", Checks.refused("28000", () -> login("no.token.this")));
    }

    static void checkTenants() throws SQLException {
        for (int tenant : new int[] {Checks.TENANT_A, Checks.TENANT_B})
            try (Connection connection = connectionOf(tenant)) {
                String insert = "INSERT INTO note (body) VALUES (?), ('gone')";
                try (PreparedStatement statement = connection.prepareStatement(insert,
                        Statement.RETURN_GENERATED_KEYS)) {
                    statement.setString(1, tenant + ": 0");
                    statement.executeUpdate();
                    Checks.equal(statement.getGeneratedKeys().next(), true);
                }
                update(connection, "UPDATE note SET body = body || '!' WHERE body <> ?", "gone");
                Checks.equal(update(connection, "DELETE FROM note WHERE body = ?", "gone"), 1);
                Checks.equal(bodies(connection), List.of(tenant + ": 0!"));
            }
        try (Connection connection = connectionOf(Checks.TENANT_B)) {
            String spoof = "INSERT INTO note (tenant_id, body) VALUES (?, 'spoof')";
            Checks.ok("tenants",
                    Checks.refused("42501", () -> update(connection, spoof, Checks.TENANT_A)));
        }
    }

    static void checkRenewal() throws Exception {
        Connection renewed = login(Checks.briefToken(Checks.TENANT_A));
        Connection left = login(Checks.briefToken(Checks.TENANT_A));
        Thread.sleep((Checks.BRIEF_S + 1) * 1000L);
        update(renewed, "SET usher.token = '" + Checks.fetchToken(Checks.TENANT_A) + "'");
        Checks.equal(bodies(renewed).size(), 1);
        renewed.close();
        Checks.ok("renewal", Checks.refused("28000", () -> bodies(left)));
    }

    static void checkPrepared() throws SQLException {
        try (Connection connection = connectionOf(Checks.TENANT_A);
                PreparedStatement count = connection.prepareStatement(
                        "SELECT count(*) FROM note WHERE id > ?")) {
            // Behind the fifth time pgjdbc makes a named statement of it.
            for (int i = 0; i < 20; i++) {
                count.setLong(1, 0);
                ResultSet rows = count.executeQuery();
                rows.next();
                Checks.equal(rows.getInt(1), 1);
            }
            Checks.equal(count.unwrap(PGStatement.class).isUseServerPrepare(), true);
        }
        // More statements than its cache holds (256): it closes the oldest.
        try (Connection connection = connectionOf(Checks.TENANT_B)) {
            for (int n = 0; n < 300; n++)
                for (int i = 0; i < 6; i++)
                    update(connection, "UPDATE note SET body = body WHERE id = ? + " + n, -1L);
        }
        Checks.ok("prepared", "PreparedStatement, its cache run over");
    }

    static void checkSavepoint() throws SQLException {
        try (Connection connection = connectionOf(Checks.TENANT_A)) {
            connection.setAutoCommit(false);
            update(connection, "INSERT INTO note (body) VALUES (?)", "kept");
            Savepoint here = connection.setSavepoint();
            Checks.refused("23502",
                    () -> update(connection, "INSERT INTO note (body) VALUES (NULL)"));
            connection.rollback(here);
            connection.commit();
            Checks.equal(bodies(connection).contains("kept"), true);
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(10);
                ResultSet rows = statement.executeQuery("SELECT generate_series(1, 95)");
                int last = 0;
                while (rows.next())
                    last = rows.getInt(1);
                Checks.equal(last, 95);
            }
            connection.commit();
        }
        Checks.ok("savepoint", "setSavepoint, a cursor by setFetchSize");
    }

    static void batch(Connection connection) throws SQLException {
        String insert = "INSERT INTO note (body) VALUES (?)";
        try (PreparedStatement statement = connection.prepareStatement(insert)) {
            for (int n = 0; n < 500; n++) {
                statement.setString(1, "many " + n);
                statement.addBatch();
            }
            Checks.equal(statement.executeBatch().length, 500);
        }
    }

    static void checkBatch() throws SQLException {
        try (Connection connection = connectionOf(Checks.TENANT_B)) {
            batch(connection);
            String count = "SELECT count(*) FROM note WHERE body LIKE 'many %'";
            Checks.equal(column(connection, count), List.of("500"));
            update(connection, "DELETE FROM note WHERE body LIKE 'many %'");
        }
        String rewritten = Checks.URL + "?reWriteBatchedInserts=true&autosave=always";
        String token = Checks.fetchToken(Checks.TENANT_B);
        try (Connection connection = DriverManager.getConnection(rewritten, Checks.USER, token)) {
            connection.setAutoCommit(false);
            batch(connection);
            Checks.refused("23502",
                    () -> update(connection, "INSERT INTO note (body) VALUES (NULL)"));
            connection.commit();
        }
        Checks.ok("batch", "executeBatch, reWriteBatchedInserts, autosave");
    }

    static void checkCopy() throws Exception {
        try (Connection connection = connectionOf(Checks.TENANT_B)) {
            var copy = connection.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder lines = new StringBuilder();
            for (int n = 0; n < 1000; n++)
                lines.append(n).append("\trow ").append(n).append('\n');
            var in = new StringReader(lines.toString());
            Checks.equal(copy.copyIn("COPY import FROM STDIN", in), 1000L);
            StringWriter out = new StringWriter();
            Checks.equal(copy.copyOut("COPY (SELECT * FROM import) TO STDOUT", out), 1000L);
            Checks.equal(out.toString(), lines.toString());
        }
        Checks.ok("copy", "CopyManager in and out");
    }

    static void checkCancel() throws SQLException {
        try (Connection connection = connectionOf(Checks.TENANT_A);
                Statement statement = connection.createStatement()) {
            String sleep = "SELECT pg_sleep(60)";
            Timer timer = new Timer(true);
            timer.schedule(new TimerTask() {
                @Override
                public void run() {
                    try {
                        statement.cancel();
                    } catch (SQLException error) {
                        throw new IllegalStateException(error);
                    }
                }
            }, 300);
            String said = Checks.refused("57014", () -> statement.execute(sleep));
            statement.setQueryTimeout(1);
            Checks.refused("57014", () -> statement.execute(sleep));
            Checks.ok("cancel", said);
        }
    }

    static void checkRestart() throws SQLException {
        List<String> before;
        try (Connection connection = connectionOf(Checks.TENANT_A)) {
            before = bodies(connection);
        }
        Checks.ask("restart");
        // HikariCP does not look at connections that it used half a second ago.
        for (int gone = 0; gone < 2; gone++)
            try (Connection connection = connectionOf(Checks.TENANT_A)) {
                break;
            } catch (SQLException error) {
                Checks.equal(error.getSQLState().matches("57P01|08.*"), true);
            }
        try (Connection connection = connectionOf(Checks.TENANT_A)) {
            Checks.equal(bodies(connection), before);
        }
        Checks.ok("restart", "the pool drops what the proxy has closed");
    }

    static void checkSource() throws SQLException {
        try (Connection connection = connectionOf(Checks.TENANT_A)) {
            String port = column(connection, "SELECT inet_server_port()").get(0);
            String node = Checks.ask("node " + port);
            Checks.equal(column(connection, "SHOW usher.data_source"), List.of(node));
            PGConnection driver = connection.unwrap(PGConnection.class);
            Checks.equal(driver.getParameterStatus("usher.data_source"), node);
            Checks.ok("source", node + ", by SHOW and getParameterStatus");
        }
    }

    public static void main(String[] args) throws Exception {
        checkLogin();
        checkTenants();
        checkRenewal();
        checkPrepared();
        checkSavepoint();
        checkBatch();
        checkCopy();
        checkCancel();
        checkRestart();
        checkSource();
        POOL.close();
    }
}
