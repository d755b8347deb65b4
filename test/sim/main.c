/*
 * The simulation's command:
 *
 *   posthorn_sim [--first N] [--count N] [--jobs N]    seeds N to N+count-1 on so many processes
 *   posthorn_sim --seed N [--trace]                    one seed again, saying all that happens
 *   posthorn_sim ... --plant BUG                       with a bug in it: fails unless it is found
 *   posthorn_sim ... --same                            each seed twice: both must go the same way
 *   posthorn_sim ... --oom[=FIRST+COUNT]               small worlds, in which that request of an
 *                                                      instance for memory fails; without a number
 *                                                      each in turn, until a run needs fewer
 *   posthorn_sim ... --crash[=CALL+1 or 2]             likewise: that call of a driver is a crash,
 *                                                      1 without and 2 with its effect
 *
 * Each process lives its seeds one after the other; when one ends the process (a broken promise, a
 * failed assertion, a hang), the seed is named and a new process goes on behind it.
 */
#include <assert.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "core/lease.h"
#include "world.h"

#define JOBS_MAX     16
#define SEED_SECONDS 60  /* real ones: then it hangs */
#define SHOWN_MAX    10  /* failing seeds */
#define MANY         500 /* seeds */

struct job {
    pid_t pid;
    uint64_t next, last; /* seeds; next is the one that runs */
    uint64_t nth, width;
    struct tally tally;
};

static struct {
    uint64_t first, count, jobs;
    bool single, same;
} asked = {.first = 1, .count = 500, .jobs = 2};

static struct job *jobs; /* shared with the processes */

static void take_line(const char *line, void *arg)
{
    (void)arg;
    sim_trace("log: %s", line);
}

static void live_once(uint64_t seed)
{
    (void)alarm(SEED_SECONDS);
    world_live(seed);
    if (asked.same) {
        uint64_t hash = tasks_hash();
        world_live(seed);
        if (hash != tasks_hash()) {
            sim_broken("went another way the second time");
        }
    }
    (void)alarm(0);
}

/* Lets each request for memory fail, or each call be the crash, until a run needs fewer. */
static void live_each(struct job *job, uint64_t width)
{
    sim_settings.width = job->width = width;
    sim_settings.nth = 0;
    do {
        job->nth = sim_settings.nth;
        live_once(job->next);
        sim_settings.nth++;
    } while (world.hits > 0);
}

static int run_job(struct job *job)
{
    sim_tally = &job->tally;
    for (; job->next <= job->last; job->next++) {
        if (sim_settings.oom || sim_settings.crash) {
            live_each(job, 1);
            live_each(job, sim_settings.oom ? 12 : 2);
        } else {
            live_once(job->next);
        }
    }
    return 0;
}

static void start_job(struct job *job)
{
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        exit(run_job(job));
    }
    assert(pid > 0);
    job->pid = pid; /* not by the process itself: the memory is shared */
}

/* Whether its process ended because of a seed. */
static bool failed(const struct job *job, int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return false;
    }
    if (WIFSIGNALED(status)) {
        (void)fprintf(stderr, "seed %" PRIu64 ": ended by signal %d (%s)\n", job->next,
                      WTERMSIG(status), strsignal(WTERMSIG(status)));
        sim_settings.nth = job->nth;
        sim_settings.width = job->width;
        sim_say_replay(job->next);
    }
    return true;
}

/* Runs all seeds; how many failed. */
static uint64_t run_jobs(uint64_t *first_failure)
{
    uint64_t failures = 0, each = (asked.count + asked.jobs - 1) / asked.jobs;
    size_t running = 0;
    for (uint64_t i = 0; i < asked.jobs; i++) {
        uint64_t last = asked.first + asked.count - 1;
        jobs[i].next = asked.first + i * each;
        jobs[i].last = jobs[i].next + each - 1 < last ? jobs[i].next + each - 1 : last;
        start_job(&jobs[i]);
        running++;
    }
    *first_failure = UINT64_MAX;
    while (running > 0) {
        int status = 0;
        pid_t pid = wait(&status);
        struct job *job = jobs;
        while (job->pid != pid) {
            job++;
        }
        running--;
        if (failed(job, status)) {
            failures++;
            *first_failure = job->next < *first_failure ? job->next : *first_failure;
            bool enough = failures >= SHOWN_MAX || sim_settings.plant || job->next >= job->last;
            job->next++;
            if (!enough) {
                start_job(job);
                running++;
            }
        }
    }
    return failures;
}

static struct tally sum(void)
{
    struct tally sum = {0};
    for (uint64_t i = 0; i < asked.jobs; i++) {
        const uint64_t *from = (const uint64_t *)&jobs[i].tally;
        uint64_t *to = (uint64_t *)&sum;
        for (size_t j = 0; j < sizeof sum / sizeof *to; j++) {
            to[j] += from[j];
        }
    }
    return sum;
}

