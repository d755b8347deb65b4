/* UUIDs: text both ways, everything that is not one, the bits of a random one. */
#include "unit.h"

#include "base/uuid.h"

static const char example[] = "00112233-4455-6677-8899-aabbccddeeff";

static void formats(void **state)
{
    (void)state;
    struct ph_uuid uuid;
    char text[PH_UUID_TEXT_LEN + 1];
    for (unsigned i = 0; i < 16; i++) {
        uuid.bytes[i] = (uint8_t)(i * 0x11);
    }
    ph_uuid_format(&uuid, text);
    assert_string_equal(text, example);
}

static void every_byte_value_both_ways(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 256; value++) {
        for (unsigned place = 0; place < 16; place++) {
            struct ph_uuid uuid = {{0}}, back;
            char text[PH_UUID_TEXT_LEN + 1];
            uuid.bytes[place] = (uint8_t)value;
            ph_uuid_format(&uuid, text);
            assert_true(ph_uuid_parse(ph_str_from(text), &back));
            assert_memory_equal(&uuid, &back, sizeof uuid);
        }
    }
}

static void either_case(void **state)
{
    (void)state;
    struct ph_uuid lower, upper;
    assert_true(ph_uuid_parse(ph_str_from(example), &lower));
    assert_true(ph_uuid_parse(PH_STR("00112233-4455-6677-8899-AaBbCcDdEeFf"), &upper));
    assert_memory_equal(&lower, &upper, sizeof lower);
}

static void refuses_other_texts(void **state)
{
    (void)state;
    struct ph_uuid uuid, before;
    memset(&uuid, 0x5A, sizeof uuid);
    before = uuid;
    assert_false(ph_uuid_parse((struct ph_str){NULL, 0}, &uuid));
    assert_false(ph_uuid_parse(PH_STR(""), &uuid));
    assert_false(ph_uuid_parse(PH_STR("00112233445566778899aabbccddeeff"), &uuid));
    assert_false(ph_uuid_parse(PH_STR("{0112233-4455-6677-8899-aabbccddeef}"), &uuid));
    assert_false(ph_uuid_parse(PH_STR("00112233-4455-6677-8899-aabbccddeeff "), &uuid));
    assert_false(ph_uuid_parse((struct ph_str){example, 35}, &uuid));
    assert_memory_equal(&uuid, &before, sizeof uuid);
}

static bool is_hex(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static void every_byte_at_every_place(void **state)
{
    (void)state;
    struct ph_uuid uuid;
    for (size_t place = 0; place < PH_UUID_TEXT_LEN; place++) {
        for (int c = 0; c < 256; c++) {
            char text[sizeof example];
            memcpy(text, example, sizeof text);
            text[place] = (char)c;
            bool dash = example[place] == '-';
            bool good = ph_uuid_parse((struct ph_str){text, PH_UUID_TEXT_LEN}, &uuid);
            assert_int_equal(good, dash ? c == '-' : is_hex(c));
        }
    }
}

static void random_ones(void **state)
{
    (void)state;
    struct ph_uuid a, b;
    for (int i = 0; i < 100; i++) {
        ph_uuid_random(&a);
        ph_uuid_random(&b);
        assert_memory_not_equal(&a, &b, sizeof a);
        assert_int_equal(a.bytes[6] >> 4, 4);
        assert_int_equal(a.bytes[8] >> 6, 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats),
        cmocka_unit_test(every_byte_value_both_ways),
        cmocka_unit_test(either_case),
        cmocka_unit_test(refuses_other_texts),
        cmocka_unit_test(every_byte_at_every_place),
        cmocka_unit_test(random_ones),
    };
    return cmocka_run_group_tests_name("base/uuid", tests, NULL, NULL);
}
