/* ctl/cmd_ctx.c - contexts.
 *
 * File: $XDG_CONFIG_HOME/almadia/contexts.ini, mode 0600, replaced as a whole by rename:
 *
 *	[almadia]
 *	current = prod
 *	[context prod]
 *	server = 10.0.0.5:7450
 *	server = 10.0.0.6:7450
 */
#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/ctx.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/out.h"

#define NAME_MAX_LEN 40u
#define SERVER_MAX_LEN 180u /* one INI line */
#define DEFAULT_SERVER "127.0.0.1:7450"

/* The file as JSON: {"current": name, "contexts": {name: [server, ...]}}. */
struct book {
	char path[1024];
	json_t *contexts;
	char current[NAME_MAX_LEN + 1];
};

static int
book_path(const struct call *c, struct book *b)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	int n;

	if (xdg != NULL && xdg[0] == '/')
		n = snprintf(b->path, sizeof b->path, "%s/almadia/contexts.ini", xdg);
	else if (home != NULL && home[0] == '/')
		n = snprintf(b->path, sizeof b->path, "%s/.config/almadia/contexts.ini", home);
	else
		return fail(c, RC_FAILED, "no place for contexts: neither XDG_CONFIG_HOME nor HOME is set");
	return n > 0 && (size_t)n < sizeof b->path ? RC_OK
						   : fail(c, RC_FAILED, "the path of contexts.ini is too long");
}

static int
name_ok(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > NAME_MAX_LEN)
		return 0;
	for (; *name != 0; name++)
		if (!isalnum((unsigned char)*name) && strchr("._-", *name) == NULL)
			return 0;
	return 1;
}

/* HOST:PORT, [v6]:PORT or unix:/path, short and without blanks. */
static int
server_ok(const char *s)
{
	const char *colon = strrchr(s, ':');
	int64_t port;

	if (strlen(s) > SERVER_MAX_LEN || s[strcspn(s, " \t\r\n;#=")] != 0)
		return 0;
	if (strncmp(s, "unix:", 5) == 0)
		return s[5] == '/';
	return colon != NULL && colon > s && parse_int(colon + 1, &port) == ALM_OK && port > 0 &&
	    port < 65536;
}

static int
on_line(void *arg, const char *section, const char *key, const char *value)
{
	struct book *b = arg;
	const char *name;
	json_t *list;

	if (strcmp(section, "almadia") == 0 && strcmp(key, "current") == 0) {
		(void)snprintf(b->current, sizeof b->current, "%s", value);
		return 1;
	}
	if (strncmp(section, "context ", 8) != 0 || strcmp(key, "server") != 0)
		return 0;
	name = section + 8;
	if (!name_ok(name) || !server_ok(value))
		return 0;
	list = json_object_get(b->contexts, name);
	if (list == NULL) {
		list = json_array();
		json_object_set_new(b->contexts, name, list);
	}
	return json_array_append_new(list, json_string(value)) == 0;
}

static int
book_read(const struct call *c, struct book *b)
{
	FILE *f;
	int rc = book_path(c, b), line;

	b->contexts = json_object();
	if (rc != RC_OK)
		return rc;
	f = fopen(b->path, "re");
	if (f == NULL)
		return errno == ENOENT ? RC_OK
				       : fail(c, RC_FAILED, "could not read %s: %s", b->path, strerror(errno));
	line = ini_parse_file(f, on_line, b);
	fclose(f);
	return line == 0 ? RC_OK : fail(c, RC_FAILED, "%s:%d: not a line of a context", b->path, line);
}

static void
book_print(const struct book *b, FILE *f)
{
	const char *name;
	json_t *list, *server;
	size_t at;

	if (b->current[0] != 0)
		fprintf(f, "[almadia]\ncurrent = %s\n", b->current);
	json_object_foreach (b->contexts, name, list) {
		fprintf(f, "[context %s]\n", name);
		json_array_foreach (list, at, server) {
			fprintf(f, "server = %s\n", json_string_value(server));
		}
	}
}

