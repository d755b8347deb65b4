/*
 * C11's threads over POSIX's, for unit tests under ThreadSanitizer. gcc 12's watches pthread_*
 * alone: a thread that librdkafka makes by thrd_create has no state there, and the first call that
 * is watched ends it. Linked into the test, these come before the C library's. Promise: the calls
 * that librdkafka makes, as C11 says; nothing else.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

/* glibc's own sizes: the types hold the same objects. */
_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t), "mtx_t");
_Static_assert(sizeof(cnd_t) >= sizeof(pthread_cond_t), "cnd_t");
_Static_assert(sizeof(once_flag) >= sizeof(pthread_once_t), "once_flag");
_Static_assert(sizeof(thrd_t) >= sizeof(pthread_t), "thrd_t");

struct begin {
    thrd_start_t call;
    void *arg;
};

static int result(int error)
{
    switch (error) {
    case 0:
        return thrd_success;
    case EBUSY:
        return thrd_busy;
    case ETIMEDOUT:
        return thrd_timedout;
    case ENOMEM:
        return thrd_nomem;
    default:
        return thrd_error;
    }
}

static void *begin_thread(void *arg)
{
    struct begin begin = *(struct begin *)arg;
    free(arg);
    return (void *)(intptr_t)begin.call(begin.arg);
}

int thrd_create(thrd_t *thread, thrd_start_t call, void *arg)
{
    struct begin *begin = malloc(sizeof *begin);
    if (!begin) {
        return thrd_nomem;
    }
    *begin = (struct begin){call, arg};
    int error = pthread_create(thread, NULL, begin_thread, begin);
    if (error != 0) {
        free(begin);
    }
    return result(error);
}

int thrd_join(thrd_t thread, int *ret)
{
    void *value = NULL;
    int error = pthread_join(thread, &value);
    if (error == 0 && ret) {
        *ret = (int)(intptr_t)value;
    }
    return result(error);
}

int mtx_init(mtx_t *mutex, int type)
{
    pthread_mutexattr_t attr;
    (void)pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_settype(&attr, type & mtx_recursive ? PTHREAD_MUTEX_RECURSIVE
                                                                : PTHREAD_MUTEX_NORMAL);
    int error = pthread_mutex_init((pthread_mutex_t *)mutex, &attr);
    (void)pthread_mutexattr_destroy(&attr);
    return result(error);
}

int mtx_lock(mtx_t *mutex)
{
    return result(pthread_mutex_lock((pthread_mutex_t *)mutex));
}

int mtx_trylock(mtx_t *mutex)
{
    return result(pthread_mutex_trylock((pthread_mutex_t *)mutex));
}

int mtx_unlock(mtx_t *mutex)
{
    return result(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}

void mtx_destroy(mtx_t *mutex)
{
    (void)pthread_mutex_destroy((pthread_mutex_t *)mutex);
}

int cnd_init(cnd_t *cond)
{
    return result(pthread_cond_init((pthread_cond_t *)cond, NULL));
}

int cnd_signal(cnd_t *cond)
{
    return result(pthread_cond_signal((pthread_cond_t *)cond));
}

int cnd_broadcast(cnd_t *cond)
{
    return result(pthread_cond_broadcast((pthread_cond_t *)cond));
}

int cnd_wait(cnd_t *cond, mtx_t *mutex)
{
    return result(pthread_cond_wait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex));
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex,
                  const struct timespec *restrict until)
{
    return result(pthread_cond_timedwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex, until));
}

void cnd_destroy(cnd_t *cond)
{
    (void)pthread_cond_destroy((pthread_cond_t *)cond);
}

void call_once(once_flag *flag, void (*call)(void))
{
    (void)pthread_once((pthread_once_t *)flag, call);
}
