/*
 * The scheduler: tasks on stacks of their own in one real thread, so that a switch costs little and
 * nothing depends on the machine. A task leaves the processor only inside a call of ph_sys or in
 * tasks_step; no lock of the code under test may be held there, or the program hangs.
 */
#include "tasks.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/sys.h"

#ifndef __has_feature
#define __has_feature(feature) 0 /* it is clang's */
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define WITH_ASAN 1
#else
#define WITH_ASAN 0
#endif

#define TASKS_MAX   16
#define STACK_BYTES ((size_t)512 << 10)
#define BEGIN_US    INT64_C(1000000000)
#define WALL_US     INT64_C(1700000000000000)
#define STEP_US     30 /* a step takes less */

enum state { FREE, READY, WAITING, JOINING, OVER };

struct task {
    enum state state;
    ucontext_t context;
    char *stack;
    void *fake_stack; /* ASan's */
    struct actor *actor;
    void *(*run)(void *arg);
    void *arg;
    bool joinable;
    int64_t due_us; /* WAITING */
    struct pollfd *fds;
    nfds_t fd_count;
    size_t other; /* JOINING */
};

static struct {
    struct task list[TASKS_MAX];
    struct task *running;
    ucontext_t context;
    void *fake_stack;
    const void *stack; /* of the program itself, as ASan knows it */
    size_t stack_bytes;
    int64_t now_us;
    struct dice choice, numbers;
    uint64_t hash, steps;
} tasks;

struct sim_settings sim_settings;

/* --- numbers ---------------------------------------------------------------------------------- */

uint64_t dice_draw(struct dice *dice)
{
    uint64_t mixed = dice->state += 0x9e3779b97f4a7c15U;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebU;
    return mixed ^ (mixed >> 31);
}

uint64_t dice_below(struct dice *dice, uint64_t bound)
{
    assert(bound > 0);
    return dice_draw(dice) % bound;
}

bool dice_one_in(struct dice *dice, unsigned n)
{
    return n > 0 && dice_below(dice, n) == 0;
}

/* --- switching -------------------------------------------------------------------------------- */

static void leave_for(void **save, const void *stack, size_t bytes)
{
#if WITH_ASAN
    __sanitizer_start_switch_fiber(save, stack, bytes);
#else
    (void)save, (void)stack, (void)bytes;
#endif
}

static void arrived(void *saved, const void **from, size_t *bytes)
{
#if WITH_ASAN
    __sanitizer_finish_switch_fiber(saved, from, bytes);
#else
    (void)saved, (void)from, (void)bytes;
#endif
}

/* From a task to the scheduler; comes back when the task is chosen. */
static void leave(struct task *task)
{
    leave_for(task->state == OVER ? NULL : &task->fake_stack, tasks.stack, tasks.stack_bytes);
    (void)swapcontext(&task->context, &tasks.context);
    arrived(task->fake_stack, NULL, NULL);
}

static void enter(void)
{
    struct task *task = tasks.running;
    arrived(NULL, &tasks.stack, &tasks.stack_bytes);
    (void)task->run(task->arg);
    task->state = OVER;
    leave(task);
    abort();
}

static void switch_to(struct task *task)
{
    tasks.running = task;
    leave_for(&tasks.fake_stack, task->stack, STACK_BYTES);
    (void)swapcontext(&tasks.context, &task->context);
    arrived(tasks.fake_stack, NULL, NULL);
    tasks.running = NULL;
    if (task->state == OVER && !task->joinable) {
        task->state = FREE;
    }
}

static struct task *new_task(struct actor *actor, void *(*run)(void *arg), void *arg)
{
    struct task *task = tasks.list;
    while (task < tasks.list + TASKS_MAX && task->state != FREE) {
        task++;
    }
    assert(task < tasks.list + TASKS_MAX);
    char *stack = task->stack;
    if (!stack) {
        stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        assert(stack != MAP_FAILED);
    }
#if WITH_ASAN
    __asan_unpoison_memory_region(stack, STACK_BYTES);
#endif
    memset(task, 0, sizeof *task);
    task->state = READY;
    task->stack = stack;
    task->actor = actor;
    task->run = run;
    task->arg = arg;
    (void)getcontext(&task->context);
    task->context.uc_stack.ss_sp = stack;
    task->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&task->context, enter, 0);
    return task;
}

void tasks_spawn(struct actor *actor, void *(*run)(void *arg), void *arg)
{
    (void)new_task(actor, run, arg);
}

/* --- what ph_sys offers ----------------------------------------------------------------------- */

static int64_t fake_mono_us(void)
{
    return tasks.now_us;
}

static int64_t fake_wall_us(void)
{
    return tasks.now_us - BEGIN_US + WALL_US;
}

static uint64_t fake_random_u64(void)
{
    return dice_draw(&tasks.numbers);
}

static int fake_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    struct task *task = tasks.running;
    assert(task);
    task->state = WAITING;
    task->fds = fds;
    task->fd_count = count;
    task->due_us = timeout_ms < 0 ? INT64_MAX : tasks.now_us + (int64_t)timeout_ms * 1000;
    leave(task);
    return poll(fds, count, 0);
}

static int fake_thread_start(pthread_t *ret, void *(*run)(void *arg), void *arg)
{
    struct task *task = new_task(tasks.running->actor, run, arg);
    task->joinable = true;
    *ret = (pthread_t)(task - tasks.list);
    return 0;
}

static void fake_thread_join(pthread_t thread)
{
    struct task *task = tasks.running;
    task->state = JOINING;
    task->other = (size_t)thread;
    leave(task);
    tasks.list[thread].state = FREE;
}