static void
make_parents(const char *path)
{
	char dir[1024];

	(void)snprintf(dir, sizeof dir, "%s", path);
	for (char *p = dir + 1; *p != 0; p++)
		if (*p == '/') {
			*p = 0;
			(void)mkdir(dir, 0700);
			*p = '/';
		}
}

static int
book_write(const struct call *c, const struct book *b)
{
	char tmp[1100];
	int fd, bad;
	FILE *f;

	make_parents(b->path);
	(void)snprintf(tmp, sizeof tmp, "%s.XXXXXX", b->path);
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0 || (f = fdopen(fd, "w")) == NULL)
		return fail(c, RC_FAILED, "could not write %s: %s", b->path, strerror(errno));
	book_print(b, f);
	bad = fflush(f) != 0 || fsync(fd) != 0;
	bad |= fclose(f) != 0;
	if (!bad && rename(tmp, b->path) == 0)
		return RC_OK;
	bad = errno;
	(void)unlink(tmp);
	return fail(c, RC_FAILED, "could not write %s: %s", b->path, strerror(bad));
}

static int
no_such_context(const struct call *c, const struct book *b, const char *name)
{
	const char *other;
	json_t *list;

	json_object_foreach (b->contexts, other, list) {
		if (words_close(name, other))
			return fail(c, RC_NOTFOUND, "no context \"%s\": did you mean \"%s\"?", name, other);
	}
	return fail(c, RC_NOTFOUND, "no context \"%s\": see almadia ctx list", name);
}

/* ---- choice of servers ---------------------------------------------------------------------- */

static int
check_servers(const struct call *c)
{
	for (uint32_t i = 0; i < c->n_servers; i++)
		if (!server_ok(c->servers[i]))
			return fail(c, RC_USAGE, "server \"%s\" is neither HOST:PORT nor unix:/PATH",
			    c->servers[i]);
	return RC_OK;
}

static int
use_context(struct call *c, const struct book *b, const char *name)
{
	json_t *list = json_object_get(b->contexts, name), *server;
	size_t at;

	if (list == NULL)
		return no_such_context(c, b, name);
	json_array_foreach (list, at, server) {
		if (c->n_servers < SERVERS_MAX)
			c->servers[c->n_servers++] = json_string_value(server);
	}
	c->context_servers = json_incref(list);
	return RC_OK;
}

int
ctx_pick_servers(struct call *c)
{
	const char *env = getenv("ALMADIA_SERVER"), *name = c->context;
	struct book b = {0};
	int rc = RC_OK;

	if (c->n_servers > 0)
		return check_servers(c);
	if (name == NULL && env != NULL && env[0] != 0) {
		c->servers[c->n_servers++] = env;
		return check_servers(c);
	}
	if (name == NULL)
		name = getenv("ALMADIA_CONTEXT");
	if (name != NULL || getenv("HOME") != NULL || getenv("XDG_CONFIG_HOME") != NULL) {
		rc = book_read(c, &b);
		if (name == NULL && b.current[0] != 0)
			name = b.current;
		if (rc == RC_OK && name != NULL)
			rc = use_context(c, &b, name);
		json_decref(b.contexts);
	}
	if (rc == RC_OK && c->n_servers == 0)
		c->servers[c->n_servers++] = DEFAULT_SERVER;
	return rc;
}

/* ---- commands ------------------------------------------------------------------------------- */

static json_t *
context_json(const struct book *b, const char *name)
{
	return json_pack("{s:s,s:b,s:O}", "name", name, "current", strcmp(name, b->current) == 0,
	    "servers", json_object_get(b->contexts, name));
}

static const struct col context_cols[] = {{"name", "NAME", COL_TEXT}, {"current", "CURRENT", COL_TEXT},
    {"servers", "SERVERS", COL_TEXT}};

