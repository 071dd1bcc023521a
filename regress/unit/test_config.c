/* regress/unit/test_config.c - almadia.conf: every refusal with its exact line, defaults, drop-ins,
 * overrides, snapshot. */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <almadia/host.h>

#include "config/config.h"
#include "config/suggest.h"

static char dir[] = "/tmp/almadia-config-XXXXXX";

static void
put(const char *name, const char *text, uint64_t len)
{
	char path[200];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
}

static void
drop(const char *name)
{
	char path[200];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	unlink(path);
}

static int
load(const char *text, struct config **c)
{
	char path[200];
	put("almadia.conf", text, strlen(text));
	snprintf(path, sizeof path, "%s/almadia.conf", dir);
	return config_load(path, NULL, 0, c);
}

struct bad {
	const char *text, *line;
};

static const struct bad bad_files[] = {
	{"[retention]\n\n\ntime = 7x\n",
	    "almadia.conf:4: retention.time: \"7x\" is not a duration (use 30m, 12h, 7d)"},
	{"[retention]\ntme = 7d\n",
	    "almadia.conf:2: retention.tme: unknown setting (did you mean time?)"},
	{"[servr]\n", "almadia.conf:1: unknown section [servr] (did you mean server?)"},
	{"[frobnicate]\nx = 1\n", "almadia.conf:1: unknown section [frobnicate]"},
	{"[server]\nzzzz = 1\n", "almadia.conf:2: server.zzzz: unknown setting"},
	{"workers = 1\n", "almadia.conf:1: \"workers = 1\" stands before the first [section]"},
	{"[server]\nworkers\n", "almadia.conf:2: \"workers\" is neither [section] nor key = value"},
	{"[server]\n= 3\n", "almadia.conf:2: \"= 3\" is neither [section] nor key = value"},
	{"[server\nworkers = 1\n", "almadia.conf:1: \"[server\" lacks its closing bracket"},
	{"[server] workers = 1\n", "almadia.conf:1: \"workers = 1\" follows the section name"},
	{"[listener aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n",
	    "almadia.conf:1: section name of 54 bytes is too long (at most 49)"},
	{"[server]\nworkers = 2\n[log]\n[server]\nworkers = 3\n",
	    "almadia.conf:5: server.workers: set already at almadia.conf:2"},
	{"[server]\nworkers = many\n",
	    "almadia.conf:2: server.workers: \"many\" is not a number (or auto)"},
	{"[server]\nworkers = 0\n", "almadia.conf:2: server.workers: \"0\" is too small (at least 1)"},
	{"[server]\nworkers = 63\n", "almadia.conf:2: server.workers: \"63\" is too large (at most 62)"},
	{"[server]\nmode = forks\n",
	    "almadia.conf:2: server.mode: \"forks\" is not one of processes, threads, fused"},
	{"[server]\ndata_dir = data\n",
	    "almadia.conf:2: server.data_dir: \"data\" is not an absolute path"},
	{"[server]\ndata_dir =\n", "almadia.conf:2: server.data_dir: \"\" is not an absolute path"},
	{"[server]\nplugin_path = /a:b:/c\n",
	    "almadia.conf:2: server.plugin_path: \"b\" is not an absolute path"},
	{"[limits]\nmax_message = 64m\n",
	    "almadia.conf:2: limits.max_message: \"64m\" is too large (at most 8m)"},
	{"[limits]\nmax_message = 12q\n",
	    "almadia.conf:2: limits.max_message: \"12q\" is not a size (use 64k, 256m, 1g)"},
	{"[limits]\nmax_message = -1\n",
	    "almadia.conf:2: limits.max_message: \"-1\" is not a size (use 64k, 256m, 1g)"},
	{"[limits]\nmax_batch = 1m\n", "almadia.conf:2: limits.max_message: \"4m\" does not fit into one "
	    "batch (max_batch is 1m; raise it or set max_message to at most 1m)"},
	{"[topics]\nauto_create = maybe\n",
	    "almadia.conf:2: topics.auto_create: \"maybe\" is neither yes nor no"},
	{"[log]\nlevel = loud\n",
	    "almadia.conf:2: log.level: \"loud\" is not one of debug, info, notice, warn, error"},
	{"[storage]\nplugin = ../evil\n",
	    "almadia.conf:2: storage.plugin: \"../evil\" is not a plugin name (a-z, 0-9, _ and -)"},
	{"[indexers]\nplugins = queue, key,queue\n",
	    "almadia.conf:2: indexers.plugins: \"queue\" is named twice"},
	{"[listener a]\nbind = 127.0.0.1:7450\n[listener b]\nbind = localhost:7450\n",
	    "almadia.conf:4: listener b.bind: \"localhost:7450\" is taken by [listener a] at "
	    "almadia.conf:2"},
	{"[listener a]\nbind = 0.0.0.0:7450\n",
	    "almadia.conf:2: listener a.bind: \"0.0.0.0:7450\" can be reached from other machines (set "
	    "allow_remote = yes in [server] to allow it)"},
	{"[listener a]\nbind = nowhere\n", "almadia.conf:2: listener a.bind: \"nowhere\" is not an "
	    "address (use 127.0.0.1:7450, [::1]:7450 or unix:/path)"},
	{"[listener a]\nbind = 127.0.0.1:99999\n", "almadia.conf:2: listener a.bind: "
	    "\"127.0.0.1:99999\": port 99999 is too large (at most 65535)"},
	{"[listener a]\nbind = unix:sock\n", "almadia.conf:2: listener a.bind: \"unix:sock\" is not an "
	    "absolute path (use 127.0.0.1:7450, [::1]:7450 or unix:/path)"},
	{"[listener a]\nprotocol = native\n",
	    "almadia.conf:1: [listener a]: bind is missing (bind = 127.0.0.1:7450)"},
	{"[listener a]\nbnd = 127.0.0.1:1\n",
	    "almadia.conf:2: listener a.bnd: unknown setting (did you mean bind?)"},
	{"[listener A B]\n",
	    "almadia.conf:1: [listener A B]: \"A B\" is not a name (1 to 40 of a-z, 0-9, _ and -)"},
};

