/* ctl/gen_man.c - man pages (mdoc) from the table: almadia(1), and a page for each command. */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/out.h"

#define PAGE_DATE "November 25, 2026"
#define COLUMNS 76u

/* Running text: a line a sentence, lines of COLUMNS, escapes of mdoc. */
static void
text(struct buf *b, const char *s)
{
	uint32_t at = 0;

	while (*s != 0) {
		uint32_t n = (uint32_t)strcspn(s, " ");
		int sentence = n > 0 && (s[n - 1] == '.' || s[n - 1] == '?') && s[n] == ' ' && s[n + 1] == ' ';

		if (at > 0 && at + n + 1 > COLUMNS) {
			buf_put(b, "\n", 1);
			at = 0;
		}
		if (at > 0)
			buf_put(b, " ", 1);
		if (at == 0 && (*s == '.' || *s == '\''))
			buf_putf(b, "\\&");
		for (uint32_t i = 0; i < n; i++) {
			if (s[i] == '\\')
				buf_putf(b, "\\e");
			else
				buf_put(b, &s[i], 1);
		}
		at = sentence ? 0 : at + n + 1;
		if (sentence)
			buf_put(b, "\n", 1);
		s += n;
		while (*s == ' ')
			s++;
	}
	if (at > 0)
		buf_put(b, "\n", 1);
}

static void
put_options(struct buf *b, const struct opt_spec *s)
{
	char doc[600];

	buf_putf(b, ".Bl -tag -width Ds\n");
	for (; s->name != NULL; s++) {
		buf_putf(b, ".It ");
		if (s->letter != 0)
			buf_putf(b, "Fl %c , ", s->letter);
		buf_putf(b, "Fl \\-%s", s->name);
		if (s->arg != NULL)
			buf_putf(b, " Ar %s", s->arg);
		buf_putf(b, "\n");
		(void)snprintf(doc, sizeof doc, "%c%s%s%s%s.%s", s->doc[0] >= 'a' && s->doc[0] <= 'z' &&
			strncmp(s->doc, "nagios", 6) != 0 && strncmp(s->doc, "strict", 6) != 0
		    ? (char)(s->doc[0] - 32) : s->doc[0], s->doc + 1, s->def != NULL ? " (default: " : "",
		    s->def != NULL ? s->def : "", s->def != NULL ? ")" : "",
		    s->many ? "  May be repeated." : "");
		text(b, doc);
	}
	buf_putf(b, ".El\n");
}

static void
put_examples(struct buf *b, const char *line)
{
	buf_putf(b, ".Bd -literal -offset indent\n");
	while (*line != 0) {
		size_t n = strcspn(line, "\n");

		for (size_t i = 0; i < n; i++) {
			if (line[i] == '\\')
				buf_putf(b, "\\e");
			else
				buf_put(b, &line[i], 1);
		}
		buf_put(b, "\n", 1);
		line += n + (line[n] == '\n');
	}
	buf_putf(b, ".Ed\n");
}

/* Arguments as mdoc, a line each: "TOPIC [MESSAGE...]" -> ".Ar TOPIC", ".Op Ar MESSAGE ...". */
static void
put_arguments(struct buf *b, const char *p)
{
	while (*p != 0) {
		size_t n = strcspn(p, " "), from = *p == '[', to = n - from;
		int more = memmem(p, n, "...", 3) != NULL;

		to -= from + (more ? 3u : 0u);
		buf_putf(b, ".%sAr %.*s%s\n", from ? "Op " : "", (int)to, p + from, more ? " ..." : "");
		p += n + (p[n] == ' ');
	}
}

static void
put_command(struct buf *b, const struct command *cmd, int page)
{
	char name[64];

	(void)command_name(cmd, name, sizeof name);
	buf_putf(b, ".Nm almadia\n.Cm %s\n", name);
	if (cmd->opts != NULL)
		buf_putf(b, ".Op Ar option ...\n");
	put_arguments(b, cmd->args);
	if (page)
		buf_putf(b, ".Sh DESCRIPTION\n");
	else
		buf_putf(b, ".Pp\n");
	(void)snprintf(name, sizeof name, "%c", cmd->summary[0] - 32);
	buf_putf(b, "%s%s.\n", name, cmd->summary + 1);
	if (cmd->doc != NULL)
		text(b, cmd->doc);
	if (cmd->opts != NULL)
		put_options(b, cmd->opts);
	if (page)
		buf_putf(b, ".Sh EXAMPLES\n");
	put_examples(b, cmd->examples);
}

static void
command_page(struct buf *b, const struct command *cmd)
{
	char name[64], dashed[64];

	(void)command_name(cmd, name, sizeof name);
	(void)command_name(cmd, dashed, sizeof dashed);
	for (char *p = dashed; *p != 0; p++)
		*p = *p == ' ' ? '-' : *p;
	buf_putf(b, ".\\\" Made from contrib/ctl/table.c by: almadia gen man %s\n.Dd " PAGE_DATE "\n.Dt ", name);
	buf_putf(b, "ALMADIA-");
	for (const char *p = dashed; *p != 0; p++) {
		char up = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;

		buf_put(b, &up, 1);
	}
	buf_putf(b, " 1\n.Os\n.Sh NAME\n.Nm almadia-%s\n.Nd %s\n.Sh SYNOPSIS\n", dashed, cmd->summary);
	put_command(b, cmd, 1);
	buf_putf(b, ".Sh SEE ALSO\n.Xr almadia 1\n");
}

