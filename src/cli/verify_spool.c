/*
 * One temporary file as many append-only lists: each partition is a chain of blocks, of which the
 * last is in memory. Whoever fills a block already knows where the next one will lie, so a chain
 * is written once and read forward.
 * Place: below verify_compare.c.
 * Promise: memory is one block per partition, whatever is put; the file has no name and goes with
 * the program.
 */
#include "cli/verify_spool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define BLOCK_SIZE ((size_t)4096)

struct block {
    int64_t next; /* where the next block of the chain lies */
    char items[BLOCK_SIZE - sizeof(int64_t)];
};

struct chain {
    int64_t first, last; /* offsets of blocks; the last is not written yet */
    size_t count;        /* of items in all */
    size_t in_last;      /* of items in the last block */
};

struct ph_spool {
    int fd;
    size_t partitions, item_size, per_block;
    int64_t end; /* of the file, blocks that will be written included */
    struct chain *chains;
    struct block *open; /* the last block of each chain */
    struct {
        size_t partition, left, at; /* left in the chain, at in the block */
        struct block block;
        int64_t offset; /* of the next block to read */
    } read;
};

static int open_unnamed(struct ph_error *err)
{
    const char *dir = getenv("TMPDIR");
    dir = dir && *dir ? dir : "/tmp";
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) {
        return fd;
    }
    struct ph_buf path; /* a file system without O_TMPFILE: a name that goes at once */
    ph_buf_init(&path, 4096);
    ph_buf_printf(&path, "%s/posthorn-XXXXXX", dir);
    fd = path.failed ? -1 : mkostemp(path.ptr, O_CLOEXEC);
    if (fd < 0) {
        (void)ph_fail(err, PH_E_IO, "cannot make a temporary file in %s (see TMPDIR): %s", dir,
                      strerrordesc_np(errno));
    } else {
        (void)unlink(path.ptr);
    }
    ph_buf_free(&path);
    return fd;
}

int ph_spool_new(size_t partitions, size_t item_size, struct ph_spool **ret, struct ph_error *err)
{
    assert(partitions > 0 && partitions <= PH_SPOOL_PARTITIONS_MAX);
    assert(item_size > 0 && item_size % 8 == 0 && item_size <= PH_SPOOL_ITEM_MAX);
    struct ph_spool *spool = ph_mem_zero(1, sizeof *spool);
    if (!spool) {
        return ph_fail(err, PH_E_NOMEM, "out of memory");
    }
    spool->partitions = partitions;
    spool->item_size = item_size;
    spool->per_block = sizeof spool->open->items / item_size;
    spool->chains = ph_mem_zero(partitions, sizeof *spool->chains);
    spool->open = ph_mem_zero(partitions, sizeof *spool->open);
    spool->fd = open_unnamed(err);
    bool memory = spool->chains && spool->open;
    if (!memory || spool->fd < 0) {
        ph_spool_free(spool);
        return memory ? PH_E_IO : ph_fail(err, PH_E_NOMEM, "out of memory");
    }
    *ret = spool;
    return 0;
}

void ph_spool_free(struct ph_spool *spool)
{
    if (!spool) {
        return;
    }
    if (spool->fd >= 0) {
        (void)close(spool->fd);
    }
    ph_mem_free(spool->chains);
    ph_mem_free(spool->open);
    ph_mem_free(spool);
}

static int64_t claim_block(struct ph_spool *spool)
{
    int64_t offset = spool->end;
    spool->end += (int64_t)BLOCK_SIZE;
    return offset;
}

static int write_block(struct ph_spool *spool, const struct block *block, int64_t offset,
                       struct ph_error *err)
{
    const char *bytes = (const char *)block;
    for (size_t done = 0; done < BLOCK_SIZE;) {
        ssize_t n = pwrite(spool->fd, bytes + done, BLOCK_SIZE - done, offset + (int64_t)done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return ph_fail(err, PH_E_IO, "cannot write to a temporary file (see TMPDIR): %s",
                           strerrordesc_np(errno));
        }
        done += (size_t)n;
    }
    return 0;
}

int ph_spool_put(struct ph_spool *spool, size_t partition, const void *item, struct ph_error *err)
{
    assert(partition < spool->partitions);
    struct chain *chain = &spool->chains[partition];
    struct block *block = &spool->open[partition];
    if (chain->count == 0) {
        chain->first = chain->last = claim_block(spool);
    }
    if (chain->in_last == spool->per_block) {
        block->next = claim_block(spool);
        int rc = write_block(spool, block, chain->last, err);
        if (rc < 0) {
            return rc;
        }
        chain->last = block->next;
        chain->in_last = 0;
    }
    memcpy(block->items + chain->in_last * spool->item_size, item, spool->item_size);
    chain->in_last++;
    chain->count++;
    return 0;
}

size_t ph_spool_count(const struct ph_spool *spool, size_t partition)
{
    return spool->chains[partition].count;
}

void ph_spool_rewind(struct ph_spool *spool, size_t partition)
{
    assert(partition < spool->partitions);
    spool->read.partition = partition;
    spool->read.left = spool->chains[partition].count;
    spool->read.offset = spool->chains[partition].first;
    spool->read.at = spool->per_block;
}

static int read_block(struct ph_spool *spool, struct ph_error *err)
{
    int64_t offset = spool->read.offset;
    spool->read.at = 0;
    if (offset == spool->chains[spool->read.partition].last) {
        spool->read.block = spool->open[spool->read.partition];
        return 0;
    }
    char *bytes = (char *)&spool->read.block;
    for (size_t done = 0; done < BLOCK_SIZE;) {
        ssize_t n = pread(spool->fd, bytes + done, BLOCK_SIZE - done, offset + (int64_t)done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return ph_fail(err, PH_E_IO, "cannot read a temporary file back");
        }
        done += (size_t)n;
    }
    spool->read.offset = spool->read.block.next;
    return 0;
}

int ph_spool_next(struct ph_spool *spool, void *item, struct ph_error *err)
{
    if (spool->read.left == 0) {
        return 0;
    }
    if (spool->read.at == spool->per_block) {
        int rc = read_block(spool, err);
        if (rc < 0) {
            return rc;
        }
    }
    memcpy(item, spool->read.block.items + spool->read.at * spool->item_size, spool->item_size);
    spool->read.at++;
    spool->read.left--;
    return 1;
}