static void
a_bad_file_gives_its_exact_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad_files / sizeof bad_files[0]; i++) {
		struct config *c = NULL;

		assert_int_equal(load(bad_files[i].text, &c), ALM_ECONFIG);
		assert_string_equal(err_text(), bad_files[i].line);
		assert_null(c);
	}
}

static void
an_overlong_line_is_refused_not_cut(void **state)
{
	char text[400];
	struct config *c;

	(void)state;
	snprintf(text, sizeof text, "[server]\ndata_dir = /%0250d\n", 0);
	assert_int_equal(load(text, &c), ALM_ECONFIG);
	assert_string_equal(err_text(), "almadia.conf:2: line of 262 bytes is too long (at most 198)");
	snprintf(text, sizeof text, "[server]\ndata_dir = /%0186d\n", 0);
	assert_int_equal(load(text, &c), ALM_ECONFIG);
	assert_non_null(strstr(err_text(), "is too long for a socket in it (at most 94 bytes"));
	strcat(text, "runtime_dir = /run/almadia\n");
	assert_int_equal(load(text, &c), ALM_OK);
	assert_int_equal(strlen(config_core(c)->data_dir), 187);
	config_free(c);
}

static void
a_byte_that_is_no_text_is_refused(void **state)
{
	struct config *c;
	char path[200];

	(void)state;
	put("almadia.conf", "[server]\nworkers = 1\0002\n", 23);
	snprintf(path, sizeof path, "%s/almadia.conf", dir);
	assert_int_equal(config_load(path, NULL, 0, &c), ALM_ECONFIG);
	assert_string_equal(err_text(), "almadia.conf:2: byte 0x00 has no place in a text file");
}

static void
a_missing_file_and_a_directory_are_refused(void **state)
{
	struct config *c;

	(void)state;
	assert_int_equal(config_load("/nonexistent/almadia.conf", NULL, 0, &c), ALM_ECONFIG);
	assert_string_equal(err_text(),
	    "could not open /nonexistent/almadia.conf: No such file or directory");
	assert_int_equal(config_load("/tmp", NULL, 0, &c), ALM_ECONFIG);
	assert_string_equal(err_text(), "could not read tmp: Is a directory");
}

static void
defaults_are_loopback_and_local(void **state)
{
	struct config *c;

	(void)state;
	assert_int_equal(config_load(NULL, NULL, 0, &c), ALM_OK);
	const struct core_settings *core = config_core(c);
	assert_int_equal(core->n_listeners, 2);
	assert_string_equal(core->listener[0].bind, "127.0.0.1:7450");
	assert_memory_equal(core->listener[1].bind, "unix:/", 6);
	assert_string_equal(core->storage, "segment");
	assert_string_equal(core->indexers, "queue,key");
	assert_string_equal(core->runtime_dir, core->data_dir);
	assert_int_equal(core->mode, MODE_PROCESSES);
	assert_true(core->workers >= 1);
	assert_int_equal(core->max_message, 4 << 20);
	config_free(c);
}

