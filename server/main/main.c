/* main/main.c - almadiad: the command line.
 *
 * Reads options, loads the configuration, and either answers a question about it or runs the
 * manager.  With --role it is a child of a manager (main/role.c).
 */
#include <config.h>

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "main/roles.h"
#include "manager/check.h"
#include "manager/manager.h"
#include "module/module.h"

#define OVERRIDES_MAX 64u

#define DO_RUN 0
#define DO_TEST 1
#define DO_DESCRIBE 2
#define DO_LIST 3

struct options {
	const char *path;
	char *overrides[OVERRIDES_MAX];
	uint32_t n_overrides;
	int what, json, accept_data_loss;
};

static const struct role_table roles = {
    .ledger = {ledger_start, ledger_end},
    .worker = {worker_start, worker_end},
    .indexer = {indexer_start, indexer_end},
};

static const char help[] =
    "Usage: almadiad [OPTION]...\n"
    "Run the Almadia message broker.\n"
    "\n"
    "  -c, --config FILE       configuration (default " ALM_SYSCONFDIR "/almadia/almadia.conf if it\n"
    "                          exists), and the conf.d/*.conf beside it\n"
    "  -D, --data DIR          data directory, as -s server.data_dir=DIR\n"
    "  -s, --set SECTION.KEY=VALUE\n"
    "                          set or replace one setting; may be repeated\n"
    "  -t, --test              check configuration and plugins, print what is in force, bind nothing\n"
    "      --threads           run all roles as threads of one process\n"
    "      --fused             run all roles on one event loop\n"
    "      --accept-data-loss  start although the log is damaged, losing what is damaged\n"
    "      --describe-config   print every setting with its default\n"
    "      --list-plugins      print the plugins found in server.plugin_path\n"
    "  -o, --output FORMAT     text or json, for -t, --describe-config and --list-plugins\n"
    "      --version           print the version\n"
    "  -h, --help              print this\n"
    "\n"
    "Signals: TERM, INT stop; QUIT leave at once; HUP reload.\n"
    "Exit codes: 0 asked to stop, 1 transient failure, 2 configuration, 3 disk or data fault.\n";

static int
usage(const char *what, const char *why)
{
	fprintf(stderr, "almadiad: %s: %s (see almadiad --help)\n", what, why);
	return EXIT_BADCONFIG;
}

static int
set_one(struct options *o, const char *prefix, const char *value)
{
	char *text;

	if (o->n_overrides == OVERRIDES_MAX) {
		fprintf(stderr, "almadiad: more than %u settings on the command line; use a file\n",
		    OVERRIDES_MAX);
		return EXIT_BADCONFIG;
	}
	if (asprintf(&text, "%s%s", prefix, value) < 0)
		return EXIT_TRANSIENT;
	o->overrides[o->n_overrides++] = text;
	return 0;
}

/* The directory as the user means it, before anybody changes directory. */
static int
set_data_dir(struct options *o, const char *dir)
{
	char cwd[4096], path[8192];

	if (dir[0] == '/')
		return set_one(o, "server.data_dir=", dir);
	if (!getcwd(cwd, sizeof cwd))
		return usage(dir, "the current directory is unknown, give an absolute one");
	snprintf(path, sizeof path, "%s/%s", cwd, dir);
	return set_one(o, "server.data_dir=", path);
}

static int
set_output(struct options *o, const char *format)
{
	o->json = strcmp(format, "json") == 0;
	return o->json || strcmp(format, "text") == 0 ? 0
	    : usage(format, "the output is text or json");
}

/* 0 to go on, 1 when the answer has been printed, EXIT_BADCONFIG. */
static int
parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"data", required_argument, NULL, 'D'},
	    {"set", required_argument, NULL, 's'},
	    {"test", no_argument, NULL, 't'},
	    {"threads", no_argument, NULL, 'T'},
	    {"fused", no_argument, NULL, 'F'},
	    {"accept-data-loss", no_argument, NULL, 'A'},
	    {"describe-config", no_argument, NULL, 'C'},
	    {"list-plugins", no_argument, NULL, 'L'},
	    {"output", required_argument, NULL, 'o'},
	    {"version", no_argument, NULL, 'V'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	int c, status = 0;

	while (status == 0 && (c = getopt_long(argc, argv, "c:D:s:to:h", longs, NULL)) != -1) {
		switch (c) {
		case 'c': o->path = optarg; break;
		case 'D': status = set_data_dir(o, optarg); break;
		case 's': status = set_one(o, "", optarg); break;
		case 't': o->what = DO_TEST; break;
		case 'T': status = set_one(o, "server.mode=", "threads"); break;
		case 'F': status = set_one(o, "server.mode=", "fused"); break;
		case 'A': o->accept_data_loss = 1; break;
		case 'C': o->what = DO_DESCRIBE; break;
		case 'L': o->what = DO_LIST; break;
		case 'o': status = set_output(o, optarg); break;
		case 'V': puts("almadiad " PACKAGE_VERSION); return 1;
		case 'h': fputs(help, stdout); return 1;
		default:
			fputs("Try almadiad --help.\n", stderr);
			return EXIT_BADCONFIG;
		}
	}
	if (status == 0 && optind < argc)
		status = usage(argv[optind], "no argument is expected");
	return status;
}

