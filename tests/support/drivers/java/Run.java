import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.Properties;

/**
 * Connect by pgjdbc, once for each line on standard input: fields with tabs between them, since Java reads no JSON.
 *
 * <p>URL, password, directory, renewed. With a directory of renewed files, connect, copy those over the ones that are
 * in use, connect again by the same data source, and print the serial numbers that the server saw.
 */
class Run {
    private static final String SERIAL = "select client_serial::text from pg_stat_ssl where pid = pg_backend_pid()";

    private static String asked(Connection connection, String query) throws SQLException {
        try (var statement = connection.createStatement(); var found = statement.executeQuery(query)) {
            found.next();
            return found.getString(1);
        }
    }

    private static String answer(String url, Properties more, String directory, String renewed) throws Exception {
        if (renewed.isEmpty()) {
            try (var connection = DriverManager.getConnection(url, more)) {
                return asked(connection, "select current_user");
            }
        }
        var source = new org.postgresql.ds.PGSimpleDataSource();
        source.setURL(url);
        try (var first = source.getConnection()) {
            var before = asked(first, SERIAL);
            for (var name : new String[] {"postgresql.crt", "postgresql.key"}) {
                Files.copy(Path.of(renewed, name), Path.of(directory, name), StandardCopyOption.REPLACE_EXISTING);
            }
            try (var second = source.getConnection()) {
                return before + "\n" + asked(second, SERIAL);
            }
        }
    }

    private static String json(String text) {
        var quoted = new StringBuilder("\"");
        for (var c : text.toCharArray()) {
            quoted.append(c < ' ' || c == '"' || c == '\\' ? String.format("\\u%04x", (int) c) : String.valueOf(c));
        }
        return quoted.append('"').toString();
    }

    public static void main(String[] arguments) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        for (String line; (line = lines.readLine()) != null; ) {
            var fields = line.split("\t", -1);
            var more = new Properties();
            if (!fields[1].isEmpty()) {
                more.setProperty("password", fields[1]);
            }
            String said;
            try {
                said = "{\"printed\": " + json(answer(fields[0], more, fields[2], fields[3])) + "}";
            } catch (Exception error) {
                said = "{\"failed\": " + json(String.valueOf(error.getMessage())) + "}";
            }
            System.out.println(said);
        }
    }
}
