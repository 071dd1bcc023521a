/* config/settings.c - every core setting in one table, and the reading of values by type.
 *
 * Pure functions over constant data; any thread.  A value is never half-applied: setting_parse
 * judges, core_setting_store stores what was judged good.
 */
#include <config.h>

#include "config/settings.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(struct core_settings, field), sizeof(((struct core_settings *)0)->field)
#define NUM(sec, key, type, def, lo, hi, scope, field, doc)                                        \
	{sec, {key, def, NULL, doc, lo, hi, type, scope}, AT(field), 0, 0}
#define CHOICE(sec, key, def, choices, scope, field, first, doc)                                   \
	{sec, {key, def, choices, doc, 0, 0, ALM_SET_CHOICE, scope}, AT(field), first, 0}
#define STR(sec, key, def, kind, field, doc)                                                       \
	{sec, {key, def, NULL, doc, 0, 0, ALM_SET_STRING, ALM_SCOPE_BOOT}, AT(field), 0, kind}

#define PATH 1u
#define PATHS 2u
#define NAMES 3u

#define KI (INT64_C(1) << 10)
#define MI (INT64_C(1) << 20)
#define GI (INT64_C(1) << 30)

const struct core_setting core_settings_table[] = {
	STR("server", "data_dir", ALM_LOCALSTATEDIR "/lib/almadia", PATH, data_dir,
	    "Directory of the log and of all state"),
	STR("server", "runtime_dir", "", PATH, runtime_dir,
	    "Directory of the pid file and the local socket; empty: data_dir"),
	STR("server", "plugin_path", ALM_PLUGINDIR, PATHS, plugin_path,
	    "Absolute directories that hold plugins, separated by colons"),
	CHOICE("server", "mode", "processes", "processes|threads|fused", ALM_SCOPE_BOOT, mode,
	    MODE_PROCESSES, "Run the roles as processes, as threads of one process, or all on one loop"),
	NUM("server", "workers", SET_AUTO_INT, "auto", 1, WORKERS_MAX, ALM_SCOPE_BOOT, workers,
	    "Number of workers; auto: processors less two, at least one"),
	NUM("server", "node_id", ALM_SET_INT, "1", 1, 65535, ALM_SCOPE_BOOT, node_id,
	    "Number of this node, unique in its cluster"),
	NUM("server", "max_connections", ALM_SET_INT, "10000", 1, 1000000, ALM_SCOPE_BOOT,
	    max_connections, "Client connections of the node; more are refused"),
	NUM("server", "spin", ALM_SET_DURATION, "0", 0, 1000000, ALM_SCOPE_BOOT, spin_us,
	    "How long a role looks for work before it sleeps"),
	NUM("server", "allow_remote", ALM_SET_BOOL, "no", 0, 0, ALM_SCOPE_BOOT, allow_remote,
	    "Allow listeners on addresses that other machines can reach"),
	NUM("server", "ledger_restarts", ALM_SET_INT, "5", 1, 1000000, ALM_SCOPE_RELOAD, ledger_restarts,
	    "Crashes of the ledger within 10 minutes that stop the node"),
	NUM("server", "worker_restarts", ALM_SET_INT, "5", 1, 1000000, ALM_SCOPE_RELOAD, worker_restarts,
	    "Crashes of a worker or the indexer within 60 seconds, before it pauses for 60 seconds"),
	CHOICE("log", "level", "info", "debug|info|notice|warn|error", ALM_SCOPE_RELOAD, log_level,
	    ALM_LOG_DEBUG, "Least level of the lines that are logged"),
	CHOICE("log", "format", "text", "text|json", ALM_SCOPE_BOOT, log_json, 0,
	    "Form of a log line"),
	NUM("limits", "max_message", ALM_SET_SIZE, "4m", KI, 8 * MI, ALM_SCOPE_RELOAD, max_message,
	    "Largest message, attributes included"),
	NUM("limits", "max_output", ALM_SET_SIZE, "8m", 64 * KI, GI, ALM_SCOPE_RELOAD, max_output,
	    "Bytes that may wait to leave on one connection"),
	NUM("limits", "max_batch", ALM_SET_SIZE, "4m", 64 * KI, 16 * MI, ALM_SCOPE_BOOT, max_batch,
	    "Largest batch, the unit of replication and of one write"),
	NUM("retention", "bytes", ALM_SET_SIZE, "0", 0, INT64_MAX, ALM_SCOPE_RELOAD, retention_bytes,
	    "Size of the log above which its oldest part is dropped; 0: no limit"),
	NUM("retention", "time", ALM_SET_DURATION, "0", 0, INT64_MAX, ALM_SCOPE_RELOAD, retention_time,
	    "Age above which the oldest part of the log is dropped; 0: no limit"),
	NUM("retention", "reserved_space", ALM_SET_SIZE, "16m", 0, INT64_MAX, ALM_SCOPE_RELOAD,
	    reserved_space, "Disk space kept for deletes, retention and offset commits"),
	NUM("topics", "queues", ALM_SET_INT, "1", 1, 65535, ALM_SCOPE_RELOAD, topic_queues,
	    "Queues of a new topic that does not say"),
	NUM("topics", "auto_create", ALM_SET_BOOL, "no", 0, 0, ALM_SCOPE_RELOAD, auto_create_topics,
	    "Create a topic when somebody publishes to it"),
	STR("storage", "plugin", "segment", 0, storage, "Storage plugin of the log"),
	STR("consensus", "plugin", "single", 0, consensus, "Consensus plugin"),
	STR("indexers", "plugins", "queue,key", NAMES, indexers,
	    "Indexer plugins, separated by commas, in the order in which they are asked"),
	STR("extensions", "plugins", "", NAMES, extensions,
	    "Extension plugins, separated by commas, in the order of their hooks"),
};
const uint32_t n_core_settings = sizeof core_settings_table / sizeof core_settings_table[0];

