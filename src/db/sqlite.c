/*
 * SQLite for one thread, over sqlite3 3.40.
 * Place: below the source and the outbox driver. Promise: a wait for a lock ends in time; what
 * cannot work is said in one sentence that names the file; no text of an event is in an error.
 */
#include "db/sqlite.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "sql_sqlite.h"

#define BUSY_MS 5000

/* --- errors ------------------------------------------------------------------------------------
 */

static int code_of(int extended)
{
    if (extended == SQLITE_READONLY_DBMOVED) {
        return PH_E_UNAVAILABLE;
    }
    switch (extended & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return PH_E_UNAVAILABLE;
    case SQLITE_IOERR:
    case SQLITE_FULL:
        return PH_E_IO;
    case SQLITE_NOMEM:
        return PH_E_NOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
        return PH_E_DATA;
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return PH_E_CONFIG;
    default:
        return PH_E_SOFTWARE;
    }
}

static int fail(struct ph_sqlite *db, struct ph_error *err)
{
    int extended = sqlite3_extended_errcode(db->conn);
    db->busy = (extended & 0xff) == SQLITE_BUSY;
    if ((extended & 0xff) == SQLITE_NOTADB) {
        return ph_fail(err, PH_E_CONFIG, "%s is no SQLite database", db->name);
    }
    if (db->busy) {
        return ph_fail(err, PH_E_UNAVAILABLE,
                       "%s is locked by another program for longer than %lld ms", db->name,
                       (long long)db->busy_ms);
    }
    if ((extended & 0xff) == SQLITE_CANTOPEN || extended == SQLITE_READONLY_DIRECTORY) {
        return ph_fail(err, PH_E_CONFIG,
                       "cannot open %s: SQLite must be able to write its folder too, for the files "
                       "-wal and -shm beside it",
                       db->name);
    }
    return ph_fail(err, code_of(extended), "%s: %s", db->name, sqlite3_errmsg(db->conn));
}

/* --- opening -----------------------------------------------------------------------------------
 */

int ph_sqlite_path(const char *uri, struct ph_str *ret, struct ph_error *err)
{
    struct ph_str path = ph_str_from(uri);
    if (ph_str_starts(path, PH_STR("sqlite:"))) {
        path = (struct ph_str){path.ptr + 7, path.len - 7};
    }
    if (ph_str_starts(path, PH_STR("//"))) {
        path = (struct ph_str){path.ptr + 2, path.len - 2};
        if (!ph_str_starts(path, PH_STR("/"))) {
            return ph_fail(err, PH_E_CONFIG,
                           "%s names a host: write sqlite:FILE or sqlite:///absolute/FILE", uri);
        }
    }
    if (path.len == 0 || ph_str_is(path, ":memory:")) {
        return ph_fail(err, PH_E_CONFIG,
                       "a log needs a file that other programs can open: write sqlite:FILE");
    }
    *ret = path;
    return 0;
}

/* What SQLite would say less clearly. */
static int check_file(const char *path, enum ph_sqlite_mode mode, struct ph_error *err)
{
    struct stat st;
    if (stat(path, &st) == 0) {
        return S_ISREG(st.st_mode)
                   ? 0
                   : ph_fail(err, PH_E_CONFIG, "%s is not a file that SQLite can use", path);
    }
    if (errno == ENOENT && mode == PH_SQLITE_CREATE) {
        return 0;
    }
    if (errno == ENOENT) {
        return ph_fail(err, PH_E_CONFIG, "there is no file %s: posthorn init sqlite:%s makes it",
                       path, path);
    }
    return ph_fail(err, PH_E_CONFIG, "cannot open %s: %s", path, strerror(errno));
}

/* SQLite's own busy wait sleeps ever longer, so that a busy writer would starve us. */
static int wait_busy(void *arg, int times)
{
    const struct ph_sqlite *db = arg;
    (void)times;
    if (ph_clock_mono_us() >= db->deadline_us) {
        return 0;
    }
    (void)poll(NULL, 0, 1);
    return 1;
}

static void begin_wait(struct ph_sqlite *db)
{
    db->deadline_us = ph_clock_mono_us() + db->busy_ms * 1000;
}

