/* ctl/cmd_check.c - is this node well?  Each probe yields a row; the worst decides the exit code. */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/base.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/session.h"

enum level { LEVEL_OK, LEVEL_WARN, LEVEL_CRIT, LEVEL_UNKNOWN };
static const char *const level_names[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};

struct health {
	struct call *c;
	struct alm_client *client;
	enum level worst;
	json_t *rows;
};

static void
add(struct health *h, const char *probe, enum level level, const char *text)
{
	if (level > h->worst && !(h->worst == LEVEL_CRIT && level == LEVEL_UNKNOWN))
		h->worst = level;
	json_array_append_new(h->rows,
	    json_pack("{s:s,s:s,s:s}", "probe", probe, "state", level_names[level], "text", text));
}

/* Level of a value of which more is worse; a threshold of 0 is off. */
static enum level
above(uint64_t value, int64_t warn, int64_t crit)
{
	if (crit > 0 && value >= (uint64_t)crit)
		return LEVEL_CRIT;
	return warn > 0 && value >= (uint64_t)warn ? LEVEL_WARN : LEVEL_OK;
}

static void
probe_answer(struct health *h)
{
	char text[128], time[32];
	uint64_t us = 0;
	int status = alm_ping(h->client, &us);

	if (status != ALM_OK) {
		(void)snprintf(text, sizeof text, "no answer: %s", alm_status_text(status));
		add(h, "answer", LEVEL_CRIT, text);
		return;
	}
	(void)snprintf(text, sizeof text, "answers in %s", format_duration(us, time, sizeof time));
	add(h, "answer", above(us, opt_num(h->c, "warn-rtt"), opt_num(h->c, "crit-rtt")), text);
}

/* A publish needs the ledger: its state is in "info"; a state change that alters nothing proves it. */
static void
probe_ledger(struct health *h)
{
	struct alm_client_stats st = {.size = sizeof st};
	json_t *info = NULL;
	char text[256];

	if (node_json(h->c, h->client, "info", &info) != RC_OK) {
		add(h, "node", LEVEL_CRIT, "the node does not tell its state");
		return;
	}
	(void)alm_stats(h->client, &st);
	(void)snprintf(text, sizeof text, "almadiad %s at %s", st.server_version, st.server);
	add(h, "node", LEVEL_OK, text);
	json_decref(info);
}

/* Space of the data directory, if it is on this machine. */
static void
probe_disk(struct health *h)
{
	json_t *conf = NULL, *row;
	const char *dir = NULL;
	char text[600], size[32];
	struct statvfs fs;
	size_t at;

	if (node_json(h->c, h->client, "config", &conf) != RC_OK)
		return;
	json_array_foreach (conf, at, row) {
		if (strcmp(json_string_value(json_object_get(row, "key")), "data_dir") == 0)
			dir = json_string_value(json_object_get(row, "value"));
	}
	if (dir != NULL && statvfs(dir, &fs) == 0) {
		uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
		enum level l = left < (uint64_t)opt_num(h->c, "crit-disk") ? LEVEL_CRIT
		    : left < (uint64_t)opt_num(h->c, "warn-disk")          ? LEVEL_WARN
									   : LEVEL_OK;

		(void)snprintf(text, sizeof text, "%s free in %.400s", format_size(left, size, sizeof size),
		    dir);
		add(h, "disk", l, text);
	}
	json_decref(conf);
}

static int
on_group(void *arg, const char *group, const struct alm_group *g)
{
	(void)g;
	json_array_append_new(arg, json_string(group));
	return 0;
}

static void
probe_lag(struct health *h)
{
	int64_t warn = opt_num(h->c, "warn-lag"), crit = opt_num(h->c, "crit-lag");
	json_t *groups = json_array(), *group;
	char text[384];
	size_t at;

	if (warn > 0 || crit > 0)
		(void)alm_group_list(h->client, on_group, groups);
	json_array_foreach (groups, at, group) {
		const char *name = json_string_value(group);
		json_t *rows = json_array();
		uint64_t lag = 0;

		if (group_lag(h->c, h->client, name, NULL, rows, &lag) == RC_OK) {
			(void)snprintf(text, sizeof text, "group %s is %" PRIu64 " messages behind", name, lag);
			add(h, "lag", above(lag, warn, crit), text);
		}
		json_decref(rows);
	}
	json_decref(groups);
}

/* One line: CRITICAL - first bad thing; ... */
static void
print_nagios(const struct health *h)
{
	json_t *row;
	size_t at;
	int n = 0;

	printf("ALMADIA %s", level_names[h->worst]);
	json_array_foreach (h->rows, at, row) {
		const char *state = json_string_value(json_object_get(row, "state"));

		if (h->worst != LEVEL_OK && strcmp(state, "OK") == 0)
			continue;
		printf("%s%s", n++ == 0 ? " - " : "; ", json_string_value(json_object_get(row, "text")));
	}
	putchar('\n');
}

static int
report(struct health *h, int reached)
{
	static const struct col cols[] = {{"probe", "PROBE", COL_TEXT}, {"state", "STATE", COL_TEXT},
	    {"text", "", COL_TEXT}};
	const char *format = opt_text(h->c, "format");

	if (strcmp(format, "nagios") == 0 && !out_is_json(h->c->out)) {
		print_nagios(h);
		return (int)h->worst;
	}
	if (strcmp(format, "json") == 0 && !out_is_json(h->c->out)) {
		out_free(h->c->out);
		h->c->out = out_new(OUT_JSON, 0);
		if (h->c->out == NULL)
			return RC_FAILED;
	}
	if (out_is_json(h->c->out))
		out_tree(h->c->out,
		    json_pack("{s:s,s:O}", "state", level_names[h->worst], "probes", h->rows));
	else
		out_rows(h->c->out, cols, 3, json_incref(h->rows));
	if (!reached)
		return RC_UNAVAILABLE;
	return h->worst == LEVEL_OK ? RC_OK : RC_FAILED;
}

int
cmd_check(struct call *c)
{
	struct health h = {.c = c, .rows = json_array()};
	char servers[4096];
	struct alm_options o;
	int status, rc;

	session_options(c, &o, servers, sizeof servers);
	status = alm_connect(&o, &h.client);
	if (status != ALM_OK) {
		add(&h, "answer", LEVEL_CRIT, alm_error(NULL));
	} else {
		probe_answer(&h);
		probe_ledger(&h);
		probe_disk(&h);
		probe_lag(&h);
	}
	rc = report(&h, status == ALM_OK);
	json_decref(h.rows);
	alm_close(h.client);
	return rc;
}