const struct core_setting *
core_setting_find(const char *section, const char *key)
{
	for (uint32_t i = 0; i < n_core_settings; i++) {
		const struct core_setting *cs = &core_settings_table[i];

		if (strcmp(cs->section, section) == 0 && strcmp(cs->s.name, key) == 0)
			return cs;
	}
	return NULL;
}

int
core_section_known(const char *section)
{
	for (uint32_t i = 0; i < n_core_settings; i++)
		if (strcmp(core_settings_table[i].section, section) == 0)
			return 1;
	return 0;
}

const char *
setting_type_name(uint32_t type)
{
	switch (type) {
	case ALM_SET_STRING: return "string";
	case ALM_SET_BOOL: return "bool";
	case ALM_SET_INT: return "int";
	case ALM_SET_SIZE: return "size";
	case ALM_SET_DURATION: return "duration";
	case ALM_SET_CHOICE: return "choice";
	case SET_AUTO_INT: return "int or auto";
	default: return "unknown";
	}
}

const char *
setting_format(uint32_t type, int64_t value, char *out, uint32_t cap)
{
	static const struct unit {
		const char *suffix;
		int64_t factor;
	} size_units[] = {{"g", GI}, {"m", MI}, {"k", KI}},
	  time_units[] = {{"d", INT64_C(86400000000)}, {"h", INT64_C(3600000000)},
	      {"m", INT64_C(60000000)}, {"s", INT64_C(1000000)}, {"ms", INT64_C(1000)}, {"us", 1}};
	const struct unit *units = type == ALM_SET_SIZE ? size_units : time_units;
	uint32_t n = type == ALM_SET_SIZE ? 3 : type == ALM_SET_DURATION ? 6 : 0;

	for (uint32_t i = 0; i < n; i++) {
		if (value != 0 && value % units[i].factor == 0) {
			snprintf(out, cap, "%lld%s", (long long)(value / units[i].factor), units[i].suffix);
			return out;
		}
	}
	snprintf(out, cap, "%lld", (long long)value);
	return out;
}

static int
parse_choice(const struct alm_setting *s, const char *text, int64_t *out)
{
	uint64_t len = strlen(text);
	const char *at = s->choices;

	for (int64_t i = 0; at && *at; i++) {
		uint64_t n = strcspn(at, "|");

		if (n == len && len > 0 && memcmp(at, text, n) == 0) {
			*out = i;
			return ALM_OK;
		}
		at += n + (at[n] == '|');
	}
	char list[128];
	uint32_t w = 0;
	for (at = s->choices; at && *at && w + 3 < sizeof list; at++) {
		list[w++] = *at == '|' ? ',' : *at;
		if (*at == '|')
			list[w++] = ' ';
	}
	list[w] = 0;
	return err_set(ALM_ECONFIG, "\"%s\" is not one of %s", text, list);
}

static int
parse_number(uint32_t type, const char *text, int64_t *out)
{
	switch (type) {
	case ALM_SET_BOOL:
		if (parse_bool(text, out) == ALM_OK)
			return ALM_OK;
		return err_set(ALM_ECONFIG, "\"%s\" is neither yes nor no", text);
	case ALM_SET_SIZE:
		if (parse_size(text, out) == ALM_OK && *out >= 0)
			return ALM_OK;
		return err_set(ALM_ECONFIG, "\"%s\" is not a size (use 64k, 256m, 1g)", text);
	case ALM_SET_DURATION:
		if (parse_duration(text, out) == ALM_OK && *out >= 0)
			return ALM_OK;
		return err_set(ALM_ECONFIG, "\"%s\" is not a duration (use 30m, 12h, 7d)", text);
	default:
		if (parse_int(text, out) == ALM_OK)
			return ALM_OK;
		return err_set(ALM_ECONFIG, "\"%s\" is not a number%s", text,
		    type == SET_AUTO_INT ? " (or auto)" : "");
	}
}