static int check_pragma(struct ph_sqlite *db, const char *sql, const char *wanted,
                        const char *refusal, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(db, sql, NULL, 0, &stmt, err);
    if (rc < 0) {
        return rc;
    }
    const char *found = rc == 1 ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (!found || strcmp(found, wanted) != 0) {
        return ph_fail(err, PH_E_CONFIG, "%s %s", db->name, refusal);
    }
    return 0;
}

/* The first statement opens the file; NORMAL: what we write may be lost with the machine, and is
 * then done again. */
static int set_up(struct ph_sqlite *db, enum ph_sqlite_mode mode, struct ph_error *err)
{
    (void)sqlite3_extended_result_codes(db->conn, 1);
    (void)sqlite3_busy_handler(db->conn, wait_busy, db);
    if (sqlite3_db_readonly(db->conn, "main") == 1) {
        return ph_fail(err, PH_E_CONFIG, "%s may not be written by this user", db->name);
    }
    int rc = ph_sqlite_script(db, "PRAGMA synchronous = normal; PRAGMA trusted_schema = off", err);
    if (rc == 0) {
        rc = ph_sqlite_script(db, "SELECT 1 FROM sqlite_master LIMIT 1", err);
    }
    if (rc == 0) {
        rc = check_pragma(db, "PRAGMA encoding", "UTF-8",
                          "has texts in UTF-16, and Posthorn needs UTF-8", err);
    }
    if (rc == 0 && mode == PH_SQLITE_READ) {
        rc = ph_sqlite_script(db, "PRAGMA query_only = on", err);
    }
    return rc;
}

/* "./" in front keeps SQLite from reading "file:..." as a URI. */
static char *path_of(struct ph_str path)
{
    char *copy = ph_mem_alloc(path.len + 3);
    if (copy) {
        const char *prefix = path.ptr[0] == '/' ? "" : "./";
        (void)snprintf(copy, path.len + 3, "%s%.*s", prefix, PH_STR_ARG(path));
    }
    return copy;
}

int ph_sqlite_open(struct ph_sqlite *db, const char *uri, enum ph_sqlite_mode mode,
                   struct ph_error *err)
{
    assert(db && uri);
    struct ph_str path = PH_STR("");
    int rc = ph_sqlite_path(uri, &path, err);
    if (rc < 0) {
        return rc;
    }
    *db = (struct ph_sqlite){.path = path_of(path), .busy_ms = BUSY_MS};
    if (!db->path) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a database");
    }
    db->name = db->path + strlen(db->path) - path.len;
    rc = check_file(db->name, mode, err);
    if (rc == 0) {
        int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
                    (mode == PH_SQLITE_CREATE ? SQLITE_OPEN_CREATE : 0);
        if (sqlite3_open_v2(db->path, &db->conn, flags, NULL) != SQLITE_OK) {
            rc = db->conn ? fail(db, err) : ph_fail(err, PH_E_NOMEM, "no memory for a database");
        }
    }
    if (rc == 0) {
        rc = set_up(db, mode, err);
    }
    if (rc < 0) {
        ph_sqlite_close(db);
    }
    return rc;
}

void ph_sqlite_close(struct ph_sqlite *db)
{
    if (db->conn) {
        for (sqlite3_stmt *stmt; (stmt = sqlite3_next_stmt(db->conn, NULL));) {
            (void)sqlite3_finalize(stmt);
        }
        (void)sqlite3_close(db->conn);
    }
    ph_mem_free(db->path);
    *db = (struct ph_sqlite){0};
}

static int check_version(struct ph_sqlite *db, char log_id[PH_SQLITE_LOG_ID_LEN + 1],
                         struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(db, ph_sql_sqlite_q_identity, NULL, 0, &stmt, err);
    if (rc < 0) {
        return rc;
    }
    if (rc == 0) {
        return ph_fail(err, PH_E_CONFIG, "posthorn_meta in %s is empty: it is not Posthorn's",
                       db->name);
    }
    int64_t version = sqlite3_column_int64(stmt, 0);
    if (version != PH_SQLITE_SCHEMA_VERSION) {
        return ph_fail(err, PH_E_CONFIG,
                       "Posthorn's schema in %s has version %lld, this program knows version %d: "
                       "use a newer posthorn, or posthorn init",
                       db->name, (long long)version, PH_SQLITE_SCHEMA_VERSION);
    }
    (void)snprintf(log_id, PH_SQLITE_LOG_ID_LEN + 1, "%s",
                   (const char *)sqlite3_column_text(stmt, 1));
    return 0;
}

