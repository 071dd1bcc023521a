/* ctl/cmd_help.c - help from the table: overview, one noun, one command, all as JSON. */
#include <config.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/help.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/out.h"

#define INDENT 2u
#define COLUMNS 90u

/* Text broken into lines of COLUMNS, each after the first behind indent blanks. */
static void
wrap(struct buf *b, const char *text, uint32_t indent, uint32_t at)
{
	while (*text != 0) {
		uint32_t n = (uint32_t)strcspn(text, " ");

		if (at + 1 + n > COLUMNS && at > indent) {
			buf_putf(b, "\n%*s", (int)indent, "");
			at = indent;
		} else if (at > indent) {
			buf_put(b, " ", 1);
			at++;
		}
		buf_put(b, text, n);
		at += n;
		text += n + strspn(text + n, " ");
	}
	buf_put(b, "\n", 1);
}

static void
term(struct buf *b, const char *name, uint32_t width, const char *doc)
{
	uint32_t n = (uint32_t)strlen(name), column = INDENT + width + 2;

	buf_putf(b, "%*s%s", (int)INDENT, "", name);
	if (n > width)
		buf_putf(b, "\n%*s", (int)column, "");
	else
		buf_putf(b, "%*s", (int)(width + 2 - n), "");
	wrap(b, doc, column, column);
}

void
option_words(const struct opt_spec *s, char *out, uint32_t cap)
{
	char letter[8] = "    ";

	if (s->letter != 0)
		(void)snprintf(letter, sizeof letter, "-%c, ", s->letter);
	(void)snprintf(out, cap, "%s--%s%s%s%s", letter, s->name, s->arg != NULL ? " " : "",
	    s->arg != NULL ? s->arg : "", s->many ? " ..." : "");
}

static void
put_options(struct buf *b, const char *title, const struct opt_spec *s)
{
	char words[128], doc[512];

	if (s == NULL || s->name == NULL)
		return;
	buf_putf(b, "\n%s:\n", title);
	for (; s->name != NULL; s++) {
		option_words(s, words, sizeof words);
		(void)snprintf(doc, sizeof doc, "%s%s%s%s", s->doc, s->def != NULL ? " (default: " : "",
		    s->def != NULL ? s->def : "", s->def != NULL ? ")" : "");
		term(b, words, 26, doc);
	}
}

static void
command_text(struct buf *b, const struct command *cmd)
{
	char name[64];
	const char *line = cmd->examples;

	(void)command_name(cmd, name, sizeof name);
	buf_putf(b, "almadia %s - %s\n\nUsage: almadia %s%s%s%s\n", name, cmd->summary, name,
	    cmd->args[0] != 0 ? " " : "", cmd->args, cmd->opts != NULL ? " [OPTION...]" : "");
	if (cmd->doc != NULL) {
		buf_put(b, "\n", 1);
		wrap(b, cmd->doc, 0, 0);
	}
	put_options(b, "Options", cmd->opts);
	buf_putf(b, "\nExamples:\n");
	while (*line != 0) {
		int n = (int)strcspn(line, "\n");

		buf_putf(b, "  %.*s\n", n, line);
		line += n + (line[n] == '\n');
	}
	buf_putf(b, "\nGlobal options: see almadia --help\n");
}

/* The commands of one noun, or of all. */
static void
put_commands(struct buf *b, const char *noun)
{
	char name[64], usage[128];

	for (uint32_t i = 0; i < command_count; i++) {
		const struct command *cmd = &command_table[i];

		if (noun != NULL && strcmp(noun, cmd->noun) != 0)
			continue;
		(void)command_name(cmd, name, sizeof name);
		(void)snprintf(usage, sizeof usage, "%s%s%s", name, cmd->args[0] != 0 ? " " : "",
		    cmd->args);
		term(b, usage, 26, cmd->summary);
	}
}

static void
overview_text(struct buf *b)
{
	buf_putf(b, "almadia - talk to an Almadia message broker\n\n"
		    "Usage: almadia COMMAND [ARGUMENT...] [OPTION...]\n\nCommands:\n");
	put_commands(b, NULL);
	put_options(b, "Global options", global_opts);
	buf_putf(b, "\nExit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 denied, 5 unavailable or out of "
		    "time, 6 partly done\n"
		    "Environment: ALMADIA_SERVER, ALMADIA_CONTEXT, NO_COLOR\n"
		    "More: almadia help COMMAND, man almadia\n");
}