int
setting_parse(const struct alm_setting *s, const char *text, int64_t *out)
{
	char limit[32];

	*out = 0;
	if (s->type == ALM_SET_STRING)
		return ALM_OK;
	if (s->type == ALM_SET_CHOICE)
		return parse_choice(s, text, out);
	if (s->type == SET_AUTO_INT && strcmp(text, "auto") == 0)
		return ALM_OK;
	int status = parse_number(s->type, text, out);
	if (status != ALM_OK || (s->min == 0 && s->max == 0))
		return status;
	if (*out < s->min)
		return err_set(ALM_ECONFIG, "\"%s\" is too small (at least %s)", text,
		    setting_format(s->type, s->min, limit, sizeof limit));
	if (*out > s->max)
		return err_set(ALM_ECONFIG, "\"%s\" is too large (at most %s)", text,
		    setting_format(s->type, s->max, limit, sizeof limit));
	return ALM_OK;
}

static int
plugin_name_ok(const char *name, uint64_t len)
{
	if (len == 0 || len > 40)
		return 0;
	for (uint64_t i = 0; i < len; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789_-", name[i]))
			return 0;
	return 1;
}

/* Copy a comma-separated list without its blanks; each name good and only once. */
static int
store_names(const char *text, char *out, uint32_t cap)
{
	uint64_t used = 0;

	out[0] = 0;
	for (const char *at = text; *at;) {
		at += strspn(at, " \t");
		uint64_t full = strcspn(at, ","), len = full;

		while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t'))
			len--;
		if (!plugin_name_ok(at, len))
			return err_set(ALM_ECONFIG, "\"%.*s\" is not a plugin name (a-z, 0-9, _ and -)",
			    (int)len, at);
		for (const char *p = out; *p;) {
			uint64_t n = strcspn(p, ",");

			if (n == len && memcmp(p, at, n) == 0)
				return err_set(ALM_ECONFIG, "\"%.*s\" is named twice", (int)len, at);
			p += n + (p[n] == ',');
		}
		if (used + len + 2 > cap)
			return err_set(ALM_ECONFIG, "the list is longer than %u bytes", cap - 1);
		if (used)
			out[used++] = ',';
		memcpy(out + used, at, len);
		used += len;
		out[used] = 0;
		at += full + (at[full] == ',');
	}
	return ALM_OK;
}

static int
store_string(const struct core_setting *cs, const char *text, char *out)
{
	if (cs->path == NAMES)
		return store_names(text, out, cs->width);
	if (cs->path == 0 && !plugin_name_ok(text, strlen(text)))
		return err_set(ALM_ECONFIG, "\"%s\" is not a plugin name (a-z, 0-9, _ and -)", text);
	if (strlen(text) >= cs->width)
		return err_set(ALM_ECONFIG, "value of %zu bytes is too long (at most %u)", strlen(text),
		    cs->width - 1);
	if (cs->path == PATH && text[0] != '/' && (text[0] != 0 || cs->s.def[0] != 0))
		return err_set(ALM_ECONFIG, "\"%s\" is not an absolute path", text);
	for (const char *at = text; cs->path == PATHS; at++) {
		uint64_t n = strcspn(at, ":");

		if (*at != '/')
			return err_set(ALM_ECONFIG, "\"%.*s\" is not an absolute path", (int)n, at);
		at += n;
		if (*at == 0)
			break;
	}
	memcpy(out, text, strlen(text) + 1);
	return ALM_OK;
}

int
core_setting_store(const struct core_setting *cs, const char *text, struct core_settings *out)
{
	char *at = (char *)out + cs->offset;
	int64_t value;
	int status = setting_parse(&cs->s, text, &value);

	if (status != ALM_OK)
		return status;
	if (cs->s.type == ALM_SET_STRING)
		return store_string(cs, text, at);
	if (cs->s.type == ALM_SET_CHOICE)
		value += cs->choice_base;
	if (cs->width == sizeof(uint32_t)) {
		uint32_t v = (uint32_t)value;
		memcpy(at, &v, sizeof v);
	} else {
		uint64_t v = (uint64_t)value;
		memcpy(at, &v, sizeof v);
	}
	return ALM_OK;
}
