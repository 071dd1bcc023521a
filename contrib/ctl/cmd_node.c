/* ctl/cmd_node.c - the node: info, settings, counters, plugins. */
#include <config.h>

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/session.h"

int
node_json(const struct call *c, struct alm_client *client, const char *what, json_t **out)
{
	json_error_t why;
	char *text = NULL;
	int status = alm_admin(client, what, &text);

	if (status != ALM_OK)
		return session_fail(c, client, status, "the node's %s", what);
	*out = json_loads(text, JSON_DECODE_ANY, &why);
	free(text);
	return *out != NULL ? RC_OK
			    : fail_status(c, ALM_EPROTO, "the node's %s is not JSON: %s", what, why.text);
}

static int
ask(const struct call *c, const char *what, json_t **out)
{
	struct alm_client *client = NULL;
	int rc = session_open(c, &client);

	if (rc == RC_OK)
		rc = node_json(c, client, what, out);
	alm_close(client);
	return rc;
}

static int
show(struct call *c, const char *what)
{
	json_t *doc = NULL;
	int rc = ask(c, what, &doc);

	if (rc == RC_OK)
		out_tree(c->out, doc);
	return rc;
}

int
cmd_node_info(struct call *c)
{
	return show(c, "info");
}

int
cmd_node_stats(struct call *c)
{
	return show(c, "stats");
}

int
cmd_node_config(struct call *c)
{
	static const struct col cols[] = {{"section", "SECTION", COL_TEXT}, {"key", "KEY", COL_TEXT},
	    {"value", "VALUE", COL_TEXT}, {"origin", "FROM", COL_TEXT}};
	json_t *doc = NULL, *rows, *row;
	char name[256];
	size_t at;
	int rc = ask(c, "config", &doc);

	if (rc != RC_OK)
		return rc;
	rows = json_array();
	json_array_foreach (doc, at, row) {
		(void)snprintf(name, sizeof name, "%s.%s", json_string_value(json_object_get(row, "section")),
		    json_string_value(json_object_get(row, "key")));
		if (c->n_args == 0 || fnmatch(c->args[0], name, 0) == 0)
			json_array_append(rows, row);
	}
	json_decref(doc);
	out_rows(c->out, cols, 4, rows);
	return RC_OK;
}

/* ---- plugins ------------------------------------------------------------------------------------- */

/* In the child: become `almadiad --list-plugins` with its output in fd. */
static _Noreturn void
run_daemon(int fd)
{
	const char *path = getenv("ALMADIAD"), *plugins = getenv("ALMADIA_PLUGIN_PATH");
	char setting[1200];
	const char *argv[] = {"almadiad", "--list-plugins", "-o", "json", NULL, NULL, NULL};

	if (plugins != NULL) {
		(void)snprintf(setting, sizeof setting, "server.plugin_path=%s", plugins);
		argv[4] = "-s";
		argv[5] = setting;
	}
	if (path == NULL)
		path = access(ALM_SBINDIR "/almadiad", X_OK) == 0 ? ALM_SBINDIR "/almadiad" : "almadiad";
	(void)dup2(fd, STDOUT_FILENO);
	(void)execvp(path, (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* What `almadiad --list-plugins -o json` prints; NULL if it cannot be run. */
static json_t *
from_daemon(const struct call *c)
{
	json_error_t why;
	json_t *doc = NULL;
	int fds[2], st;
	FILE *f;
	pid_t pid;

	if (pipe(fds) != 0)
		return NULL;
	pid = fork();
	if (pid == 0)
		run_daemon(fds[1]);
	(void)close(fds[1]);
	f = fdopen(fds[0], "r");
	if (f != NULL) {
		doc = json_loadf(f, 0, &why);
		fclose(f);
	}
	if (pid > 0 && waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 127)
		note(c, "almadiad was not found: set ALMADIAD to its path");
	return doc;
}

/* From the server; with --offline, or if there is none, from the daemon's program. */
static int
get_plugins(const struct call *c, json_t **out)
{
	struct alm_client *client = NULL;
	char servers[4096];
	struct alm_options o;
	int rc;

	session_options(c, &o, servers, sizeof servers);
	if (!opt_given(c, "offline") && alm_connect(&o, &client) == ALM_OK) {
		rc = node_json(c, client, "plugins", out);
		alm_close(client);
		return rc;
	}
	if (!opt_given(c, "offline"))
		note(c, "%s; showing the plugins of this machine", alm_error(NULL));
	*out = from_daemon(c);
	return *out != NULL ? RC_OK : fail(c, RC_FAILED, "almadiad --list-plugins gave no list");
}

/* "ok", or why the loader refused it. */
static void
add_state(json_t *plugins)
{
	json_t *p;
	size_t at;

	json_array_foreach (plugins, at, p) {
		json_t *refused = json_object_get(p, "refused");

		json_object_set_new(p, "state", refused != NULL ? json_incref(refused) : json_string("ok"));
	}
}

int
cmd_plugin_list(struct call *c)
{
	static const struct col cols[] = {{"kind", "KIND", COL_TEXT}, {"name", "NAME", COL_TEXT},
	    {"version", "VERSION", COL_TEXT}, {"abi", "ABI", COL_TEXT}, {"state", "STATE", COL_TEXT}};
	json_t *list = NULL;
	int rc = get_plugins(c, &list);

	if (rc == RC_OK) {
		add_state(list);
		out_rows(c->out, cols, 5, list);
	}
	return rc;
}

static int
same_plugin(const json_t *p, const char *word)
{
	const char *kind = json_string_value(json_object_get(p, "kind"));
	const char *name = json_string_value(json_object_get(p, "name"));
	char full[128];

	if (kind == NULL || name == NULL)
		return 0;
	(void)snprintf(full, sizeof full, "%s/%s", kind, name);
	return strcmp(word, name) == 0 || strcmp(word, full) == 0;
}

int
cmd_plugin_info(struct call *c)
{
	static const struct col cols[] = {{"kind", "KIND", COL_TEXT}, {"name", "NAME", COL_TEXT},
	    {"version", "VERSION", COL_TEXT}, {"abi", "ABI", COL_TEXT}, {"file", "FILE", COL_TEXT},
	    {"state", "STATE", COL_TEXT}, {"doc", "WHAT IT IS", COL_TEXT}};
	static const struct col settings[] = {{"name", "SETTING", COL_TEXT}, {"type", "TYPE", COL_TEXT},
	    {"default", "DEFAULT", COL_TEXT}, {"scope", "SCOPE", COL_TEXT}, {"doc", "MEANING", COL_TEXT}};
	json_t *list = NULL, *p, *found = NULL;
	uint32_t n = 0;
	size_t at;
	int rc = get_plugins(c, &list);

	if (rc != RC_OK)
		return rc;
	add_state(list);
	json_array_foreach (list, at, p) {
		if (same_plugin(p, c->args[0])) {
			found = p;
			n++;
		}
	}
	if (n == 0)
		rc = fail_status(c, ALM_ENOTFOUND, "no plugin \"%s\": see almadia plugin list", c->args[0]);
	else if (n > 1)
		rc = fail(c, RC_USAGE, "%u plugins are named %s: say KIND/%s", n, c->args[0], c->args[0]);
	else
		out_object(c->out, cols, 7, json_incref(found), "settings", settings, 5);
	json_decref(list);
	return rc;
}
