/*
 * The beginning of a session: open source and sink, take the lease, and find the checkpoint to go
 * on from. Order matters: the lease first (its epoch fences older writers), then the stored
 * checkpoint, then the sink's own answer, which wins where it belongs to this log and stops the
 * pipeline where it does not.
 */
#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "core/pipeline_parts.h"

#define STANDBY_WAIT_MS 200

static int start_lease(struct ph_pipeline *p, struct ph_error *err)
{
    if (p->lease) {
        return 0;
    }
    const struct ph_lease_config config = {
        .driver = p->config->source,
        .driver_config = p->config->source_config,
        .env = &p->source_env,
        .lease_ms = p->options->lease_ms,
        .maintain_ms = p->options->maintain_interval_ms,
    };
    return ph_lease_start(&config, &p->lease, err);
}

/* Waits for the lease: 1 when it was there at once, 2 when we stood by first. */
static int take_lease(struct ph_pipeline *p, struct ph_error *err)
{
    bool stood_by = false;
    for (;;) {
        p->epoch = ph_lease_wait(p->lease, STANDBY_WAIT_MS);
        if (p->epoch != 0) {
            return stood_by ? 2 : 1;
        }
        if (ph_stop_wanted(p->stop)) {
            return ph_fail(err, PH_E_STOPPED, "asked to stop");
        }
        int rc = ph_lease_trouble(p->lease, err);
        if (rc < 0) {
            return rc;
        }
        if (!stood_by) {
            ph_log(PH_LOG_INFO, p->config->name,
                   "another instance owns this pipeline; standing by");
            stood_by = true;
        }
    }
}

/* Each claim adds one to the epoch, and so does a person's adopt: one more than ours means that
 * nobody was there in between. */
static void count_epoch(struct ph_pipeline *p)
{
    if (p->settled.set && p->epoch == p->settled.cp.epoch + 1) {
        p->settled.cp.epoch = p->epoch;
    }
}

static int open_source(struct ph_pipeline *p, struct ph_error *err)
{
    return p->config->source->open(&p->source_env, p->config->source_config, &p->source, err);
}

static int open_sink(struct ph_pipeline *p, struct ph_error *err)
{
    if (p->sink) {
        return 0;
    }
    return p->config->sink->open(&p->sink_env, p->config->sink_config, &p->sink, err);
}

static int keep_text(char **kept, struct ph_str text, struct ph_error *err)
{
    char *copy = ph_mem_alloc(text.len + 1);
    if (!copy) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a checkpoint");
    }
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    copy[text.len] = '\0';
    ph_mem_free(*kept);
    *kept = copy;
    return 0;
}

/* What every checkpoint of this pipeline has in common. */
static int keep_start(struct ph_pipeline *p, const struct ph_checkpoint *cp, struct ph_error *err)
{
    int rc = keep_text(&p->start_snapshot, cp->start_snapshot, err);
    return rc < 0 ? rc : keep_text(&p->log, cp->log, err);
}

/* Takes cp as settled. */
static int take(struct ph_pipeline *p, const struct ph_checkpoint *cp, struct ph_error *err)
{
    struct ph_checkpoint mine = *cp;
    mine.epoch = p->epoch;
    mine.start_snapshot = ph_str_from(p->start_snapshot);
    mine.log = ph_str_from(p->log);
    return ph_checkpoint_keep(&p->settled, &mine, err);
}

static int load_again(struct ph_pipeline *p, struct ph_checkpoint *cp, struct ph_error *err)
{
    int found = p->config->source->load(p->source, p->epoch, cp, err);
    return found == 0 ? ph_fail(err, PH_E_FENCED, "the checkpoint was taken away") : found;
}

/* Between the database's checkpoint, cp, and what this instance settled before it lost the
 * database: that counts where nobody else owned the lease meanwhile, as long as it belongs to the
 * same log. */
