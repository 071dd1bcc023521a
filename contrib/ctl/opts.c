/* ctl/opts.c - the command line against the table.
 *
 * Global options may stand anywhere; a command's own options after its noun and verb; "--" ends
 * options.  Values are checked here by their declared type, so commands read them without error
 * paths.  Runs once at start, one thread.
 */
#include <config.h>

#include "contrib/ctl/opts.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/base.h"
#include "contrib/ctl/out.h"

struct parser {
	struct call *c;
	int argc, at;
	char **argv;
	const char *words[2]; /* noun, verb */
	uint32_t n_words;
};

int
status_rc(int status)
{
	switch (status) {
	case ALM_OK:
		return RC_OK;
	case ALM_ENOTFOUND:
		return RC_NOTFOUND;
	case ALM_EDENIED:
		return RC_DENIED;
	case ALM_EUNAVAILABLE:
	case ALM_ETIMEOUT:
	case ALM_ENOTLEADER:
	case ALM_EAGAIN:
	case ALM_ECLOSED:
		return RC_UNAVAILABLE;
	default:
		return RC_FAILED;
	}
}

__attribute__((format(printf, 4, 0))) static void
complain(const struct call *c, int rc, int status, const char *fmt, va_list ap)
{
	char text[2048];
	json_t *doc;
	char *line;

	(void)vsnprintf(text, sizeof text, fmt, ap);
	if (strncmp(c->output, "json", 4) != 0) {
		fprintf(stderr, "almadia: %s%s%s%s\n", text, status ? " (" : "",
		    status ? status_name(status) : "", status ? ")" : "");
		return;
	}
	doc = json_pack("{s:{s:s%,s:i}}", "error", "message", text, strlen(text), "exit_code", rc);
	if (doc != NULL && status != 0) {
		json_object_set_new(json_object_get(doc, "error"), "status",
		    json_string(status_name(status)));
		json_object_set_new(json_object_get(doc, "error"), "code", json_integer(status));
	}
	line = json_dumps(doc, JSON_COMPACT | JSON_PRESERVE_ORDER);
	fprintf(stderr, "%s\n", line != NULL ? line : text);
	free(line);
	json_decref(doc);
}

int
fail(const struct call *c, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(c, rc, 0, fmt, ap);
	va_end(ap);
	return rc;
}

int
fail_status(const struct call *c, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(c, status_rc(status), status, fmt, ap);
	va_end(ap);
	return status_rc(status);
}

