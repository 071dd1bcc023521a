/* Tests of the almadia command's parts that need no server: the table, the command line, times,
 * formats, messages as JSON. */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contrib/ctl/format.h"
#include "contrib/ctl/opts.h" /* before cmocka.h, whose fail() is a macro */
#include "contrib/ctl/table.h"

#include <cmocka.h>

/* ---- the table ---- */

static void
every_command_is_complete(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < command_count; i++) {
		const struct command *c = &command_table[i];
		char prefix[80], name[64];

		assert_non_null(c->run);
		assert_true(strcmp(c->impact, "ro") == 0 || strcmp(c->impact, "rw") == 0);
		(void)snprintf(prefix, sizeof prefix, "almadia %s", command_name(c, name, sizeof name));
		assert_non_null(strstr(c->examples, prefix));
		assert_true(c->verb == NULL || noun_summary(c->noun) != NULL);
		assert_true(c->summary[strlen(c->summary) - 1] != '.');
	}
}

static void
options_have_no_name_or_letter_twice(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < command_count; i++)
		for (const struct opt_spec *a = command_table[i].opts; a != NULL && a->name != NULL; a++) {
			for (const struct opt_spec *b = a + 1; b->name != NULL; b++) {
				assert_string_not_equal(a->name, b->name);
				assert_true(a->letter == 0 || a->letter != b->letter);
			}
			for (const struct opt_spec *g = global_opts; g->name != NULL; g++) {
				assert_string_not_equal(a->name, g->name);
				assert_true(a->letter == 0 || a->letter != g->letter);
			}
		}
}

static void
arity_follows_from_the_argument_text(void **state)
{
	uint32_t least, most;

	(void)state;
	command_arity(command_find("pub", NULL), &least, &most);
	assert_int_equal(least, 1);
	assert_int_equal(most, UINT32_MAX);
	command_arity(command_find("group", "lag"), &least, &most);
	assert_int_equal(least, 1);
	assert_int_equal(most, 2);
	command_arity(command_find("node", "info"), &least, &most);
	assert_int_equal(least, 0);
	assert_int_equal(most, 0);
}

static void
a_mistyped_command_gets_a_suggestion(void **state)
{
	(void)state;
	assert_string_equal(suggest_noun("tpoic"), "topic");
	assert_string_equal(suggest_verb("topic", "ls"), "list");
	assert_string_equal(suggest_verb("group", "rest"), "reset");
	assert_null(suggest_noun("frobnicate"));
	assert_null(suggest_noun("a-word-that-is-longer-than-any-that-the-table-has"));
}

/* ---- the command line ---- */

static int
parse(struct call *c, const char *line)
{
	static char copy[256];
	static char *argv[32];
	int argc = 1;

	memset(c, 0, sizeof *c);
	(void)snprintf(copy, sizeof copy, "%s", line);
	argv[0] = copy;
	for (char *w = strtok(copy, " "); w != NULL; w = strtok(NULL, " "))
		argv[argc++] = w;
	return opts_parse(c, argc, argv);
}

static void
options_may_stand_anywhere(void **state)
{
	struct call c;

	(void)state;
	assert_int_equal(parse(&c, "-o json topic --timeout=2s create t -q --queues 4"), RC_OK);
	assert_string_equal(c.output, "json");
	assert_int_equal(c.timeout_us, 2000000);
	assert_int_equal(c.quiet, 1);
	assert_int_equal(opt_num(&c, "queues"), 4);
	assert_int_equal(c.n_args, 1);
	assert_string_equal(c.args[0], "t");
	opts_free(&c);
}

static void
short_options_take_values_glued_or_apart(void **state)
{
	struct call c;

	(void)state;
	assert_int_equal(parse(&c, "pub t -kx -t tag -qv -- -m"), RC_OK);
	assert_string_equal(opt_text(&c, "key"), "x");
	assert_string_equal(opt_text(&c, "tag"), "tag");
	assert_int_equal(c.verbose, 1);
	assert_string_equal(c.args[1], "-m");
	opts_free(&c);
}