static int choose(struct ph_pipeline *p, struct ph_checkpoint *cp, struct ph_error *err)
{
    const struct ph_source_driver *source = p->config->source;
    int timeline = source->timeline ? source->timeline(p->source) : 0;
    if (timeline != cp->timeline) {
        ph_log(
            PH_LOG_WARN, p->config->name,
            "the database's timeline changed from %d to %d (a promotion); going on from %lld-%lld",
            cp->timeline, timeline, (long long)cp->at.tick, (long long)cp->at.position);
    } else if (p->settled.set && p->settled.cp.epoch == p->epoch && cp->in_sink != PH_SINK_VOID &&
               ph_position_cmp(p->settled.cp.at, cp->at) >= 0) {
        int rc = source->contains(p->source, &p->settled.cp, err);
        if (rc != 0) {
            p->dirty = true;
            return rc < 0 ? rc : 0;
        }
        rc = load_again(p, cp, err); /* its texts lived until the call of contains */
        if (rc < 0) {
            return rc;
        }
    }
    int rc = keep_start(p, cp, err);
    if (rc == 0) {
        rc = take(p, cp, err);
    }
    if (rc == 0) {
        p->settled.cp.timeline = timeline;
    }
    return rc;
}

/* The database's checkpoint, or a new one; kept in p->settled. */
static int load_checkpoint(struct ph_pipeline *p, struct ph_error *err)
{
    const struct ph_source_driver *source = p->config->source;
    struct ph_checkpoint cp;
    p->dirty = false;
    int found = source->load(p->source, p->epoch, &cp, err);
    if (found < 0) {
        return found;
    }
    int rc = found == 0 ? source->begin(p->source, &p->config->start, &cp, err) : 0;
    p->is_new = found == 0 || cp.in_sink == PH_SINK_UNASKED;
    if (rc == 0 && p->is_new) {
        p->dirty = true;
        rc = keep_start(p, &cp, err);
        return rc < 0 ? rc : take(p, &cp, err);
    }
    return rc < 0 ? rc : choose(p, &cp, err);
}

#define ADOPT                                                                       \
    "Nothing is sent until a person says where to go on: posthorn adopt DB-URI %s " \
    "--keep|--all|--since TIME|--from-position P [--shard N]"

static int refuse_sink(const struct ph_pipeline *p, const struct ph_checkpoint *theirs,
                       struct ph_error *err)
{
    const struct ph_checkpoint *mine = &p->settled.cp;
    char shard[32] = "";
    if (p->options->shards > 1) {
        (void)snprintf(shard, sizeof shard, " for shard %d", p->config->shard);
    }
    return ph_fail(
        err, PH_E_DIVERGED,
        "the sink holds position %lld-%lld%s (timeline %d), which this database does not "
        "know; the database is at %lld-%lld (timeline %d): it lost its tail (a failover "
        "or a restore). " ADOPT,
        (long long)theirs->at.tick, (long long)theirs->at.position, shard, theirs->timeline,
        (long long)mine->at.tick, (long long)mine->at.position, mine->timeline, p->config->name);
}

/* Whether the sink's answer belongs to this log: 0, or why the pipeline must not go on. */
static int check_answer(struct ph_pipeline *p, const struct ph_checkpoint *theirs,
                        struct ph_error *err)
{
    const struct ph_checkpoint *mine = &p->settled.cp;
    if (!theirs && mine->in_sink == PH_SINK_HOLDS) {
        return ph_fail(err, PH_E_DIVERGED,
                       "pipeline %s was delivered exactly-once up to %lld-%lld, but the sink holds "
                       "no checkpoint any more: it was deleted, or this is another sink. " ADOPT,
                       p->config->name, (long long)mine->sink_at.tick,
                       (long long)mine->sink_at.position, p->config->name);
    }
    if (!theirs || mine->in_sink == PH_SINK_VOID) {
        return 0;
    }
    if (!ph_str_eq(theirs->log, ph_str_from(p->log))) {
        return ph_fail(err, PH_E_DIVERGED,
                       "the sink holds a checkpoint of pipeline %s of another database: give this "
                       "pipeline another name, or take it over. " ADOPT,
                       p->config->name, p->config->name);
    }
    if (mine->in_sink == PH_SINK_NEVER && !p->is_new) {
        return 0; /* it was delivered at-least-once since: the database's copy counts */
    }
    int known = p->config->source->contains(p->source, theirs, err);
    return known == 0 ? refuse_sink(p, theirs, err) : known < 0 ? known : 0;
}

