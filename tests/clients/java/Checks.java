import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.sql.SQLException;
import java.util.Objects;

/** What the Java programs share: saying what was checked, and asking the runner for something. */
final class Checks {
    static final int TENANT_A = Integer.parseInt(System.getenv("TENANT_A"));
    static final int TENANT_B = Integer.parseInt(System.getenv("TENANT_B"));
    /** How long the token of the renewal's check is good; it is waited for. */
    static final int BRIEF_S = 2;
    static final String URL = "jdbc:postgresql://" + System.getenv("PGHOST") + ":"
            + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
    static final String USER = System.getenv("PGUSER");

    private static final BufferedReader ANSWERS =
            new BufferedReader(new InputStreamReader(System.in));

    private Checks() {
    }

    static void ok(String check, Object seen) {
        System.out.println("ok " + check + ": " + String.valueOf(seen).replace('\n', ' '));
    }

    static void none(String check, String why) {
        System.out.println("none " + check + ": " + why);
    }

    /** Pools log in on threads of their own. */
    static synchronized String ask(String question) {
        System.out.println("ask " + question);
        try {
            return ANSWERS.readLine();
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    /** Stands for the program's own way to a token: its identity provider. */
    static String fetchToken(int tenant) {
        return ask("token " + tenant);
    }

    static String briefToken(int tenant) {
        return ask("token " + tenant + " " + BRIEF_S);
    }

    static void equal(Object got, Object wanted) {
        if (!Objects.equals(got, wanted))
            throw new AssertionError("got " + got + ", wanted " + wanted);
    }

    interface Work {
        void run() throws Exception;
    }

    /** The message of the refusal, whose SQLSTATE must be that one. */
    static String refused(String state, Work work) {
        try {
            work.run();
        } catch (Exception error) {
            for (Throwable cause = error; cause != null; cause = cause.getCause())
                if (cause instanceof SQLException sql && state.equals(sql.getSQLState()))
                    return sql.getMessage();
            throw new AssertionError("not refused with " + state, error);
        }
        throw new AssertionError("was not refused with " + state);
    }
}