static void
a_negative_number_is_an_argument(void **state)
{
	struct call c;

	(void)state;
	assert_int_equal(parse(&c, "err explain -9"), RC_OK);
	assert_string_equal(c.args[0], "-9");
	opts_free(&c);
}

static void
defaults_come_from_the_table(void **state)
{
	struct call c;

	(void)state;
	assert_int_equal(parse(&c, "bench pub t"), RC_OK);
	assert_int_equal(opt_num(&c, "size"), 1024);
	assert_int_equal(opt_num(&c, "duration"), 10000000);
	assert_false(opt_given(&c, "keep"));
	opts_free(&c);
}

static void
wrong_lines_are_refused(void **state)
{
	static const char *const lines[] = {"", "topic", "topc list", "topic ls", "topic list --nope",
	    "topic create", "topic list a b", "topic create t --queues x", "topic create t --queues",
	    "topic create t --durability soft", "topic create t --queues 1 --queues 2", "-o xml topic list",
	    "topic create t --if-not-exists=1", "sub t -Z"};
	struct call c;

	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		assert_int_equal(parse(&c, lines[i]), RC_USAGE);
		opts_free(&c);
	}
}

/* ---- times ---- */

static void
times_are_read_as_people_write_them(void **state)
{
	const uint64_t now = UINT64_C(1764067489) * 1000000;
	uint64_t t;

	(void)state;
	assert_int_equal(parse_time("2025-11-25T10:44:49Z", now, &t), 0);
	assert_int_equal(t, now);
	assert_int_equal(parse_time("2025-11-25 10:44:49.25", now, &t), 0);
	assert_int_equal(t, now + 250000);
	assert_int_equal(parse_time("@5", now, &t), 0);
	assert_int_equal(t, 5000000);
	assert_int_equal(parse_time("-5m", now, &t), 0);
	assert_int_equal(t, now - 300000000);
	assert_int_equal(parse_time("1970-01-02", now, &t), 0);
	assert_int_equal(t, UINT64_C(86400000000));
}

static void
other_times_are_refused(void **state)
{
	static const char *const bad[] = {"", "soon", "2025-13-01", "2025-11-25T10", "-5x", "@-1", "@",
	    "2025-11-25T10:44:49.", "2025-11-25Zjunk", "-99999999d"};
	uint64_t t;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(parse_time(bad[i], UINT64_C(1764067489000000), &t), -1);
}

static void
a_time_is_written_in_utc(void **state)
{
	char out[40];

	(void)state;
	assert_string_equal(format_time(UINT64_C(1764067489000042), out, sizeof out),
	    "2025-11-25T10:44:49.000042Z");
}

/* ---- messages ---- */

/* Attributes: tag t1, key k1, property a=1. */
static uint64_t
sample_attrs(uint8_t *out)
{
	static const struct {
		uint16_t type;
		const char *bytes;
		uint32_t len;
	} parts[] = {{ALM_ATTR_TAG, "t1", 2}, {ALM_ATTR_KEY, "k1", 2}, {ALM_ATTR_PROPERTY, "\1\0a1", 4}};
	uint64_t at = 0;

	for (size_t i = 0; i < 3; i++) {
		struct alm_attr a = {.type = parts[i].type, .len = parts[i].len};

		memcpy(out + at, &a, sizeof a);
		memcpy(out + at + sizeof a, parts[i].bytes, parts[i].len);
		at += sizeof a + parts[i].len;
	}
	return at;
}