/* The sink's answer becomes the place to go on from, where it counts. */
static int take_answer(struct ph_pipeline *p, const struct ph_checkpoint *theirs,
                       struct ph_error *err)
{
    const struct ph_checkpoint *mine = &p->settled.cp;
    bool held = mine->in_sink == PH_SINK_HOLDS;
    if (!held && !p->is_new) {
        return 0;
    }
    bool back = held && ph_position_cmp(theirs->at, mine->sink_at) < 0;
    if (back || !held) {
        ph_log(PH_LOG_WARN, p->config->name,
               back ? "the sink lost its tail; what is behind %lld-%lld is sent again"
                    : "this database has no checkpoint, but the sink has one of it; going on from "
                      "%lld-%lld",
               (long long)theirs->at.tick, (long long)theirs->at.position);
    }
    if (!back && held && ph_position_cmp(theirs->at, mine->at) <= 0) {
        return 0; /* what lies between was settled without the sink */
    }
    return take(p, theirs, err);
}

/* With exactly-once the sink knows best how far it is, provided that this log knows it. */
static int ask_sink(struct ph_pipeline *p, struct ph_error *err)
{
    if (!ph__keeps_checkpoint(p)) {
        p->settled.cp.in_sink = PH_SINK_NEVER;
        return 0;
    }
    struct ph_checkpoint theirs;
    int found = p->config->sink->resume(p->sink, &theirs, err);
    if (found < 0) {
        return found;
    }
    int rc = check_answer(p, found ? &theirs : NULL, err);
    bool anew = p->settled.cp.in_sink != PH_SINK_HOLDS;
    if (rc == 0 && found) {
        rc = take_answer(p, &theirs, err);
    }
    if (rc == 0 && ph_lease_epoch(p->lease) != p->epoch) {
        /* who has the lease now may have begun before we shut it out; it comes behind us again */
        rc = ph_fail(err, PH_E_FENCED, "the lease ran out while the sink was asked");
    }
    if (rc == 0) {
        rc = p->config->sink->begin(p->sink, &p->settled.cp, anew, err);
    }
    if (rc < 0) {
        return rc;
    }
    p->settled.cp.in_sink = PH_SINK_HOLDS;
    p->settled.cp.sink_at = p->settled.cp.at;
    p->dirty = true;
    return 0;
}

static int find_place(struct ph_pipeline *p, struct ph_error *err)
{
    int rc = load_checkpoint(p, err);
    if (rc == 0) {
        rc = ask_sink(p, err);
    }
    if (rc == 0 && p->dirty) {
        rc = ph__flow_save_now(p, err);
    }
    if (rc == 0) {
        rc = p->config->source->seek(p->source, &p->settled.cp, err);
    }
    p->placed = rc == 0;
    return rc;
}

/* With on_dead: stop, a dead event is for a person before anything else. */
static int refuse_dead(const struct ph_pipeline *p, struct ph_error *err)
{
    if (p->options->on_dead != PH_ON_DEAD_STOP || p->parking.totals.dead == 0) {
        return 0;
    }
    return ph_fail(err, PH_E_REFUSED,
                   "pipeline %s has %lld dead events, and stops at those (on_dead: stop): redrive "
                   "or discard them (posthorn dead list), then start again",
                   p->config->name, (long long)p->parking.totals.dead);
}

int ph__session_open(struct ph_pipeline *p, struct ph_error *err)
{
    int rc = open_source(p, err);
    if (rc == 0) {
        p->was_open = true;
        rc = start_lease(p, err);
    }
    if (rc < 0) {
        return rc;
    }
    rc = take_lease(p, err);
    if (rc == 2) { /* what open found out may be old by now */
        ph__session_close(p);
        rc = open_source(p, err);
    }
    if (rc < 0) {
        return rc;
    }
    count_epoch(p);
    rc = open_sink(p, err);
    if (rc == 0) {
        rc = find_place(p, err);
    }
    if (rc == 0) {
        rc = ph__park_load(p, err);
    }
    return rc < 0 ? rc : refuse_dead(p, err);
}

void ph__session_close(struct ph_pipeline *p)
{
    p->placed = false;
    if (p->source) {
        p->config->source->close(p->source);
        p->source = NULL;
    }
}