static void
values_comments_and_indentation_are_read(void **state)
{
	struct config *c;
	const char *origin;

	(void)state;
	assert_int_equal(load("\xef\xbb\xbf# comment\r\n[server] ; comment\r\n\tworkers = 3\r\n"
	    "   ; comment\n  mode: threads ; comment\n[retention]\ntime = 7d\nbytes = 1g\n"
	    "[log]\nlevel = warn\nformat = json\n[indexers]\nplugins = key , queue\n"
	    "[listener web]\nbind = [::1]:0\n[listener two]\nbind = [::1]:0\n[storage segment]\nx = y\n",
	    &c), ALM_OK);
	const struct core_settings *core = config_core(c);
	assert_int_equal(core->workers, 3);
	assert_int_equal(core->mode, MODE_THREADS);
	assert_int_equal(core->retention_time, 7 * INT64_C(86400000000));
	assert_int_equal(core->retention_bytes, 1 << 30);
	assert_int_equal(core->log_level, ALM_LOG_WARN);
	assert_int_equal(core->log_json, 1);
	assert_string_equal(core->indexers, "key,queue");
	assert_int_equal(core->n_listeners, 2);
	assert_int_equal(core->listener[0].line, 15);
	assert_string_equal(config_get(c, "storage segment", "x", &origin), "y");
	assert_string_equal(origin, "almadia.conf:19");
	config_free(c);
}

static void
dropins_are_read_in_order_and_named_in_errors(void **state)
{
	char path[200];
	struct config *c;
	const char *origin;

	(void)state;
	snprintf(path, sizeof path, "%s/conf.d", dir);
	mkdir(path, 0700);
	put("conf.d/20-b.conf", "[server]\nworkers = 2\n", 21);
	put("conf.d/10-a.conf", "[log]\nlevel = warn\n", 19);
	put("conf.d/ignored", "[nonsense\n", 10);
	assert_int_equal(load("[topics]\nqueues = 4\n", &c), ALM_OK);
	assert_int_equal(config_core(c)->workers, 2);
	config_get(c, "log", "level", &origin);
	assert_string_equal(origin, "conf.d/10-a.conf:2");
	config_free(c);
	assert_int_equal(load("[server]\nworkers = 4\n", &c), ALM_ECONFIG);
	assert_string_equal(err_text(),
	    "conf.d/20-b.conf:2: server.workers: set already at almadia.conf:2");
	drop("conf.d/20-b.conf");
	drop("conf.d/10-a.conf");
	drop("conf.d/ignored");
	rmdir(path);
}

static void
the_command_line_replaces_and_is_checked(void **state)
{
	const char *good[] = {"server.workers=5", "server.workers=6", "listener x.bind=127.0.0.1:0"};
	const char *bad[][2] = {
		{"server.workers=x", "command line: server.workers: \"x\" is not a number (or auto)"},
		{"workers=3", "command line: \"workers=3\" is not section.key=value"},
		{"server.workers", "command line: \"server.workers\" is not section.key=value"},
		{"sever.workers=1", "command line: unknown section [sever] (did you mean server?)"},
	};
	struct config *c;
	const char *origin;

	(void)state;
	assert_int_equal(config_load(NULL, good, 3, &c), ALM_OK);
	assert_int_equal(config_core(c)->workers, 6);
	assert_string_equal(config_core(c)->listener[0].name, "x");
	config_get(c, "server", "workers", &origin);
	assert_string_equal(origin, "command line");
	config_free(c);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(config_load(NULL, bad[i], 1, &c), ALM_ECONFIG);
		assert_string_equal(err_text(), bad[i][1]);
	}
}

static void
a_snapshot_carries_everything(void **state)
{
	struct config *c, *d;
	struct buf a = {0}, b = {0};

	(void)state;
	assert_int_equal(load("[server]\nworkers = 3\n[storage segment]\nx = y\n[listener a]\n"
	    "bind = 127.0.0.1:1234\n", &c), ALM_OK);
	config_accept_data_loss(c, 1);
	int fd = config_snapshot(c);
	assert_true(fd >= 0);
	assert_int_equal(config_from_snapshot(fd, &d), ALM_OK);
	assert_int_equal(config_core(d)->accept_data_loss, 1);
	assert_int_equal(config_dump_json(c, &a), ALM_OK);
	assert_int_equal(config_dump_json(d, &b), ALM_OK);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	assert_true(write(fd, "x", 1) < 0);
	buf_free(&a);
	buf_free(&b);
	config_free(c);
	config_free(d);
	close(fd);
}