int ph_sqlite_check(struct ph_sqlite *db, char log_id[PH_SQLITE_LOG_ID_LEN + 1],
                    struct ph_error *err)
{
    int rc = check_pragma(db, ph_sql_sqlite_q_schema, "posthorn_meta",
                          "has no log of Posthorn: run posthorn init sqlite:FILE", err);
    if (rc == 0) {
        rc = check_version(db, log_id, err);
    }
    if (rc == 0) {
        rc =
            check_pragma(db, "PRAGMA journal_mode", "wal",
                         "is not in WAL mode, so that its readers and writers wait for each other: "
                         "run posthorn init sqlite:FILE, or PRAGMA journal_mode = wal",
                         err);
    }
    return rc;
}

void ph_sqlite_boot_id(char out[PH_SQLITE_BOOT_ID_SIZE])
{
    out[0] = '\0';
    PH_CLEANUP(ph_cleanup_stdio) FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (f && fgets(out, PH_SQLITE_BOOT_ID_SIZE, f)) {
        out[strcspn(out, "\n")] = '\0';
    }
}

/* --- statements --------------------------------------------------------------------------------
 */

int ph_sqlite_script(struct ph_sqlite *db, const char *sql, struct ph_error *err)
{
    begin_wait(db);
    return sqlite3_exec(db->conn, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(db, err);
}

int ph_sqlite_prepare(struct ph_sqlite *db, const char *sql, sqlite3_stmt **ret,
                      struct ph_error *err)
{
    begin_wait(db);
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v3(db->conn, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) !=
        SQLITE_OK) {
        return fail(db, err);
    }
    *ret = stmt;
    return 0;
}

static int bind_one(sqlite3_stmt *stmt, int number, const struct ph_sqlite_param *param)
{
    if (param->kind == PH_SQLITE_I64) {
        return sqlite3_bind_int64(stmt, number, param->i64);
    }
    if (!param->text.ptr) {
        return sqlite3_bind_null(stmt, number);
    }
    return sqlite3_bind_text64(stmt, number, param->text.ptr, param->text.len, SQLITE_STATIC,
                               SQLITE_UTF8);
}

int ph_sqlite_bind(struct ph_sqlite *db, sqlite3_stmt *stmt, const struct ph_sqlite_param *params,
                   size_t count, struct ph_error *err)
{
    (void)sqlite3_reset(stmt);
    for (size_t i = 0; i < count; i++) {
        if (bind_one(stmt, (int)i + 1, &params[i]) != SQLITE_OK) {
            return fail(db, err);
        }
    }
    return 0;
}

int ph_sqlite_step(struct ph_sqlite *db, sqlite3_stmt *stmt, struct ph_error *err)
{
    if (!sqlite3_stmt_busy(stmt)) {
        begin_wait(db);
    }
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        return 1;
    }
    int failed = rc == SQLITE_DONE ? 0 : fail(db, err);
    (void)sqlite3_reset(stmt);
    return failed;
}

int ph_sqlite_query(struct ph_sqlite *db, const char *sql, const struct ph_sqlite_param *params,
                    size_t count, sqlite3_stmt **ret, struct ph_error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_prepare(db, sql, &stmt, err);
    if (rc == 0) {
        rc = ph_sqlite_bind(db, stmt, params, count, err);
    }
    if (rc == 0) {
        rc = ph_sqlite_step(db, stmt, err);
    }
    if (rc < 0) {
        (void)sqlite3_finalize(stmt);
        return rc;
    }
    *ret = stmt;
    return rc;
}

int ph_sqlite_run(struct ph_sqlite *db, const char *sql, const struct ph_sqlite_param *params,
                  size_t count, struct ph_error *err)
{
    PH_CLEANUP(ph_cleanup_sqlite_stmt) sqlite3_stmt *stmt = NULL;
    int rc = ph_sqlite_query(db, sql, params, count, &stmt, err);
    while (rc == 1) {
        rc = ph_sqlite_step(db, stmt, err);
    }
    return rc < 0 ? rc : sqlite3_changes(db->conn);
}

