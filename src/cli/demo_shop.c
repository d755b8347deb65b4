/*
 * An order service: places, confirms and cancels orders, each change and its two events in one
 * transaction, some of them rolled back on purpose.
 * Place: beside the relay of `posthorn demo`, sharing nothing with it but the database file.
 * Promise: a transaction is counted as committed only after COMMIT said so.
 */
#include "cli/demo_shop.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/rand.h"
#include "base/sys.h"

#define BUSY_MS 10000
#define PAUSE_EVERY                                                              \
    20 /* transactions, of PAUSE_MS each: a shop of about 1,000 changes a second \
        */
#define PAUSE_MS        20
#define OPEN_MAX        256 /* orders that are neither confirmed nor cancelled */
#define ROLLBACK_ONE_IN 10

struct ph_demo_shop {
    sqlite3 *db;
    sqlite3_stmt *insert_order, *update_order, *publish;
    struct ph_stop *stop;
    struct ph_demo_counts *counts;
    pthread_t thread;
    int64_t next_order;
    int64_t open[OPEN_MAX];
    size_t open_count;
    int rc;
    struct ph_error err;
};

/* What can happen to an order, and the two events that tell of it. */
struct step {
    const char *status, *event, *consequence;
};

static const struct step place = {"placed", "OrderPlaced", "CustomerNotification"};
static const struct step confirm = {"confirmed", "OrderConfirmed", "FulfillmentTriggered"};
static const struct step cancel = {"cancelled", "OrderCancelled", "RefundTriggered"};

static int fail_sqlite(sqlite3 *db, const char *what, struct ph_error *err)
{
    return ph_fail(err, PH_E_IO, "the demo's shop cannot %s: %s", what,
                   db ? sqlite3_errmsg(db) : "no memory");
}

