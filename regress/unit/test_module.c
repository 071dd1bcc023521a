/* regress/unit/test_module.c - the loader: what is refused, with which line, and that no code of
 * a refused file runs. */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "module/module.h"

static char dir[] = "/tmp/almadia-module-XXXXXX";
static char trace[64];
static struct config *conf;

static void
file_name(char out[200], const char *name)
{
	snprintf(out, 200, "%s/storage_%s.so", dir, name);
}

static void
copy_file(const char *from, const char *to, uint64_t max)
{
	char data[4096];
	FILE *in = fopen(from, "r"), *out = fopen(to, "w");
	uint64_t n;

	assert_non_null(in);
	assert_non_null(out);
	while (max > 0 && (n = fread(data, 1, max < sizeof data ? max : sizeof data, in)) > 0) {
		assert_int_equal(fwrite(data, 1, n, out), n);
		max -= n;
	}
	fclose(in);
	fclose(out);
}

/* Put the misfit KIND into our plugin directory under a name, at most max bytes of it. */
static void
install(const char *misfit, const char *name, uint64_t max)
{
	char from[300], to[200];

	snprintf(from, sizeof from, "%s/regress/unit/.libs/misfit_%s.so", getenv("ALMADIA_BUILDDIR"),
	    misfit);
	file_name(to, name);
	copy_file(from, to, max);
	chmod(to, 0644);
}

static void
refused(const char *name, const char *why)
{
	struct provider *p;
	char text[800];

	snprintf(text, sizeof text, "%s/storage_%s.so: %s", dir, name, why);
	assert_int_not_equal(module_load(conf, ALM_KIND_STORAGE, name, &p), ALM_OK);
	assert_string_equal(err_text(), text);
}

static void
refused_unrun(const char *name, const char *why)
{
	refused(name, why);
	assert_int_not_equal(access(trace, F_OK), 0);
}

static void
other_versions_are_refused_before_their_code_runs(void **state)
{
	(void)state;
	install("newabi", "newabi", UINT64_MAX);
	install("newminor", "newminor", UINT64_MAX);
	install("otherkind", "otherkind", UINT64_MAX);
	install("nonote", "nonote", UINT64_MAX);
	refused_unrun("newabi", "wants storage ABI 7.2, almadiad offers 0.1 (update almadia)");
	refused_unrun("newminor", "wants storage ABI 0.2, almadiad offers 0.1 and major 0 must match exactly "
	    "(rebuild it against almadia " PACKAGE_VERSION ")");
	refused_unrun("otherkind", "offers kind protocol, wanted storage");
	refused_unrun("nonote",
	    "not an Almadia plugin (it has no Almadia note; use ALM_MODULE_NOTE)");
}

static void
files_that_are_no_plugins_are_refused(void **state)
{
	char path[200];

	(void)state;
	file_name(path, "text");
	FILE *f = fopen(path, "w");
	fprintf(f, "%0200d", 0);
	fclose(f);
	refused_unrun("text", "not a shared object (no ELF header)");
	file_name(path, "empty");
	fclose(fopen(path, "w"));
	refused_unrun("empty", "not a shared object (0 bytes)");
	install("good", "cut", 100);
	refused_unrun("cut", "cut off: its program headers lie past its end");
	install("good", "half", 8192); /* the note is whole, what is to be mapped is not */
	refused_unrun("half", "cut off: what it wants mapped lies past its end");
	file_name(path, "fifo");
	mkfifo(path, 0600);
	refused_unrun("fifo", "not a regular file");
	file_name(path, "folder");
	mkdir(path, 0700);
	refused_unrun("folder", "not a regular file");
}

static void
files_that_others_may_write_are_refused(void **state)
{
	char path[200];

	(void)state;
	install("good", "open", UINT64_MAX);
	file_name(path, "open");
	chmod(path, 0666);
	refused_unrun("open", "writable by others, mode 0666 (chmod go-w)");
}

static void
manifests_that_break_their_word_are_refused(void **state)
{
	struct provider *p;

	(void)state;
	install("lying", "lying", UINT64_MAX);
	install("missing", "missing", UINT64_MAX);
	install("othername", "othername", UINT64_MAX);
	install("nosymbol", "nosymbol", UINT64_MAX);
	refused("lying", "wants storage ABI 9.1, almadiad offers 0.1 (update almadia)");
	refused("missing", "lacks the required operation append of kind storage");
	refused("othername", "offers no storage provider named othername");
	refused("nosymbol", "does not export alm_module_v1 (use ALM_MODULE)");
	install("unresolved", "unresolved", UINT64_MAX);
	assert_int_equal(module_load(conf, ALM_KIND_STORAGE, "unresolved", &p), ALM_EVERSION);
	assert_non_null(strstr(err_text(), "undefined symbol: symbol_that_nobody_has"));
}