void
note(const struct call *c, const char *fmt, ...)
{
	va_list ap;

	if (c->quiet)
		return;
	va_start(ap, fmt);
	fputs("almadia: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

int
confirm(const struct call *c, const char *fmt, ...)
{
	char text[1024], answer[16];
	va_list ap;

	if (c->yes)
		return RC_OK;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return fail(c, RC_USAGE, "%s: give -y to do it without being asked", text);
	fprintf(stderr, "%s? [y/N] ", text);
	if (fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y'))
		return RC_OK;
	return fail(c, RC_FAILED, "nothing was done");
}

/* ---- values ------------------------------------------------------------------------------ */

static struct optval *
find_val(const struct call *c, const char *name)
{
	for (uint32_t i = 0; i < c->n_vals; i++)
		if (strcmp(c->vals[i].spec->name, name) == 0)
			return &c->vals[i];
	check_failed(__FILE__, __LINE__, "the table declares every option that a command asks for");
}

static int
in_choices(const char *choices, const char *value)
{
	size_t len = strlen(value);

	while (*choices != 0) {
		size_t n = strcspn(choices, "|");

		if (n == len && memcmp(choices, value, n) == 0)
			return 1;
		choices += n + (choices[n] == '|');
	}
	return 0;
}

/* Number of a value of a declared type; ALM_OK, or ALM_EINVAL with err_text() saying why. */
static int
value_number(const struct opt_spec *spec, const char *text, int64_t *out)
{
	int rc;

	*out = 0;
	switch (spec->type) {
	case OPT_INT:
		rc = parse_int(text, out);
		break;
	case OPT_SIZE:
		rc = parse_size(text, out);
		break;
	case OPT_DURATION:
		rc = parse_duration(text, out);
		break;
	case OPT_CHOICE:
		if (in_choices(spec->arg, text))
			return ALM_OK;
		return err_set(ALM_EINVAL, "\"%s\" is none of %s", text, spec->arg);
	default:
		return ALM_OK;
	}
	if (rc == ALM_OK && *out < 0)
		return err_set(ALM_EINVAL, "\"%s\" is below 0", text);
	return rc;
}

const char *
opt_text(const struct call *c, const char *name)
{
	const struct optval *v = find_val(c, name);

	return v->n > 0 ? v->values[v->n - 1] : v->spec->def;
}

int64_t
opt_num(const struct call *c, const char *name)
{
	const struct optval *v = find_val(c, name);
	const char *text = v->n > 0 ? v->values[v->n - 1] : v->spec->def;
	int64_t n = 0;

	if (text != NULL)
		(void)value_number(v->spec, text, &n);
	return n;
}

int
opt_given(const struct call *c, const char *name)
{
	return find_val(c, name)->n > 0;
}

uint32_t
opt_count(const struct call *c, const char *name)
{
	return find_val(c, name)->n;
}

const char *
opt_nth(const struct call *c, const char *name, uint32_t i)
{
	const struct optval *v = find_val(c, name);

	return i < v->n ? v->values[i] : NULL;
}

/* ---- parsing ------------------------------------------------------------------------------ */

static int
set_global(struct call *c, const struct opt_spec *spec, const char *value)
{
	const char *name = spec->name;

	if (strcmp(name, "output") == 0) {
		c->output = value;
		c->output_given = 1;
	} else if (strcmp(name, "server") == 0) {
		if (c->n_servers == SERVERS_MAX)
			return fail(c, RC_USAGE, "more than %u servers given", SERVERS_MAX);
		c->servers[c->n_servers++] = value;
	} else if (strcmp(name, "context") == 0) {
		c->context = value;
	} else if (strcmp(name, "timeout") == 0) {
		(void)parse_duration(value, &c->timeout_us);
		c->timeout_given = 1;
	} else if (strcmp(name, "quiet") == 0) {
		c->quiet = 1;
	} else if (strcmp(name, "verbose") == 0) {
		c->verbose = 1;
	} else if (strcmp(name, "no-color") == 0) {
		c->no_color = 1;
	} else if (strcmp(name, "no-progress") == 0) {
		c->no_progress = 1;
	} else if (strcmp(name, "yes") == 0) {
		c->yes = 1;
	} else {
		c->help = 1;
	}
	return RC_OK;
}

static int
set_local(struct call *c, struct optval *v, const char *value)
{
	const char **more;

	if (v->n > 0 && !v->spec->many)
		return fail(c, RC_USAGE, "option --%s is given twice", v->spec->name);
	more = realloc(v->values, (v->n + 1) * sizeof *more);
	if (more == NULL)
		return fail(c, RC_FAILED, "out of memory");
	v->values = more;
	v->values[v->n++] = value;
	return RC_OK;
}

/* The option of a name of len bytes, or of a letter (name NULL). */
static const struct opt_spec *
find_spec(const struct opt_spec *s, const char *name, size_t len, char letter)
{
	for (; s != NULL && s->name != NULL; s++)
		if (name != NULL ? strlen(s->name) == len && memcmp(s->name, name, len) == 0
				 : s->letter == letter)
			return s;
	return NULL;
}

static int
unknown_option(struct parser *p, const char *typed, const char *name)
{
	const struct opt_spec *lists[2] = {p->c->cmd != NULL ? p->c->cmd->opts : NULL, global_opts};
	char who[64] = "almadia";

	if (p->c->cmd != NULL)
		(void)command_name(p->c->cmd, who, sizeof who);
	for (int i = 0; name != NULL && i < 2; i++)
		for (const struct opt_spec *s = lists[i]; s != NULL && s->name != NULL; s++)
			if (words_close(name, s->name))
				return fail(p->c, RC_USAGE, "%s has no option %s: did you mean --%s?",
				    who, typed, s->name);
	return fail(p->c, RC_USAGE, "%s has no option %s: see almadia %s%s--help", who, typed,
	    p->c->cmd != NULL ? who : "", p->c->cmd != NULL ? " " : "");
}

/* One option found; value is NULL if it has to come from the next word. */
static int
take(struct parser *p, const struct opt_spec *spec, const char *value)
{
	struct call *c = p->c;
	int64_t n;

	if (spec->type == OPT_FLAG && value != NULL)
		return fail(c, RC_USAGE, "option --%s takes no value", spec->name);
	if (spec->type != OPT_FLAG && value == NULL) {
		if (p->at >= p->argc)
			return fail(c, RC_USAGE, "option --%s needs a value: %s", spec->name, spec->arg);
		value = p->argv[p->at++];
	}
	if (spec->type == OPT_FLAG)
		value = "yes";
	else if (value_number(spec, value, &n) != ALM_OK)
		return fail(c, RC_USAGE, "option --%s: %s", spec->name, err_text());
	for (uint32_t i = 0; i < c->n_vals; i++)
		if (c->vals[i].spec == spec)
			return set_local(c, &c->vals[i], value);
	return set_global(c, spec, value);
}

static const struct opt_spec *
lookup(struct parser *p, const char *name, size_t len, char letter)
{
	const struct opt_spec *s = NULL;

	if (p->c->cmd != NULL)
		s = find_spec(p->c->cmd->opts, name, len, letter);
	return s != NULL ? s : find_spec(global_opts, name, len, letter);
}

static int
long_option(struct parser *p, const char *word)
{
	const char *name = word + 2, *eq = strchr(name, '=');
	size_t len = eq != NULL ? (size_t)(eq - name) : strlen(name);
	const struct opt_spec *spec = lookup(p, name, len, 0);
	char bare[64];

	if (spec == NULL) {
		(void)snprintf(bare, sizeof bare, "%.*s", (int)(len < 60 ? len : 60), name);
		return unknown_option(p, word, bare);
	}
	return take(p, spec, eq != NULL ? eq + 1 : NULL);
}

/* "-q", "-ojson", "-qy". */
static int
short_options(struct parser *p, const char *word)
{
	for (const char *s = word + 1; *s != 0; s++) {
		const struct opt_spec *spec = lookup(p, NULL, 0, *s);
		char typed[3] = {'-', *s, 0};
		int rc;

		if (spec == NULL)
			return unknown_option(p, typed, NULL);
		if (spec->type != OPT_FLAG && s[1] != 0)
			return take(p, spec, s + 1);
		rc = take(p, spec, NULL);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

static int
unknown_command(struct parser *p, const char *word)
{
	const char *noun = p->words[0], *near;

	if (p->n_words == 0) {
		near = suggest_noun(word);
		return near != NULL
		    ? fail(p->c, RC_USAGE, "unknown command \"%s\": did you mean \"%s\"?", word, near)
		    : fail(p->c, RC_USAGE, "unknown command \"%s\": see almadia help", word);
	}
	near = suggest_verb(noun, word);
	return near != NULL
	    ? fail(p->c, RC_USAGE, "%s has no command \"%s\": did you mean \"%s %s\"?", noun, word,
		  noun, near)
	    : fail(p->c, RC_USAGE, "%s has no command \"%s\": see almadia %s --help", noun, word,
		  noun);
}

/* The command is known: make room for its options. */
static int
settle(struct parser *p, const struct command *cmd)
{
	struct call *c = p->c;
	uint32_t n = 0;

	c->cmd = cmd;
	while (cmd->opts != NULL && cmd->opts[n].name != NULL)
		n++;
	c->vals = calloc(n + 1, sizeof *c->vals);
	if (c->vals == NULL)
		return fail(c, RC_FAILED, "out of memory");
	c->n_vals = n;
	for (uint32_t i = 0; i < n; i++)
		c->vals[i].spec = &cmd->opts[i];
	return RC_OK;
}

static int
plain_word(struct parser *p, const char *word)
{
	const struct command *cmd;

	if (p->c->cmd != NULL) {
		p->c->args[p->c->n_args++] = word;
		return RC_OK;
	}
	if (p->n_words == 0) {
		cmd = command_find(word, NULL);
		if (cmd == NULL && !noun_has_verbs(word))
			return unknown_command(p, word);
		p->c->noun_word = word;
	} else {
		cmd = command_find(p->words[0], word);
		if (cmd == NULL)
			return unknown_command(p, word);
	}
	p->words[p->n_words++] = word;
	return cmd != NULL ? settle(p, cmd) : RC_OK;
}

static int
check_arity(const struct call *c)
{
	uint32_t least, most;
	char name[64];

	command_arity(c->cmd, &least, &most);
	if (c->n_args >= least && c->n_args <= most)
		return RC_OK;
	(void)command_name(c->cmd, name, sizeof name);
	return fail(c, RC_USAGE, "%s: %s; usage: almadia %s%s%s", name,
	    c->n_args < least ? "an argument is missing" : "too many arguments", name,
	    c->cmd->args[0] != 0 ? " " : "", c->cmd->args);
}

int
opts_parse(struct call *c, int argc, char **argv)
{
	struct parser p = {.c = c, .argc = argc, .at = 1, .argv = argv};
	int rc = RC_OK, ended = 0;

	c->output = "table";
	c->timeout_us = 10000000;
	c->args = calloc((size_t)argc + 1, sizeof *c->args);
	if (c->args == NULL)
		return fail(c, RC_FAILED, "out of memory");
	while (rc == RC_OK && p.at < argc) {
		const char *word = argv[p.at++];

		if (!ended && strcmp(word, "--") == 0)
			ended = 1;
		else if (!ended && word[0] == '-' && word[1] == '-')
			rc = long_option(&p, word);
		else if (!ended && word[0] == '-' && word[1] != 0 && !isdigit((unsigned char)word[1]))
			rc = short_options(&p, word);
		else
			rc = plain_word(&p, word);
	}
	if (rc != RC_OK || c->help)
		return rc;
	if (p.n_words == 0)
		return fail(c, RC_USAGE, "a command is missing: see almadia help");
	if (c->cmd == NULL)
		return fail(c, RC_USAGE, "%s: a command is missing: see almadia %s --help",
		    p.words[0], p.words[0]);
	return check_arity(c);
}

void
opts_free(struct call *c)
{
	for (uint32_t i = 0; i < c->n_vals; i++)
		free(c->vals[i].values);
	free(c->vals);
	free(c->args);
	json_decref(c->context_servers);
	out_free(c->out);
}