static int run_sql(struct ph_demo_shop *shop, const char *sql, struct ph_error *err)
{
    return sqlite3_exec(shop->db, sql, NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : fail_sqlite(shop->db, sql, err);
}

static int run_stmt(struct ph_demo_shop *shop, sqlite3_stmt *stmt, struct ph_error *err)
{
    int rc = sqlite3_step(stmt) == SQLITE_DONE ? 0 : fail_sqlite(shop->db, "change an order", err);
    (void)sqlite3_reset(stmt);
    return rc;
}

/* --- the service -------------------------------------------------------------------------------
 */

static int change_order(struct ph_demo_shop *shop, const struct step *step, int64_t order,
                        int64_t cents, struct ph_error *err)
{
    sqlite3_stmt *stmt = step == &place ? shop->insert_order : shop->update_order;
    (void)sqlite3_bind_int64(stmt, 1, order);
    (void)sqlite3_bind_text(stmt, 2, step->status, -1, SQLITE_STATIC);
    if (step == &place) {
        (void)sqlite3_bind_int64(stmt, 3, cents);
    }
    return run_stmt(shop, stmt, err);
}

static int publish(struct ph_demo_shop *shop, const char *event, int64_t order, int64_t cents,
                   struct ph_error *err)
{
    char id[32], payload[96];
    (void)snprintf(id, sizeof id, "order-%lld", (long long)order);
    (void)snprintf(payload, sizeof payload, "{\"order\":%lld,\"amountCents\":%lld}",
                   (long long)order, (long long)cents);
    (void)sqlite3_bind_text(shop->publish, 1, id, -1, SQLITE_TRANSIENT);
    (void)sqlite3_bind_text(shop->publish, 2, event, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(shop->publish, 3, payload, -1, SQLITE_TRANSIENT);
    return run_stmt(shop, shop->publish, err);
}

static void count_committed(struct ph_demo_counts *counts, const struct step *step)
{
    counts->committed++;
    counts->placed += step == &place;
    counts->confirmed += step == &confirm;
    counts->cancelled += step == &cancel;
    counts->events += 2;
}

/* One transaction: 1 when it was committed, 0 when it was rolled back on purpose, or an error. */
static int change(struct ph_demo_shop *shop, const struct step *step, int64_t order,
                  struct ph_error *err)
{
    int64_t cents = 100 + (int64_t)(ph_rand_u64() % 50000);
    bool back = ph_rand_u64() % ROLLBACK_ONE_IN == 0;
    int rc = run_sql(shop, "BEGIN IMMEDIATE", err);
    if (rc == 0) {
        rc = change_order(shop, step, order, cents, err);
    }
    if (rc == 0) {
        rc = publish(shop, step->event, order, cents, err);
    }
    if (rc == 0) {
        rc = publish(shop, step->consequence, order, cents, err);
    }
    if (rc == 0) {
        rc = run_sql(shop, back ? "ROLLBACK" : "COMMIT", err);
    }
    if (rc < 0) {
        return rc;
    }
    if (back) {
        shop->counts->rolled_back++;
    } else {
        count_committed(shop->counts, step);
    }
    return back ? 0 : 1;
}

/* Places an order, or settles the fate of one that is open. */
static int work(struct ph_demo_shop *shop, struct ph_error *err)
{
    uint64_t dice = ph_rand_u64();
    if (shop->open_count == 0 || (shop->open_count < OPEN_MAX && dice % 2 == 0)) {
        int rc = change(shop, &place, shop->next_order, err);
        if (rc == 1) {
            shop->open[shop->open_count++] = shop->next_order;
        }
        shop->next_order++;
        return rc;
    }
    size_t at = (size_t)(dice / 2 % shop->open_count);
    int rc = change(shop, dice % 5 == 0 ? &cancel : &confirm, shop->open[at], err);
    if (rc == 1) {
        shop->open[at] = shop->open[--shop->open_count];
    }
    return rc;
}

static void *shop_thread(void *arg)
{
    struct ph_demo_shop *shop = arg;
    for (int64_t n = 1; shop->rc >= 0 && !ph_stop_wanted(shop->stop); n++) {
        shop->rc = work(shop, &shop->err);
        if (n % PAUSE_EVERY == 0) {
            (void)ph_stop_wait(shop->stop, PAUSE_MS);
        }
    }
    return NULL;
}

/* --- open and close ----------------------------------------------------------------------------
 */

static void shop_free(struct ph_demo_shop *shop)
{
    (void)sqlite3_finalize(shop->insert_order);
    (void)sqlite3_finalize(shop->update_order);
    (void)sqlite3_finalize(shop->publish);
    (void)sqlite3_close(shop->db);
    ph_mem_free(shop);
}

static int prepare(struct ph_demo_shop *shop, const char *sql, sqlite3_stmt **ret,
                   struct ph_error *err)
{
    return sqlite3_prepare_v2(shop->db, sql, -1, ret, NULL) == SQLITE_OK
               ? 0
               : fail_sqlite(shop->db, "prepare a statement", err);
}

static int shop_open(struct ph_demo_shop *shop, const char *path, struct ph_error *err)
{
    if (sqlite3_open_v2(path, &shop->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK) {
        return fail_sqlite(shop->db, "open its database", err);
    }
    (void)sqlite3_busy_timeout(shop->db, BUSY_MS);
    int rc = run_sql(shop,
                     "CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT NOT NULL, "
                     "amount_cents INTEGER)",
                     err);
    if (rc == 0) {
        rc = prepare(shop, "INSERT INTO orders (id, status, amount_cents) VALUES (?1, ?2, ?3)",
                     &shop->insert_order, err);
    }
    if (rc == 0) {
        rc = prepare(shop, "UPDATE orders SET status = ?2 WHERE id = ?1", &shop->update_order, err);
    }
    if (rc == 0) {
        rc = prepare(shop,
                     "INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, "
                     "payload) VALUES ('order', ?1, ?2, ?3)",
                     &shop->publish, err);
    }
    return rc;
}

int ph_demo_shop_start(const char *path, struct ph_stop *stop, struct ph_demo_counts *counts,
                       struct ph_demo_shop **ret, struct ph_error *err)
{
    struct ph_demo_shop *shop = ph_mem_zero(1, sizeof *shop);
    if (!shop) {
        return ph_fail(err, PH_E_NOMEM, "no memory for the demo's shop");
    }
    shop->stop = stop;
    shop->counts = counts;
    shop->next_order = 1;
    int rc = shop_open(shop, path, err);
    if (rc == 0 && pthread_create(&shop->thread, NULL, shop_thread, shop) != 0) {
        rc = ph_fail(err, PH_E_UNAVAILABLE, "no thread for the demo's shop");
    }
    if (rc < 0) {
        shop_free(shop);
        return rc;
    }
    *ret = shop;
    return 0;
}

int ph_demo_shop_join(struct ph_demo_shop *shop, struct ph_error *err)
{
    if (!shop) {
        return 0;
    }
    (void)pthread_join(shop->thread, NULL);
    int rc = shop->rc < 0 ? shop->rc : 0;
    if (rc < 0) {
        *err = shop->err;
    }
    shop_free(shop);
    return rc;
}
