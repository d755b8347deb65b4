import javax.sql.DataSource;

import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.datasource.DataSourceTransactionManager;
import org.springframework.jdbc.datasource.DriverManagerDataSource;
import org.springframework.transaction.annotation.EnableTransactionManagement;
import org.springframework.transaction.annotation.Transactional;

/** An order and its event in one transaction: java -Durl=JDBC-URL Publish ORDER-ID [fail] */
@Configuration
@EnableTransactionManagement
@Import(Publish.Orders.class)
public class Publish {
    public static class Orders {
        private final JdbcTemplate jdbc;

        Orders(JdbcTemplate jdbc) {
            this.jdbc = jdbc;
        }

        @Transactional // commits when it returns, rolls back when it throws
        public void place(String orderId, boolean fail) {
            jdbc.update("INSERT INTO shop_order (id, status) VALUES (?, 'placed')", orderId);
            jdbc.update("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload, headers)"
                    + " VALUES (?, ?, ?, jsonb_build_object('orderId', ?::text), ?::jsonb)",
                    "order", orderId, "OrderPlaced", orderId, "{\"service\": \"orders\"}");
            if (fail) {
                throw new IllegalStateException("the order failed, and so did its event");
            }
        }
    }

    @Bean
    DataSource dataSource() {
        return new DriverManagerDataSource(System.getProperty("url"));
    }

    @Bean
    DataSourceTransactionManager transactions(DataSource source) {
        return new DataSourceTransactionManager(source);
    }

    @Bean
    JdbcTemplate jdbc(DataSource source) {
        return new JdbcTemplate(source);
    }

    public static void main(String[] args) {
        try (var context = new AnnotationConfigApplicationContext(Publish.class)) {
            context.getBean(Orders.class).place(args[0], args.length > 1 && args[1].equals("fail"));
        }
    }
}