static const struct alm_setting declared[] = {
	{"segment", "64m", NULL, "size of a segment", 1 << 20, 1 << 30, ALM_SET_SIZE, ALM_SCOPE_BOOT},
	{"sync", "yes", NULL, "sync or not", 0, 0, ALM_SET_BOOL, ALM_SCOPE_BOOT},
	{"key", NULL, NULL, "a name", 0, 0, ALM_SET_STRING, ALM_SCOPE_BOOT},
};

static void
declared_settings_are_checked_and_read(void **state)
{
	struct config *c;

	(void)state;
	assert_int_equal(load("[storage segment]\nsegment = 2m\nkey = k\n", &c), ALM_OK);
	assert_int_equal(config_check_settings(c, "storage", "segment", declared, 3), ALM_OK);
	assert_int_equal(config_setting_int(c, "storage", "segment", &declared[0]), 2 << 20);
	assert_int_equal(config_setting_int(c, "storage", "segment", &declared[1]), 1);
	assert_string_equal(config_setting_str(c, "storage", "segment", &declared[2]), "k");
	config_free(c);

	assert_int_equal(load("[storage segment]\nsegmnt = 2m\n", &c), ALM_OK);
	assert_int_equal(config_check_settings(c, "storage", "segment", declared, 3), ALM_ECONFIG);
	assert_string_equal(err_text(),
	    "almadia.conf:2: storage segment.segmnt: unknown setting (did you mean segment?)");
	config_free(c);

	assert_int_equal(load("[storage segment]\nsegment = 2k\n", &c), ALM_OK);
	assert_int_equal(config_check_settings(c, "storage", "segment", declared, 3), ALM_ECONFIG);
	assert_string_equal(err_text(),
	    "almadia.conf:2: storage segment.segment: \"2k\" is too small (at least 1m)");
	config_free(c);

	assert_int_equal(config_load(NULL, NULL, 0, &c), ALM_OK);
	assert_int_equal(config_check_settings(c, "storage", "segment", declared, 3), ALM_ECONFIG);
	assert_string_equal(err_text(), "storage segment.key: must be set (a name), and is not");
	config_free(c);
}

static void
collect(void *arg, const char *name)
{
	buf_putf(arg, "%s ", name);
}

static void
a_reload_tells_what_needs_a_restart(void **state)
{
	const char *over[] = {"server.workers=9", "log.level=warn", "server.node_id=2"};
	struct config *a, *b;
	struct buf out = {0};

	(void)state;
	assert_int_equal(config_load(NULL, NULL, 0, &a), ALM_OK);
	assert_int_equal(config_load(NULL, over, 3, &b), ALM_OK);
	config_needs_restart(a, b, collect, &out);
	assert_int_equal(out.len, strlen("server.workers server.node_id "));
	assert_memory_equal(out.data, "server.workers server.node_id ", out.len);
	buf_free(&out);
	config_free(a);
	config_free(b);
}

static void
edits_are_counted(void **state)
{
	(void)state;
	assert_int_equal(edit_distance("time", "tmie"), 1);
	assert_int_equal(edit_distance("", "abc"), 3);
	assert_int_equal(edit_distance("workers", "workers"), 0);
	assert_int_equal(edit_distance("kitten", "sitting"), 3);
}

static void
count_text(void *arg, const char *text)
{
	*(uint64_t *)arg += strlen(text);
}

static void
describe_mentions_everything(void **state)
{
	uint64_t n = 0, m = 0;

	(void)state;
	config_describe(0, count_text, &n);
	config_describe(1, count_text, &m);
	assert_true(n > 2000 && m > 2000);
}

static int
setup(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int
teardown(void **state)
{
	(void)state;
	drop("almadia.conf");
	return rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bad_file_gives_its_exact_line),
		cmocka_unit_test(an_overlong_line_is_refused_not_cut),
		cmocka_unit_test(a_byte_that_is_no_text_is_refused),
		cmocka_unit_test(a_missing_file_and_a_directory_are_refused),
		cmocka_unit_test(defaults_are_loopback_and_local),
		cmocka_unit_test(values_comments_and_indentation_are_read),
		cmocka_unit_test(dropins_are_read_in_order_and_named_in_errors),
		cmocka_unit_test(the_command_line_replaces_and_is_checked),
		cmocka_unit_test(a_snapshot_carries_everything),
		cmocka_unit_test(declared_settings_are_checked_and_read),
		cmocka_unit_test(a_reload_tells_what_needs_a_restart),
		cmocka_unit_test(edits_are_counted),
		cmocka_unit_test(describe_mentions_everything),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
