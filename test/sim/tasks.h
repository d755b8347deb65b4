/*
 * A deterministic world for real code: threads become tasks of which one runs at a time, the waits
 * of ph_sys end in the order that a seed chooses, and the clock moves only when somebody runs, or
 * to the next deadline when nobody can. Everything ph_sys offers but memory is replaced.
 */
#ifndef PH_SIM_TASKS_H
#define PH_SIM_TASKS_H

#include <stdbool.h>
#include <stdint.h>

/* Numbers from a seed. */
struct dice {
    uint64_t state;
};

uint64_t dice_draw(struct dice *dice);
/* Below bound, which is not 0. */
uint64_t dice_below(struct dice *dice, uint64_t bound);
/* True once in n; never for 0. */
bool dice_one_in(struct dice *dice, unsigned n);

/* Who tasks belong to: the threads of one instance are stopped and go on together. */
struct actor {
    char name[16];
    int64_t asleep_until_us;
};

/* Forgets the last world, sets the clock and replaces ph_sys. */
void tasks_begin(uint64_t seed);
/* Adds a task; threads that it starts belong to its actor too. */
void tasks_spawn(struct actor *actor, void *(*run)(void *arg), void *arg);
/* Runs until all tasks are over. A deadlock or steps_max steps break the world (sim_broken). */
void tasks_run(uint64_t steps_max);

/* From a task: lets others run; waits so long. */
void tasks_step(void);
void tasks_sleep(int64_t us);
int64_t tasks_now_us(void);
/* A wall-clock time as the trace says times; 0: 0. */
double tasks_wall_s(int64_t wall_us);
/* The name of the actor whose task runs. */
const char *tasks_actor(void);
const struct actor *tasks_running(void);
/* The same for the same seed: all that was chosen, hashed. */
uint64_t tasks_hash(void);
uint64_t tasks_steps(void);

/* Says what broke, how to replay the seed, and ends this program. */
void sim_broken(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* How to live a seed again. */
void sim_say_replay(uint64_t seed);
/* A line of the trace, when one was asked for. */
void sim_trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

extern struct sim_settings {
    uint64_t seed;
    bool trace;
    const char *program;
    const char *plant; /* the bug that is planted; NULL: none */
    /* The world is small, and from the nth on so many requests of its instances for memory fail; or
     * its nth call of a driver is a crash, of width 1 without its effect, of 2 with it. */
    bool oom, crash;
    uint64_t nth, width;
} sim_settings;

#endif