void tasks_step(void)
{
    tasks.running->state = READY;
    leave(tasks.running);
}

void tasks_sleep(int64_t us)
{
    struct task *task = tasks.running;
    task->state = WAITING;
    task->fd_count = 0;
    task->due_us = tasks.now_us + us;
    leave(task);
}

int64_t tasks_now_us(void)
{
    return tasks.now_us;
}

double tasks_wall_s(int64_t wall_us)
{
    return wall_us ? (double)(wall_us - WALL_US) / 1e6 : 0;
}

const char *tasks_actor(void)
{
    return tasks.running ? tasks.running->actor->name : "";
}

const struct actor *tasks_running(void)
{
    return tasks.running ? tasks.running->actor : NULL;
}

uint64_t tasks_hash(void)
{
    return tasks.hash;
}

uint64_t tasks_steps(void)
{
    return tasks.steps;
}

/* --- choosing --------------------------------------------------------------------------------- */

static bool fds_ready(const struct task *task)
{
    return task->fd_count > 0 && poll(task->fds, task->fd_count, 0) > 0;
}

static bool can_run(const struct task *task)
{
    bool over = task->state == FREE || task->state == OVER;
    if (over || tasks.now_us < task->actor->asleep_until_us) {
        return false;
    }
    switch (task->state) {
    case READY:
        return true;
    case WAITING:
        return task->due_us <= tasks.now_us || fds_ready(task);
    case JOINING:
        return tasks.list[task->other].state == OVER;
    case FREE:
    case OVER:
        break;
    }
    return false;
}

static struct task *choose(void)
{
    struct task *ready[TASKS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < TASKS_MAX; i++) {
        if (can_run(&tasks.list[i])) {
            ready[count++] = &tasks.list[i];
        }
    }
    return count == 0 ? NULL : ready[dice_below(&tasks.choice, count)];
}

static bool any_left(void)
{
    for (size_t i = 0; i < TASKS_MAX; i++) {
        if (tasks.list[i].state != FREE && tasks.list[i].state != OVER) {
            return true;
        }
    }
    return false;
}

/* When nobody can run: to the next time at which somebody may. */
static void skip_time(void)
{
    int64_t next_us = INT64_MAX;
    for (size_t i = 0; i < TASKS_MAX; i++) {
        const struct task *task = &tasks.list[i];
        int64_t due_us = task->state == WAITING && !fds_ready(task) ? task->due_us : tasks.now_us;
        if (task->state == FREE || task->state == OVER ||
            (task->state == JOINING && tasks.list[task->other].state != OVER)) {
            continue;
        }
        if (due_us < task->actor->asleep_until_us) {
            due_us = task->actor->asleep_until_us;
        }
        next_us = due_us < next_us ? due_us : next_us;
    }
    if (next_us == INT64_MAX) {
        sim_broken("deadlock: every task waits for another");
    }
    assert(next_us > tasks.now_us);
    tasks.now_us = next_us;
}

void tasks_run(uint64_t steps_max)
{
    while (any_left()) {
        struct task *task = choose();
        if (!task) {
            skip_time();
            continue;
        }
        tasks.hash =
            (tasks.hash ^ (uint64_t)(task - tasks.list) ^ (uint64_t)tasks.now_us) * 0x100000001b3U;
        tasks.now_us += 1 + (int64_t)dice_below(&tasks.choice, STEP_US);
        if (++tasks.steps > steps_max) {
            sim_broken("not over after %llu steps", (unsigned long long)steps_max);
        }
        switch_to(task);
    }
}

void tasks_begin(uint64_t seed)
{
    for (size_t i = 0; i < TASKS_MAX; i++) {
        assert(tasks.list[i].state == FREE);
    }
    tasks.now_us = BEGIN_US;
    tasks.choice.state = seed * 3;
    tasks.numbers.state = seed * 3 + 1;
    tasks.hash = 0xcbf29ce484222325U;
    tasks.steps = 0;
    ph_sys.mono_us = fake_mono_us;
    ph_sys.wall_us = fake_wall_us;
    ph_sys.random_u64 = fake_random_u64;
    ph_sys.poll = fake_poll;
    ph_sys.thread_start = fake_thread_start;
    ph_sys.thread_join = fake_thread_join;
}

/* --- words ------------------------------------------------------------------------------------ */

void sim_say_replay(uint64_t seed)
{
    const struct sim_settings *set = &sim_settings;
    (void)fprintf(stderr, "  %s --seed %llu", set->program, (unsigned long long)seed);
    if (set->plant) {
        (void)fprintf(stderr, " --plant %s", set->plant);
    }
    if (set->oom || set->crash) {
        (void)fprintf(stderr, " --%s=%llu+%llu", set->oom ? "oom" : "crash",
                      (unsigned long long)set->nth, (unsigned long long)set->width);
    }
    (void)fprintf(stderr, " --trace\n");
}

void sim_broken(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)fflush(stdout);
    (void)fprintf(stderr, "seed %llu: ", (unsigned long long)sim_settings.seed);
    (void)vfprintf(stderr, fmt, args);
    (void)fprintf(stderr, " (at %.3f s, %s)\n", (double)(tasks.now_us - BEGIN_US) / 1e6,
                  tasks_actor());
    sim_say_replay(sim_settings.seed);
    va_end(args);
    _exit(1);
}

void sim_trace(const char *fmt, ...)
{
    if (!sim_settings.trace) {
        return;
    }
    va_list args;
    va_start(args, fmt);
    (void)printf("%10.6f %-6s ", (double)(tasks.now_us - BEGIN_US) / 1e6, tasks_actor());
    (void)vprintf(fmt, args);
    (void)putchar('\n');
    va_end(args);
}