static void print_tally(const struct tally *t)
{
    static const char *const words[] = {
        "seeds",     "steps",   "events",       "delivered", "repeated",
        "calls",     "crashes", "lost answers", "asleep",    "slow",
        "sink down", "fenced",  "late submits", "retries",   "rejects",
        "stops",     "rows",    "dead",         "scheduled", "redriven",
        "discarded", "pauses",  "gaps told",    "unwanted",  "requests for memory refused"};
    const uint64_t *counts = (const uint64_t *)t;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        (void)printf("%s%" PRIu64 " %s", i ? ", " : "", counts[i], words[i]);
    }
    (void)putchar('\n');
}

/* With enough seeds everything that can go wrong has; else nothing was shown. */
static bool all_happened(const struct tally *tally)
{
    if (sim_settings.oom || sim_settings.crash) {
        return sim_settings.crash ? tally->crashes > 0 : tally->refused > 0;
    }
    const uint64_t *counts = (const uint64_t *)tally;
    for (size_t i = 0; asked.count >= MANY && i < sizeof *tally / sizeof *counts; i++) {
        if (counts[i] == 0 && &counts[i] != &tally->refused) {
            (void)printf("the %zuth of these never happened\n", i + 1);
            return false;
        }
    }
    return true;
}

static int run_many(void)
{
    struct timespec began, ended;
    (void)clock_gettime(CLOCK_MONOTONIC, &began);
    uint64_t first_failure, failures = run_jobs(&first_failure);
    (void)clock_gettime(CLOCK_MONOTONIC, &ended);
    struct tally tally = sum();
    print_tally(&tally);
    (void)printf("%.1f s, %" PRIu64 " failed\n",
                 (double)(ended.tv_sec - began.tv_sec) +
                     (double)(ended.tv_nsec - began.tv_nsec) / 1e9,
                 failures);
    if (sim_settings.plant) {
        (void)printf("planted %s: %s\n", sim_settings.plant, failures ? "found" : "not found");
        return failures == 0;
    }
    return failures > 0 || !all_happened(&tally);
}

/* NTH+WIDTH */
static void parse_nth(const char *text)
{
    char *plus = NULL;
    sim_settings.nth = text ? strtoull(text, &plus, 10) : 0;
    sim_settings.width = plus && *plus == '+' ? strtoull(plus + 1, NULL, 10) : 1;
}

static bool parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},  {"first", required_argument, NULL, 'f'},
        {"count", required_argument, NULL, 'c'}, {"jobs", required_argument, NULL, 'j'},
        {"plant", required_argument, NULL, 'p'}, {"trace", no_argument, NULL, 't'},
        {"same", no_argument, NULL, 'm'},        {"oom", optional_argument, NULL, 'o'},
        {"crash", optional_argument, NULL, 'x'}, {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint64_t number = optarg ? strtoull(optarg, NULL, 10) : 0;
        switch (option) {
        case 's':
            asked.single = true;
            asked.first = number;
            break;
        case 'f':
            asked.first = number;
            break;
        case 'c':
            asked.count = number;
            break;
        case 'j':
            asked.jobs = number;
            break;
        case 'p':
            sim_settings.plant = optarg;
            break;
        case 't':
            sim_settings.trace = true;
            break;
        case 'o':
        case 'x':
            sim_settings.oom = option == 'o';
            sim_settings.crash = option == 'x';
            parse_nth(optarg);
            break;
        case 'm':
            asked.same = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc && asked.jobs > 0 && asked.jobs <= JOBS_MAX && asked.count > 0;
}

static bool known_plant(const char *plant)
{
    for (size_t i = 0; sim_plants[i]; i++) {
        if (strcmp(sim_plants[i], plant) == 0) {
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    sim_settings.program = argv[0];
    if (!parse(argc, argv) || (sim_settings.plant && !known_plant(sim_settings.plant))) {
        (void)fprintf(stderr,
                      "usage: %s [--seed N] [--trace] [--first N] [--count N] [--jobs N] "
                      "[--same] [--plant BUG] [--oom[=N+W]] [--crash[=N+W]]\n",
                      argv[0]);
        return 64;
    }
    jobs = mmap(NULL, JOBS_MAX * sizeof *jobs, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                -1, 0);
    assert(jobs != MAP_FAILED);
    ph_log_setup(PH_LOG_INFO, PH_LOG_LOGFMT);
    ph_log_to(take_line, NULL);
    (void)ph_lease_instance(); /* draws its name once, and not from a seed */
    if (!asked.single) {
        return run_many();
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* an assertion does not flush it */
    sim_tally = &jobs[0].tally;
    live_once(asked.first);
    (void)printf("seed %" PRIu64 ": nothing broke, hash %016" PRIx64 "\n", asked.first,
                 tasks_hash());
    print_tally(sim_tally);
    return 0;
}
