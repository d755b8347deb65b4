/*
 * Rows that came due and were sent in a committed transaction: until the source has removed them
 * they must not be sent again. A sorted array, since there are few at a time.
 */
#include "base/sys.h"
#include "sink/kafka_txn.h"

#define FIRST_ROOM 64

/* The index of the first that is not before `at`. */
static size_t place_of(const struct ph_kafka_rows *rows, struct ph_position at)
{
    size_t low = 0, high = rows->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ph_position_cmp(rows->at[middle], at) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool ph_kafka_rows_have(const struct ph_kafka_rows *rows, struct ph_position at)
{
    size_t place = place_of(rows, at);
    return place < rows->count && ph_position_cmp(rows->at[place], at) == 0;
}

static int grow(struct ph_kafka_rows *rows, struct ph_error *err)
{
    size_t room = rows->room ? rows->room * 2 : FIRST_ROOM;
    struct ph_position *bigger =
        rows->count < PH_KAFKA_ROWS_MAX ? ph_mem_resize(rows->at, room * sizeof *bigger) : NULL;
    if (!bigger) {
        return ph_fail(err, PH_E_NOMEM, "no room for more than %zu rows that were sent",
                       rows->count);
    }
    rows->at = bigger;
    rows->room = room;
    return 0;
}

int ph_kafka_rows_add(struct ph_kafka_rows *rows, struct ph_position at, struct ph_error *err)
{
    size_t place = place_of(rows, at);
    if (place < rows->count && ph_position_cmp(rows->at[place], at) == 0) {
        return 0;
    }
    int rc = rows->count == rows->room ? grow(rows, err) : 0;
    if (rc == 0) {
        memmove(rows->at + place + 1, rows->at + place, (rows->count - place) * sizeof *rows->at);
        rows->at[place] = at;
        rows->count++;
    }
    return rc;
}

void ph_kafka_rows_remove(struct ph_kafka_rows *rows, struct ph_position at)
{
    size_t place = place_of(rows, at);
    if (place < rows->count && ph_position_cmp(rows->at[place], at) == 0) {
        rows->count--;
        memmove(rows->at + place, rows->at + place + 1, (rows->count - place) * sizeof *rows->at);
    }
}

void ph_kafka_rows_free(struct ph_kafka_rows *rows)
{
    ph_mem_free(rows->at);
    *rows = (struct ph_kafka_rows){0};
}