static void
emit(void *arg, const char *text)
{
	fputs(text, arg);
}

static int
print(struct buf *b, int status)
{
	if (status == ALM_OK)
		fwrite(b->data, 1, b->len, stdout);
	buf_free(b);
	if (status == ALM_OK && fflush(stdout) == 0)
		return EXIT_ASKED;
	fprintf(stderr, "almadiad: could not print: %s\n", err_text());
	return EXIT_TRANSIENT;
}

static int
test(const struct config *conf, int json)
{
	struct buf b = {0};
	uint64_t arena;

	if (check_run(conf, &arena) != ALM_OK) {
		fprintf(stderr, "almadiad: %s\n", err_text());
		return EXIT_BADCONFIG;
	}
	int status = json ? config_dump_json(conf, &b) : config_dump_text(conf, &b);
	if (status == ALM_OK && json)
		status = buf_put(&b, "\n", 1);
	int code = print(&b, status);
	if (code == EXIT_ASKED)
		fputs("almadiad: the configuration is good\n", stderr);
	return code;
}

static const char *
text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

static void
print_plugin(const json_t *o)
{
	const json_t *s;
	uint64_t i;

	if (json_object_get(o, "refused")) {
		printf("%-10s %-12s REFUSED %s\n", text_of(o, "kind"), text_of(o, "name"),
		    text_of(o, "refused"));
		return;
	}
	printf("%-10s %-12s %-8s ABI %-5s %s\n           %s\n", text_of(o, "kind"), text_of(o, "name"),
	    text_of(o, "version"), text_of(o, "abi"), text_of(o, "file"), text_of(o, "doc"));
	json_array_foreach(json_object_get(o, "settings"), i, s) {
		printf("           %s = %s  (%s) %s\n", text_of(s, "name"), text_of(s, "default"),
		    text_of(s, "type"), text_of(s, "doc"));
	}
}

static int
list(const struct config *conf, int json)
{
	struct buf b = {0};
	const json_t *o;
	uint64_t i;
	int status = module_list_json(conf, &b);

	if (status == ALM_OK)
		status = buf_put(&b, "\n", 1);
	if (status != ALM_OK || json)
		return print(&b, status);
	json_t *all = json_loadb((const char *)b.data, b.len, 0, NULL);
	json_array_foreach(all, i, o) {
		print_plugin(o);
	}
	if (json_array_size(all) == 0)
		fprintf(stderr, "almadiad: no plugins in %s\n", config_core(conf)->plugin_path);
	json_decref(all);
	buf_free(&b);
	return EXIT_ASKED;
}

static int
run(struct options *o)
{
	static const char standard[] = ALM_SYSCONFDIR "/almadia/almadia.conf";
	struct config *conf;
	int code;

	if (o->what == DO_DESCRIBE) {
		config_describe(o->json, emit, stdout);
		return EXIT_ASKED;
	}
	if (!o->path && access(standard, F_OK) == 0)
		o->path = standard;
	if (config_load(o->path, (const char *const *)o->overrides, o->n_overrides, &conf) != ALM_OK) {
		fprintf(stderr, "almadiad: %s\n", err_text());
		return EXIT_BADCONFIG;
	}
	config_accept_data_loss(conf, (uint32_t)o->accept_data_loss);
	if (o->what == DO_RUN) {
		struct manager_options opt = {o->path, (const char *const *)o->overrides, o->n_overrides,
		    &roles};
		return manager_run(conf, &opt);
	}
	code = o->what == DO_TEST ? test(conf, o->json) : list(conf, o->json);
	config_free(conf);
	return code;
}

int
main(int argc, char **argv)
{
	struct options o = {0};
	int code = role_main(argc, argv, &roles);

	if (code >= 0)
		return code;
	code = parse(argc, argv, &o);
	if (code == 1)
		code = EXIT_ASKED;
	else if (code == 0)
		code = run(&o);
	for (uint32_t i = 0; i < o.n_overrides; i++)
		free(o.overrides[i]);
	return code;
}