static void
a_file_cut_anywhere_is_refused_or_loads(void **state)
{
	struct provider *p;
	struct stat st;
	char path[300];

	(void)state;
	snprintf(path, sizeof path, "%s/regress/unit/.libs/misfit_newabi.so",
	    getenv("ALMADIA_BUILDDIR"));
	assert_int_equal(stat(path, &st), 0);
	for (off_t n = 0; n < st.st_size; n += 97) {
		install("newabi", "slice", (uint64_t)n);
		assert_int_not_equal(module_load(conf, ALM_KIND_STORAGE, "slice", &p), ALM_OK);
	}
	assert_int_not_equal(access(trace, F_OK), 0);
}

static void
an_unknown_plugin_gets_a_hint(void **state)
{
	struct provider *p;
	char text[300];

	(void)state;
	install("good", "good", UINT64_MAX);
	assert_int_equal(module_load(conf, ALM_KIND_STORAGE, "goood", &p), ALM_ENOTFOUND);
	snprintf(text, sizeof text, "no storage plugin named goood: storage_goood.so is not in %s "
	    "(did you mean good?)", dir);
	assert_string_equal(err_text(), text);
}

static void
a_good_plugin_loads_with_stubs_and_host(void **state)
{
	struct provider *p, *again;
	struct alm_durable d;

	(void)state;
	install("short", "short", UINT64_MAX);
	assert_int_equal(module_load(conf, ALM_KIND_STORAGE, "short", &p), ALM_OK);
	assert_int_equal(access(trace, F_OK), 0);
	assert_int_equal(module_load(conf, ALM_KIND_STORAGE, "short", &again), ALM_OK);
	assert_ptr_equal(p, again);
	const struct alm_storage_ops_v0 *ops = provider_ops(p);
	assert_int_equal(ops->flags(), 0);
	assert_int_equal(ops->reader_find(NULL, 1, 1, NULL), ALM_ENOTSUP);
	assert_int_equal(ops->reseed(NULL, 0, 0, 0, 0, &d), ALM_ENOTSUP);
	assert_int_equal(ops->verify(NULL, NULL, NULL, NULL, NULL), ALM_ENOTSUP);

	struct alm_host *h = provider_host(p, conf, ALM_ROLE_TOOL, -1);
	struct alm_boot boot;
	struct alm_store *store;
	assert_int_equal(ops->open(h, dir, 0, &boot, &store), ALM_EIO);
	assert_string_equal(err_text(), "segment is 2097152");
}

static void
the_list_names_good_and_refused(void **state)
{
	struct buf out = {0};

	(void)state;
	assert_int_equal(module_list_json(conf, &out), ALM_OK);
	assert_int_equal(buf_put(&out, "", 1), ALM_OK);
	assert_non_null(strstr((char *)out.data, "\"name\": \"short\""));
	assert_non_null(strstr((char *)out.data, "\"default\": \"64m\""));
	assert_non_null(strstr((char *)out.data, "\"refused\": \""));
	buf_free(&out);
}

static void
checking_all_names_the_line(void **state)
{
	struct config *c;
	char path[200], text[500];

	(void)state;
	snprintf(path, sizeof path, "%s/almadia.conf", dir);
	FILE *f = fopen(path, "w");
	fprintf(f, "[server]\nplugin_path = %s\n[storage]\nplugin = shrt\n", dir);
	fclose(f);
	assert_int_equal(config_load(path, NULL, 0, &c), ALM_OK);
	assert_int_not_equal(module_check_all(c), ALM_OK);
	snprintf(text, sizeof text, "almadia.conf:4: storage.plugin: no storage plugin named shrt: "
	    "storage_shrt.so is not in %s (did you mean short?)", dir);
	assert_string_equal(err_text(), text);
	config_free(c);
	unlink(path);
}

static int
setup(void **state)
{
	char cwd[1024];
	char path_setting[100];
	const char *over[] = {path_setting, "storage short.segment=2m"};

	(void)state;
	if (!getenv("ALMADIA_BUILDDIR") && getcwd(cwd, sizeof cwd))
		setenv("ALMADIA_BUILDDIR", cwd, 1);
	if (!mkdtemp(dir))
		return -1;
	snprintf(trace, sizeof trace, "%s/ran", dir);
	setenv("ALMADIA_CTOR_FILE", trace, 1);
	snprintf(path_setting, sizeof path_setting, "server.plugin_path=%s", dir);
	return config_load(NULL, over, 2, &conf);
}

static int
teardown(void **state)
{
	char command[100];

	(void)state;
	config_free(conf);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

int
main(void)
{
	/* In this order: the trace stays away until the first plugin is meant to run. */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(other_versions_are_refused_before_their_code_runs),
		cmocka_unit_test(files_that_are_no_plugins_are_refused),
		cmocka_unit_test(files_that_others_may_write_are_refused),
		cmocka_unit_test(a_file_cut_anywhere_is_refused_or_loads),
		cmocka_unit_test(an_unknown_plugin_gets_a_hint),
		cmocka_unit_test(manifests_that_break_their_word_are_refused),
		cmocka_unit_test(a_good_plugin_loads_with_stubs_and_host),
		cmocka_unit_test(the_list_names_good_and_refused),
		cmocka_unit_test(checking_all_names_the_line),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
