/*
 * An order service that tells others what happened by publishing in its own transactions.
 *
 *   orders URI [COUNT]      URI: postgresql://... or sqlite:FILE, after `posthorn init URI`
 *
 * It places COUNT orders, confirms the even and cancels the odd ones. Each step writes the order's
 * row and two events in one transaction; some fail before their commit, and leave neither.
 */
#include <libpq-fe.h>
#include <posthorn/postgres.h>
#include <posthorn/sqlite.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One of the two is open. */
struct shop {
    PGconn *pg;
    sqlite3 *lite;
};

/* A step of an order's life: the statement that makes it, and the two events that tell of it. */
struct step {
    const char *sql, *event, *consequence;
};

static const struct step place = {"INSERT INTO shop_order (id, status) VALUES ($1, 'placed')",
                                  "OrderPlaced", "CustomerNotification"};
static const struct step confirm = {"UPDATE shop_order SET status = 'confirmed' WHERE id = $1",
                                    "OrderConfirmed", "FulfillmentTriggered"};
static const struct step cancel = {"UPDATE shop_order SET status = 'cancelled' WHERE id = $1",
                                   "OrderCancelled", "RefundTriggered"};

/* --- the database ------------------------------------------------------------------------------
 */

static int complain(const char *text)
{
    fprintf(stderr, "orders: %s\n", text);
    return -1;
}

static int open_shop(struct shop *shop, const char *uri)
{
    if (strncmp(uri, "sqlite:", 7) == 0) {
        if (sqlite3_open(uri + 7, &shop->lite) != SQLITE_OK) {
            return complain(sqlite3_errmsg(shop->lite));
        }
        sqlite3_busy_timeout(shop->lite, 5000);
        return 0;
    }
    shop->pg = PQconnectdb(uri);
    return PQstatus(shop->pg) == CONNECTION_OK ? 0 : complain(PQerrorMessage(shop->pg));
}

static void close_shop(struct shop *shop)
{
    PQfinish(shop->pg);
    sqlite3_close(shop->lite);
}

static int run_postgres(PGconn *pg, const char *sql, const char *id)
{
    PGresult *result = PQexecParams(pg, sql, id ? 1 : 0, NULL, &id, NULL, NULL, 0);
    int ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return ok ? 0 : complain(PQerrorMessage(pg));
}

static int run_sqlite(sqlite3 *lite, const char *sql, const char *id)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(lite, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK && id) {
        rc = sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : complain(sqlite3_errmsg(lite));
}

/* One statement; id is its parameter, or NULL. */
static int run(struct shop *shop, const char *sql, const char *id)
{
    return shop->pg ? run_postgres(shop->pg, sql, id) : run_sqlite(shop->lite, sql, id);
}

/* --- the service -------------------------------------------------------------------------------
 */

/* Both events of a step, in the transaction that is open. */
static int publish(struct shop *shop, const char *id, const struct step *step)
{
    char payload[64];
    struct posthorn_header header = {"service", "orders"};
    struct posthorn_event events[2];
    struct posthorn_error error;
    int length = snprintf(payload, sizeof payload, "{\"orderId\": \"%s\"}", id);

    memset(events, 0, sizeof events);
    for (int i = 0; i < 2; i++) {
        events[i].aggregate_type = "order";
        events[i].aggregate_id = id;
        events[i].event_type = i == 0 ? step->event : step->consequence;
        events[i].payload = payload;
        events[i].payload_bytes = (size_t)length;
        events[i].headers = &header;
        events[i].header_count = 1;
    }
    int rc = shop->pg ? posthorn_publish_batch_postgres(shop->pg, events, 2, NULL, &error)
                      : posthorn_publish_batch_sqlite(shop->lite, events, 2, NULL, &error);
    return rc == POSTHORN_OK ? 0 : complain(error.text);
}

/* One transaction: the row and its events, all of it or nothing. 1 = committed, 0 = rolled back as
 * asked. */
static int take_step(struct shop *shop, const char *id, const struct step *step, int fails)
{
    if (run(shop, shop->pg ? "BEGIN" : "BEGIN IMMEDIATE", NULL) < 0) {
        return -1;
    }
    if (run(shop, step->sql, id) < 0 || publish(shop, id, step) < 0) {
        (void)run(shop, "ROLLBACK", NULL);
        return -1;
    }
    if (run(shop, fails ? "ROLLBACK" : "COMMIT", NULL) < 0) {
        return -1;
    }
    return !fails;
}

static int trade(struct shop *shop, long count)
{
    long committed = 0, rolled_back = 0;
    for (long i = 1; i <= count; i++) {
        char id[32];
        snprintf(id, sizeof id, "%ld", i);
        int placed = take_step(shop, id, &place, i % 5 == 0);
        int ended = placed == 1 ? take_step(shop, id, i % 2 ? &cancel : &confirm, i % 7 == 0) : 0;
        if (placed < 0 || ended < 0) {
            return -1;
        }
        committed += placed + ended;
        rolled_back += 1 - ended;
    }
    printf("committed %ld, rolled back %ld\n", committed, rolled_back);
    return 0;
}

int main(int argc, char **argv)
{
    struct shop shop = {NULL, NULL};
    if (argc < 2) {
        (void)complain("usage: orders URI [COUNT]");
        return 64;
    }
    int rc = open_shop(&shop, argv[1]);
    if (rc == 0) {
        rc =
            run(&shop,
                "CREATE TABLE IF NOT EXISTS shop_order (id text PRIMARY KEY, status text NOT NULL)",
                NULL);
    }
    if (rc == 0) {
        rc = trade(&shop, argc > 2 ? strtol(argv[2], NULL, 10) : 20);
    }
    close_shop(&shop);
    return rc == 0 ? 0 : 1;
}