int
cmd_ctx_add(struct call *c)
{
	struct book b = {0};
	json_t *list = json_array();
	int rc = RC_OK;

	if (!name_ok(c->args[0]))
		rc = fail(c, RC_USAGE, "\"%s\" is not a context name: use up to %u of A-Z a-z 0-9 . _ -",
		    c->args[0], NAME_MAX_LEN);
	for (uint32_t i = 1; rc == RC_OK && i < c->n_args; i++) {
		if (i > SERVERS_MAX)
			rc = fail(c, RC_USAGE, "a context holds at most %u servers", SERVERS_MAX);
		else if (!server_ok(c->args[i]))
			rc = fail(c, RC_USAGE, "server \"%s\" is neither HOST:PORT nor unix:/PATH", c->args[i]);
		else
			json_array_append_new(list, json_string(c->args[i]));
	}
	if (rc == RC_OK)
		rc = book_read(c, &b);
	if (rc == RC_OK) {
		json_object_set(b.contexts, c->args[0], list);
		if (opt_given(c, "use"))
			(void)snprintf(b.current, sizeof b.current, "%s", c->args[0]);
		rc = book_write(c, &b);
	}
	if (rc == RC_OK)
		out_object(c->out, context_cols, 3, context_json(&b, c->args[0]), NULL, NULL, 0);
	json_decref(list);
	json_decref(b.contexts);
	return rc;
}

int
cmd_ctx_list(struct call *c)
{
	struct book b = {0};
	json_t *rows = json_array(), *list;
	const char *name;
	int rc = book_read(c, &b);

	if (rc == RC_OK) {
		json_object_foreach (b.contexts, name, list) {
			json_array_append_new(rows, context_json(&b, name));
		}
		out_rows(c->out, context_cols, 3, json_incref(rows));
	}
	json_decref(rows);
	json_decref(b.contexts);
	return rc;
}

int
cmd_ctx_use(struct call *c)
{
	struct book b = {0};
	int rc = book_read(c, &b);

	if (rc == RC_OK && json_object_get(b.contexts, c->args[0]) == NULL)
		rc = no_such_context(c, &b, c->args[0]);
	if (rc == RC_OK) {
		(void)snprintf(b.current, sizeof b.current, "%s", c->args[0]);
		rc = book_write(c, &b);
	}
	if (rc == RC_OK)
		out_object(c->out, context_cols, 3, context_json(&b, c->args[0]), NULL, NULL, 0);
	json_decref(b.contexts);
	return rc;
}

int
cmd_ctx_show(struct call *c)
{
	struct book b = {0};
	int rc = book_read(c, &b);
	const char *name = c->n_args > 0 ? c->args[0] : b.current;

	if (rc == RC_OK && name[0] == 0)
		rc = fail(c, RC_NOTFOUND, "no context is current: %s is used (almadia ctx use NAME)",
		    DEFAULT_SERVER);
	else if (rc == RC_OK && json_object_get(b.contexts, name) == NULL)
		rc = no_such_context(c, &b, name);
	else if (rc == RC_OK)
		out_object(c->out, context_cols, 3, context_json(&b, name), NULL, NULL, 0);
	json_decref(b.contexts);
	return rc;
}

int
cmd_ctx_delete(struct call *c)
{
	struct book b = {0};
	int rc = book_read(c, &b);

	if (rc == RC_OK && json_object_get(b.contexts, c->args[0]) == NULL)
		rc = no_such_context(c, &b, c->args[0]);
	if (rc == RC_OK) {
		if (strcmp(b.current, c->args[0]) == 0)
			b.current[0] = 0;
		json_object_del(b.contexts, c->args[0]);
		rc = book_write(c, &b);
	}
	if (rc == RC_OK)
		out_object(c->out, (const struct col[]){{"deleted", "DELETED", COL_TEXT}}, 1,
		    json_pack("{s:s}", "deleted", c->args[0]), NULL, NULL, 0);
	json_decref(b.contexts);
	return rc;
}
