/*
 * UUIDs: text, and random ones of version 4. Formatting is on the hot path of every event: one
 * table of hexadecimal pairs, no branches on the bytes.
 */
#include "base/uuid.h"

#include <assert.h>
#include <string.h>

#include "base/rand.h"

static const char hex_pairs[] = "000102030405060708090a0b0c0d0e0f"
                                "101112131415161718191a1b1c1d1e1f"
                                "202122232425262728292a2b2c2d2e2f"
                                "303132333435363738393a3b3c3d3e3f"
                                "404142434445464748494a4b4c4d4e4f"
                                "505152535455565758595a5b5c5d5e5f"
                                "606162636465666768696a6b6c6d6e6f"
                                "707172737475767778797a7b7c7d7e7f"
                                "808182838485868788898a8b8c8d8e8f"
                                "909192939495969798999a9b9c9d9e9f"
                                "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
                                "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
                                "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
                                "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
                                "e0e1e2e3e4e5e6e7e8e9eaebecedeeef"
                                "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";

/* Where each byte's pair stands in the text. */
static const uint8_t places[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};

void ph_uuid_format(const struct ph_uuid *uuid, char out[PH_UUID_TEXT_LEN + 1])
{
    assert(uuid && out);
    for (size_t i = 0; i < sizeof places; i++) {
        memcpy(out + places[i], hex_pairs + (size_t)2 * uuid->bytes[i], 2);
    }
    out[8] = out[13] = out[18] = out[23] = '-';
    out[PH_UUID_TEXT_LEN] = '\0';
}

/* The value of a hexadecimal digit and the bit DIGIT; 0 for any other byte. A table, since branches
 * on random digits cost more than all the rest. */
#define DIGIT 0x10
static const uint8_t digits[256] = {
    ['0'] = 0x10, ['1'] = 0x11, ['2'] = 0x12, ['3'] = 0x13, ['4'] = 0x14, ['5'] = 0x15,
    ['6'] = 0x16, ['7'] = 0x17, ['8'] = 0x18, ['9'] = 0x19, ['a'] = 0x1a, ['b'] = 0x1b,
    ['c'] = 0x1c, ['d'] = 0x1d, ['e'] = 0x1e, ['f'] = 0x1f, ['A'] = 0x1a, ['B'] = 0x1b,
    ['C'] = 0x1c, ['D'] = 0x1d, ['E'] = 0x1e, ['F'] = 0x1f,
};

bool ph_uuid_parse(struct ph_str text, struct ph_uuid *out)
{
    assert(out);
    if (text.len != PH_UUID_TEXT_LEN || text.ptr[8] != '-' || text.ptr[13] != '-' ||
        text.ptr[18] != '-' || text.ptr[23] != '-') {
        return false;
    }
    struct ph_uuid uuid;
    unsigned all = DIGIT;
    for (size_t i = 0; i < sizeof places; i++) {
        unsigned high = digits[(unsigned char)text.ptr[places[i]]];
        unsigned low = digits[(unsigned char)text.ptr[places[i] + 1]];
        all &= high & low;
        uuid.bytes[i] = (uint8_t)(high << 4 | (low & 0x0F));
    }
    if ((all & DIGIT) == 0) {
        return false;
    }
    *out = uuid;
    return true;
}

void ph_uuid_random(struct ph_uuid *out)
{
    assert(out);
    uint64_t halves[2] = {ph_rand_u64(), ph_rand_u64()};
    memcpy(out->bytes, halves, sizeof out->bytes);
    out->bytes[6] = (uint8_t)((out->bytes[6] & 0x0F) | 0x40); /* version 4 */
    out->bytes[8] = (uint8_t)((out->bytes[8] & 0x3F) | 0x80); /* the variant of RFC 9562 */
}
