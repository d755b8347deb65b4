/*
 * Adopting PostgreSQL's log: one that was restored or copied, or whose sink knows more than it
 * does. Place: the driver's adopt, over posthorn.adopt(), which judges, moves and audits by itself.
 * Promise: one READ COMMITTED transaction, kept whole or not at all; a dry run is a read-only one.
 */
#include "outbox/postgres.h"
#include "sql_postgres.h"

#define ADOPT_TIMEOUT_MS (4 * 60 * 60 * 1000) /* it may write the whole log anew */

/* The columns of q_adopt.sql. */
enum column {
    PIPELINE,
    SHARD,
    MOVED,
    REBASED,
    FROM,
    TO,
    AGAIN,
    FIRST,
    SKIPPED,
    BESIDE,
    IN_SINK,
    REFUSED
};

struct words {
    const char *params[9];
    char tick[24], position[24], since[24], shard[16];
};

static void put_words(struct words *words, const struct ph_outbox_adopt *how,
                      const struct ph_outbox_act *act)
{
    static const char *const names[] = {
        [PH_ADOPT_FROM] = "from",
        [PH_ADOPT_SINCE] = "since",
        [PH_ADOPT_ALL] = "all",
        [PH_ADOPT_KEEP] = "keep",
    };
    bool from = how->kind == PH_ADOPT_FROM;
    (void)snprintf(words->tick, sizeof words->tick, "%lld", (long long)how->from.tick);
    (void)snprintf(words->position, sizeof words->position, "%lld", (long long)how->from.position);
    (void)snprintf(words->since, sizeof words->since, "%lld", (long long)how->since_us);
    (void)snprintf(words->shard, sizeof words->shard, "%d", how->shard);
    words->params[0] = how->pipeline;
    words->params[1] = names[how->kind];
    words->params[2] = from ? words->tick : NULL;
    words->params[3] = from ? words->position : NULL;
    words->params[4] = how->kind == PH_ADOPT_SINCE ? words->since : NULL;
    words->params[5] = act->who;
    words->params[6] = act->reason;
    words->params[7] = how->dry_run ? "true" : "false";
    words->params[8] = from && how->shard >= 0 ? words->shard : NULL;
}

static struct ph_outbox_adopted adopted_of(const PGresult *res, int row)
{
    return (struct ph_outbox_adopted){
        .pipeline = ph_pg_value(res, row, PIPELINE),
        .shard = ph_pg_value(res, row, SHARD),
        .moved = *PQgetvalue(res, row, MOVED) == 't',
        .rebased = *PQgetvalue(res, row, REBASED) == 't',
        .from = ph_pg_value(res, row, FROM),
        .to = ph_pg_value(res, row, TO),
        .again = ph_pg_i64(res, row, AGAIN),
        .first = ph_pg_i64(res, row, FIRST),
        .skipped = ph_pg_i64(res, row, SKIPPED),
        .beside = ph_pg_i64(res, row, BESIDE),
        .in_sink = *PQgetvalue(res, row, IN_SINK) == 't',
        .refused = ph_pg_value(res, row, REFUSED),
    };
}

int ph__pg_outbox_adopt(void *ctx, const struct ph_outbox_adopt *how,
                        const struct ph_outbox_act *act,
                        int (*each)(void *arg, const struct ph_outbox_adopted *adopted), void *arg,
                        struct ph_error *err)
{
    struct ph_pg_outbox *o = ctx;
    struct words words;
    put_words(&words, how, act);
    PH_CLEANUP(ph_cleanup_pg_result) PGresult *res = NULL;
    o->pg.timeout_ms = ADOPT_TIMEOUT_MS;
    int rc = how->dry_run
                 ? ph__pg_outbox_read(&o->pg, ph_sql_postgres_q_adopt, 9, words.params, &res, err)
                 : ph__pg_outbox_write(&o->pg, ph_sql_postgres_q_adopt, 9, words.params, &res, err);
    o->pg.timeout_ms = PH_PG_TIMEOUT_MS;
    rc = ph__pg_outbox_refused(rc, err);
    for (int row = 0; rc == 0 && row < PQntuples(res); row++) {
        struct ph_outbox_adopted adopted = adopted_of(res, row);
        rc = each(arg, &adopted);
    }
    return rc;
}