static void
a_format_string_writes_a_message(void **state)
{
	uint8_t attrs[128];
	struct message_view m = {.topic = "orders", .queue = 3, .offset = 7, .position = 4096, .born = 1,
	    .attrs = {attrs, sample_attrs(attrs)}, .body = {"hi", 2}};
	char text[256] = "";
	FILE *f = fmemopen(text, sizeof text, "w");

	(void)state;
	assert_null(format_check("%T/%q/%o@%p k=%k t=%t P=%P a=%{a} z=%{z} %b %x %s 100%%\\t\\x41\\n"));
	format_message(f, "%T/%q/%o@%p k=%k t=%t P=%P a=%{a} z=%{z} %b %x %s 100%%\\t\\x41\\n", &m);
	fclose(f);
	assert_string_equal(text, "orders/3/7@4096 k=k1 t=t1 P=a=1 a=1 z= hi 6869 2 100%\tA\n");
}

static void
a_wrong_format_string_is_refused(void **state)
{
	static const char *const bad[] = {"%", "%z", "%{name", "\\", "\\q", "\\x4"};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_non_null(format_check(bad[i]));
}

static void
a_message_as_json_has_text_or_base64(void **state)
{
	uint8_t attrs[128];
	struct message_view m = {.topic = "t", .attrs = {attrs, sample_attrs(attrs)}, .body = {"hi", 2}};
	json_t *j = message_json(&m);

	(void)state;
	assert_string_equal(json_string_value(json_object_get(j, "body")), "hi");
	assert_string_equal(json_string_value(json_object_get(j, "key")), "k1");
	assert_string_equal(json_string_value(json_object_get(j, "tag")), "t1");
	json_decref(j);
	m.body = (struct alm_slice){"\xff\0z", 3};
	j = message_json(&m);
	assert_null(json_object_get(j, "body"));
	assert_string_equal(json_string_value(json_object_get(j, "body_base64")), "/wB6");
	json_decref(j);
}

static void
broken_attributes_end_the_walk(void **state)
{
	struct alm_attr a = {.type = ALM_ATTR_TAG, .len = 1000};
	struct message_view m = {.topic = "t", .attrs = {&a, sizeof a}, .body = {"", 0}};
	json_t *j = message_json(&m);

	(void)state;
	assert_null(json_object_get(j, "tag"));
	json_decref(j);
}

static void
utf8_is_judged_strictly(void **state)
{
	(void)state;
	assert_true(utf8_valid("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10));
	assert_false(utf8_valid("\xc0\x80", 2));         /* overlong */
	assert_false(utf8_valid("\xed\xa0\x80", 3));     /* surrogate */
	assert_false(utf8_valid("\xf4\x90\x80\x80", 4)); /* beyond U+10FFFF */
	assert_false(utf8_valid("\xe2\x82", 2));         /* cut short */
}

static void
base64_pads(void **state)
{
	static const char *const want[] = {"", "YQ==", "YWI=", "YWJj"};

	(void)state;
	for (uint64_t n = 0; n < 4; n++) {
		char *text = base64("abc", n);

		assert_string_equal(text, want[n]);
		free(text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_command_is_complete),
	    cmocka_unit_test(options_have_no_name_or_letter_twice),
	    cmocka_unit_test(arity_follows_from_the_argument_text),
	    cmocka_unit_test(a_mistyped_command_gets_a_suggestion),
	    cmocka_unit_test(options_may_stand_anywhere),
	    cmocka_unit_test(short_options_take_values_glued_or_apart),
	    cmocka_unit_test(a_negative_number_is_an_argument),
	    cmocka_unit_test(defaults_come_from_the_table),
	    cmocka_unit_test(wrong_lines_are_refused),
	    cmocka_unit_test(times_are_read_as_people_write_them),
	    cmocka_unit_test(other_times_are_refused),
	    cmocka_unit_test(a_time_is_written_in_utc),
	    cmocka_unit_test(a_format_string_writes_a_message),
	    cmocka_unit_test(a_wrong_format_string_is_refused),
	    cmocka_unit_test(a_message_as_json_has_text_or_base64),
	    cmocka_unit_test(broken_attributes_end_the_walk),
	    cmocka_unit_test(utf8_is_judged_strictly),
	    cmocka_unit_test(base64_pads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