/* --- the file ----------------------------------------------------------------------------------
 */

bool ph_sqlite_moved(struct ph_sqlite *db)
{
    int moved = 0;
    return sqlite3_file_control(db->conn, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
           moved != 0;
}

static sqlite3_file *file_of(struct ph_sqlite *db, int which)
{
    sqlite3_file *file = NULL;
    return sqlite3_file_control(db->conn, "main", which, (void *)&file) == SQLITE_OK && file &&
                   file->pMethods
               ? file
               : NULL;
}

#define SALTS_AT                                                                    \
    16 /* in the header of a WAL: https://www.sqlite.org/fileformat2.html#walformat \
        */

/*
 * A commit with synchronous=normal or off is visible before it is on disk, and a crash of the
 * machine would take it back; so we sync before what we read leaves. No lock is held meanwhile.
 *
 * Why it is enough. What a reader sees lies in frames of the WAL up to the commit it began at, or
 * in the database file, where a checkpoint copied it from frames of this WAL or of those before it
 * (SQLite begins the WAL anew, with new salts, only when all of it was copied).
 *  - The sync of the WAL file makes all frames written before it last. A crash then finds the WAL's
 *    header and an unbroken row of frames as far as we read, and takes them whatever the state of
 *    the database file. A checkpoint that runs meanwhile copies frames and removes none.
 *  - If the WAL began anew between our reading and the sync, what we read is in the database file,
 *    which the one who did it has synced before, unless it runs with synchronous=off. Therefore the
 *    salts are read after the sync: when they differ from those seen last, or the WAL was cut to
 *    nothing and has none, some WAL was copied whole since, and the database file is synced too.
 *    That is one more sync for each turn of the WAL.
 * What is left is a program with synchronous=off that begins the WAL anew after this and loses
 * power before the disk has its copy: that damages the whole database, also for a commit with
 * synchronous=full, and SQLite says so of that setting.
 */
static int sync_files(struct ph_sqlite *db, struct ph_error *err)
{
    sqlite3_file *wal = file_of(db, SQLITE_FCNTL_JOURNAL_POINTER);
    sqlite3_file *main_file = file_of(db, SQLITE_FCNTL_FILE_POINTER);
    if (!wal || !main_file) {
        return ph_fail(err, PH_E_IO, "%s: SQLite shows no WAL file", db->name);
    }
    uint32_t salts[2] = {0, 0};
    int rc = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL);
    if (rc == SQLITE_OK) {
        rc = wal->pMethods->xRead(wal, salts, sizeof salts, SALTS_AT);
        rc = rc == SQLITE_IOERR_SHORT_READ ? SQLITE_OK : rc; /* an empty WAL has no salts */
    }
    bool emptied = salts[0] == 0 && salts[1] == 0;
    if (rc == SQLITE_OK &&
        (!db->synced || emptied || memcmp(salts, db->salts, sizeof salts) != 0)) {
        rc = main_file->pMethods->xSync(main_file, SQLITE_SYNC_NORMAL);
        memcpy(db->salts, salts, sizeof salts);
    }
    db->synced = rc == SQLITE_OK;
    return db->synced
               ? 0
               : ph_fail(err, PH_E_IO, "%s cannot be synced: %s", db->name, sqlite3_errstr(rc));
}

/* The names of the files must last too; whoever made them may run with synchronous=off. */
static int sync_folder(const struct ph_sqlite *db, struct ph_error *err)
{
    const char *slash = strrchr(db->path, '/');
    assert(slash); /* path_of saw to it */
    PH_CLEANUP(ph_cleanup_mem) char *folder = ph_mem_strdup(db->path);
    if (!folder) {
        return ph_fail(err, PH_E_NOMEM, "no memory for a path");
    }
    folder[slash - db->path + 1] = '\0';
    PH_CLEANUP(ph_cleanup_fd) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0) {
        return ph_fail(err, PH_E_IO, "folder %s cannot be synced: %s", folder, strerror(errno));
    }
    return 0;
}

int ph_sqlite_sync(struct ph_sqlite *db, struct ph_error *err)
{
    int rc = db->synced ? 0 : sync_folder(db, err);
    return rc < 0 ? rc : sync_files(db, err);
}
