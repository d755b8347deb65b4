/*
 * Puts typed values into the text of a statement that cannot take parameters. See pg_bind.h for why
 * this is safe.
 */
#include "db/pg_bind.h"

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || c == '_' || (c >= '0' && c <= '9');
}

static void put_value(struct ph_buf *out, const struct ph_pg_bind *bind)
{
    switch (bind->kind) {
    case PH_PG_BIND_I64:
        ph_buf_put_i64(out, bind->i64);
        break;
    case PH_PG_BIND_U64:
        ph_buf_put_u64(out, bind->u64);
        break;
    case PH_PG_BIND_SNAPSHOT:
        ph_pg_snapshot_put(out, bind->snapshot);
        break;
    case PH_PG_BIND_XIDS:
        ph_buf_putc(out, '{');
        for (size_t i = 0; i < bind->xid_count; i++) {
            if (i > 0) {
                ph_buf_putc(out, ',');
            }
            ph_buf_put_u64(out, bind->xids[i]);
        }
        ph_buf_putc(out, '}');
        break;
    }
}

static const struct ph_pg_bind *find(const struct ph_pg_bind *binds, size_t count,
                                     struct ph_str name)
{
    for (size_t i = 0; i < count; i++) {
        if (ph_str_is(name, binds[i].name)) {
            return &binds[i];
        }
    }
    return NULL;
}

int ph_pg_bind(struct ph_buf *out, const char *sql, const struct ph_pg_bind *binds, size_t count,
               struct ph_error *err)
{
    const char *at = sql;
    while (*at != '\0') {
        size_t plain = strcspn(at, ":");
        ph_buf_put(out, at, plain);
        at += plain;
        if (at[0] == ':' && at[1] == ':') { /* a cast */
            ph_buf_puts(out, "::");
            at += 2;
            continue;
        }
        if (at[0] != ':') {
            break;
        }
        bool quoted = at[1] == '\'';
        const char *name = at + (quoted ? 2 : 1);
        size_t len = 0;
        while (name_char(name[len])) {
            len++;
        }
        const struct ph_pg_bind *bind = find(binds, count, (struct ph_str){name, len});
        if (!bind || (quoted && name[len] != '\'')) {
            return ph_fail(err, PH_E_SOFTWARE, "no value for :%.*s in a statement", (int)len, name);
        }
        if (quoted) {
            ph_buf_putc(out, '\'');
        }
        put_value(out, bind);
        if (quoted) {
            ph_buf_putc(out, '\'');
        }
        at = name + len + (quoted ? 1 : 0);
    }
    return ph_buf_check(out, "a statement", err);
}