static void
noun_text(struct buf *b, const char *noun)
{
	buf_putf(b, "almadia %s - %s\n\nCommands:\n", noun, noun_summary(noun));
	put_commands(b, noun);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *
options_json(const struct opt_spec *s)
{
	static const char *const types[] = {"flag", "text", "int", "size", "duration", "choice"};
	json_t *list = json_array();

	for (; s != NULL && s->name != NULL; s++) {
		char letter[2] = {s->letter, 0};

		json_array_append_new(list,
		    json_pack("{s:s,s:s*,s:s,s:s*,s:s*,s:b,s:s}", "name", s->name, "letter",
			s->letter != 0 ? letter : NULL, "type", types[s->type], "value", s->arg, "default",
			s->def, "repeatable", s->many, "doc", s->doc));
	}
	return list;
}

static json_t *
lines_json(const char *line)
{
	json_t *list = json_array();

	while (*line != 0) {
		size_t n = strcspn(line, "\n");

		json_array_append_new(list, json_stringn(line, n));
		line += n + (line[n] == '\n');
	}
	return list;
}

static json_t *
command_json(const struct command *cmd)
{
	char name[64];

	(void)command_name(cmd, name, sizeof name);
	return json_pack("{s:s,s:s,s:s,s:s*,s:s,s:b,s:o,s:o}", "command", name, "arguments", cmd->args,
	    "summary", cmd->summary, "doc", cmd->doc, "impact", cmd->impact, "offline",
	    (int)cmd->offline, "options", options_json(cmd->opts), "examples", lines_json(cmd->examples));
}

static json_t *
table_json(const char *noun)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < command_count; i++)
		if (noun == NULL || strcmp(noun, command_table[i].noun) == 0)
			json_array_append_new(list, command_json(&command_table[i]));
	return json_pack("{s:s,s:s,s:o,s:o}", "program", "almadia", "version", PACKAGE_VERSION,
	    "global_options", options_json(global_opts), "commands", list);
}

/* ---- */

static int
show(struct call *c, const struct command *cmd, const char *noun)
{
	struct buf b = {0};

	if (out_get_mode(c->out) == OUT_JSON || out_get_mode(c->out) == OUT_JSONL) {
		out_tree(c->out, cmd != NULL ? command_json(cmd) : table_json(noun));
		return RC_OK;
	}
	if (cmd != NULL)
		command_text(&b, cmd);
	else if (noun != NULL)
		noun_text(&b, noun);
	else
		overview_text(&b);
	if (buf_put(&b, "", 1) == ALM_OK)
		out_text(c->out, "help", (const char *)b.data);
	buf_free(&b);
	return RC_OK;
}

int
help_show(struct call *c)
{
	return show(c, c->cmd, c->noun_word);
}

int
cmd_help(struct call *c)
{
	const char *noun = c->n_args > 0 ? c->args[0] : NULL, *verb = c->n_args > 1 ? c->args[1] : NULL;
	const char *near;

	if (opt_given(c, "json")) {
		out_free(c->out);
		c->out = out_new(OUT_JSON, 0);
		if (c->out == NULL)
			return RC_FAILED;
	}
	if (noun == NULL || (verb == NULL && noun_has_verbs(noun)))
		return show(c, NULL, noun);
	if (command_find(noun, verb) != NULL)
		return show(c, command_find(noun, verb), noun);
	if (!noun_has_verbs(noun) && command_find(noun, NULL) == NULL) {
		near = suggest_noun(noun);
		return fail(c, RC_NOTFOUND, "no command \"%s\"%s%s%s", noun, near ? ": did you mean \"" : "",
		    near ? near : "", near ? "\"?" : "");
	}
	near = verb != NULL ? suggest_verb(noun, verb) : NULL;
	return fail(c, RC_NOTFOUND, "%s has no command \"%s\"%s%s%s", noun, verb,
	    near ? ": did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

int
cmd_version(struct call *c)
{
	static const struct col cols[] = {{"program", "PROGRAM", COL_TEXT},
	    {"version", "VERSION", COL_TEXT}};

	if (out_get_mode(c->out) == OUT_TABLE) {
		out_text(c->out, "version", "almadia " PACKAGE_VERSION "\n");
		return RC_OK;
	}
	out_object(c->out, cols, 2, json_pack("{s:s,s:s}", "program", "almadia", "version", PACKAGE_VERSION),
	    NULL, NULL, 0);
	return RC_OK;
}
