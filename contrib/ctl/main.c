/* ctl/main.c - the `almadia` command: parse, pick servers, run one command, report.
 *
 * One process, one thread (bench starts more).  Data goes to stdout, everything else to stderr;
 * the exit code says what happened (table.h).
 */
#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <almadia/host.h>

#include "base/base.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/ctx.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/out.h"

static enum out_mode
mode_of(const char *name)
{
	static const char *const names[] = {"table", "json", "jsonl", "csv", "plain"};

	for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcmp(names[i], name) == 0)
			return (enum out_mode)i;
	return OUT_TABLE;
}

static int
set_output(struct call *c)
{
	int color = !c->no_color && getenv("NO_COLOR") == NULL && isatty(STDOUT_FILENO);

	c->out = out_new(mode_of(c->output), color);
	return c->out != NULL ? RC_OK : fail(c, RC_FAILED, "out of memory");
}

/* A reader that went away (| head) is no failure; a full disk is. */
static int
finish(struct call *c, int rc)
{
	int e = out_flush(c->out);

	if (e == 0 || e == EPIPE)
		return rc;
	return fail(c, RC_FAILED, "could not write the output: %s", strerror(e));
}

int
main(int argc, char **argv)
{
	struct call c = {0};
	int rc;

	(void)signal(SIGPIPE, SIG_IGN);
	log_init("almadia", ALM_LOG_WARN, 0);
	rc = opts_parse(&c, argc, argv);
	if (rc == RC_OK)
		rc = set_output(&c);
	if (rc == RC_OK) {
		if (c.help)
			rc = help_show(&c);
		else if (c.cmd->offline || (rc = ctx_pick_servers(&c)) == RC_OK)
			rc = c.cmd->run(&c);
		rc = finish(&c, rc);
	}
	opts_free(&c);
	return rc;
}