static const char *const page_tail =
    ".Sh OUTPUT\n"
    "Data goes to standard output, everything else to standard error.\n"
    ".Bl -tag -width plain\n"
    ".It Cm table\nColumns for people, with units.\n"
    ".It Cm json\nOne JSON document; sizes in bytes, times in microseconds.\n"
    "Names of fields do not change within a major version.\n"
    "Errors are JSON too, on standard error.\n"
    ".It Cm jsonl\nA JSON object a line.\n"
    ".It Cm csv\nRFC 4180 with a heading.\n"
    ".It Cm plain\nValues separated by tabs, without heading or units, for scripts.\n"
    ".El\n"
    ".Sh ENVIRONMENT\n"
    ".Bl -tag -width Ds\n"
    ".It Ev ALMADIA_SERVER\nServer to talk to, as for\n.Fl s .\n"
    ".It Ev ALMADIA_CONTEXT\nContext to use, as for\n.Fl c .\n"
    ".It Ev ALMADIA_PLUGIN_PATH\nWhere\n.Cm log dump\nand\n.Cm log verify\nfind plugins, instead of the place that the "
    "build set.\n"
    ".It Ev ALMADIAD\nThe daemon that\n.Cm plugin list Fl \\-offline\nruns.\n"
    ".It Ev NO_COLOR\nIf set, no bold headings.\n"
    ".El\n"
    ".Sh FILES\n"
    ".Bl -tag -width Ds\n"
    ".It Pa ~/.config/almadia/contexts.ini\nStored contexts.\n"
    ".El\n"
    ".Sh EXIT STATUS\n"
    ".Bl -tag -width Ds -compact\n"
    ".It 0\nsuccess\n.It 1\nit failed, or damage was found\n.It 2\nwrong use\n"
    ".It 3\nno such topic, group, message, plugin, context or code\n.It 4\nnot allowed\n"
    ".It 5\nthe server is unavailable or did not answer in time\n.It 6\nit was done in part\n"
    ".El\n"
    ".Sh SEE ALSO\n.Xr almadia.conf 5 ,\n.Xr almadiad 8\n";

static void
main_page(struct buf *b)
{
	char name[64];

	buf_putf(b, ".\\\" Made from contrib/ctl/table.c by: almadia gen man\n"
		    ".Dd " PAGE_DATE "\n.Dt ALMADIA 1\n.Os\n.Sh NAME\n.Nm almadia\n"
		    ".Nd talk to an Almadia message broker\n"
		    ".Sh SYNOPSIS\n.Nm\n.Ar command\n.Op Ar argument ...\n.Op Ar option ...\n"
		    ".Sh DESCRIPTION\n"
		    ".Nm\nadministers an Almadia message broker, publishes and consumes messages,\n"
		    "measures it, and looks into its files.\n"
		    "Options may stand anywhere on the line;\n.Ql \\-\\-\nends them.\n"
		    ".Pp\nThe options of every command are:\n");
	put_options(b, global_opts);
	buf_putf(b, ".Sh COMMANDS\n");
	for (uint32_t i = 0; i < command_count; i++) {
		buf_putf(b, ".Ss almadia %s\n", command_name(&command_table[i], name, sizeof name));
		put_command(b, &command_table[i], 0);
	}
	buf_putf(b, "%s", page_tail);
}

static int
write_page(const struct call *c, const char *dir, const char *name, const struct buf *b)
{
	char path[1024];
	FILE *f;
	int bad;

	(void)snprintf(path, sizeof path, "%s/%s.1", dir, name);
	for (char *p = path + strlen(dir); *p != 0; p++)
		*p = *p == ' ' ? '-' : *p;
	f = fopen(path, "we");
	if (f == NULL)
		return fail(c, RC_FAILED, "could not write %s: %s", path, strerror(errno));
	bad = fwrite(b->data, 1, b->len, f) != b->len;
	bad |= fclose(f) != 0;
	return bad ? fail(c, RC_FAILED, "could not write %s: %s", path, strerror(errno)) : RC_OK;
}

static int
write_all(struct call *c, const char *dir)
{
	static const struct col cols[] = {{"dir", "DIRECTORY", COL_TEXT}, {"pages", "PAGES", COL_NUM}};
	struct buf b = {0};
	char name[64] = "almadia", verb[64];
	int rc;

	main_page(&b);
	rc = write_page(c, dir, name, &b);
	for (uint32_t i = 0; rc == RC_OK && i < command_count; i++) {
		buf_reset(&b);
		command_page(&b, &command_table[i]);
		(void)snprintf(name, sizeof name, "almadia-%.50s",
		    command_name(&command_table[i], verb, sizeof verb));
		rc = write_page(c, dir, name, &b);
	}
	buf_free(&b);
	if (rc == RC_OK)
		out_object(c->out, cols, 2,
		    json_pack("{s:s,s:i}", "dir", dir, "pages", (int)command_count + 1), NULL, NULL, 0);
	return rc;
}

int
cmd_gen_man(struct call *c)
{
	const struct command *cmd = NULL;
	struct buf b = {0};

	if (opt_given(c, "dir"))
		return write_all(c, opt_text(c, "dir"));
	if (c->n_args > 0) {
		cmd = command_find(c->args[0], c->n_args > 1 ? c->args[1] : NULL);
		if (cmd == NULL)
			return fail(c, RC_NOTFOUND, "no command \"%s%s%s\": see almadia help", c->args[0],
			    c->n_args > 1 ? " " : "", c->n_args > 1 ? c->args[1] : "");
		command_page(&b, cmd);
	} else {
		main_page(&b);
	}
	if (buf_put(&b, "", 1) == ALM_OK)
		out_text(c->out, "page", (const char *)b.data);
	buf_free(&b);
	return RC_OK;
}
