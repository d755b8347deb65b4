/* The shop of `posthorn demo`: an order service on SQLite that publishes as any application would,
 * by an INSERT in the transaction that changes the order. */
#ifndef PH_CLI_DEMO_SHOP_H
#define PH_CLI_DEMO_SHOP_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/thread.h"

/* What it did; readable from any thread. */
struct ph_demo_counts {
    _Atomic int64_t committed, rolled_back; /* transactions */
    _Atomic int64_t placed, confirmed, cancelled;
    _Atomic int64_t events; /* of committed transactions */
};

struct ph_demo_shop;

/* Opens the database at path, which has Posthorn's schema, makes the table of orders, and starts
 * the thread that works on them until stop is wanted. counts outlives the shop. */
int ph_demo_shop_start(const char *path, struct ph_stop *stop, struct ph_demo_counts *counts,
                       struct ph_demo_shop **ret, struct ph_error *err) PH_MUST_CHECK;
/* Waits for the thread (stop is wanted); what it ended with. Accepts NULL. */
int ph_demo_shop_join(struct ph_demo_shop *shop, struct ph_error *err);

#endif
