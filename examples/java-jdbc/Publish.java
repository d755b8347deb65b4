import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;

/** An order and its event in one transaction: java Publish JDBC-URL ORDER-ID [fail] */
public class Publish {
    static void run(Connection connection, String sql, String... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) {
                statement.setString(i + 1, values[i]);
            }
            statement.executeUpdate();
        }
    }

    static void placeOrder(Connection connection, String orderId, boolean fail) throws SQLException {
        connection.setAutoCommit(false); // close() rolls back what was not committed
        run(connection, "INSERT INTO shop_order (id, status) VALUES (?, 'placed')", orderId);
        run(connection, "INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload, headers)"
                + " VALUES (?, ?, ?, jsonb_build_object('orderId', ?::text), ?::jsonb)",
                "order", orderId, "OrderPlaced", orderId, "{\"service\": \"orders\"}");
        if (fail) {
            throw new IllegalStateException("the order failed, and so did its event");
        }
        connection.commit();
    }

    public static void main(String[] args) throws SQLException {
        try (Connection connection = DriverManager.getConnection(args[0])) {
            placeOrder(connection, args[1], args.length > 2 && args[2].equals("fail"));
        }
    }
}
