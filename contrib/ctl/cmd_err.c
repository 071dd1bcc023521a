/* ctl/cmd_err.c - `err explain`: every status, what causes it, what to do. The numbers are those
 * of almadia/abi.h and never change meaning. */
#include <config.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <almadia/abi.h>

#include "contrib/ctl/cmds.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/out.h"

static const struct {
	int code;
	const char *name, *meaning, *cause, *advice;
} errors[] = {
    {ALM_OK, "ALM_OK", "success", "Nothing failed.", "Nothing to do."},
    {ALM_EINVAL, "ALM_EINVAL", "malformed request",
	"An argument is out of its range or a request does not follow the protocol, such as a queue "
	"number that the topic does not have or a name with forbidden characters.",
	"Read the message: it names the value and the limit. Correct the request."},
    {ALM_ENOMEM, "ALM_ENOMEM", "out of memory", "The process could not get memory.",
	"Lower server.max_connections or limits.max_output, or give the node more memory."},
    {ALM_EIO, "ALM_EIO", "disk or file error",
	"A read, write or sync of a file failed. After a failed sync the ledger stops for good "
	"(exit 3), because the kernel may have dropped the data.",
	"Look into the node's log and dmesg. Check the disk before starting again; then run "
	"almadia log verify."},
    {ALM_EAGAIN, "ALM_EAGAIN", "too busy for now",
	"Back pressure: a queue between client and log is full. Nothing happened.",
	"Try again a little later; clients of libalmadia do so by themselves."},
    {ALM_ENOTSUP, "ALM_ENOTSUP", "operation not supported",
	"The plugin in use does not have this operation.",
	"See almadia plugin list for what is loaded, and choose another plugin if you need it."},
    {ALM_ENOTFOUND, "ALM_ENOTFOUND", "not found",
	"There is no topic, group, message, key or plugin of that name.",
	"Check the name with almadia topic list or group list. A message may have been removed by "
	"retention."},
    {ALM_EEXIST, "ALM_EEXIST", "exists already",
	"The name is taken, or something changed between reading and writing it.",
	"Use another name, --if-not-exists, or read again and repeat."},
    {ALM_EDENIED, "ALM_EDENIED", "not allowed",
	"The listener, the user's rights or an extension refuses it.",
	"The message says which rule refused. Ask the operator of the node."},
    {ALM_EFULL, "ALM_EFULL", "no disk space",
	"The disk, or the space that the log may use, is full. Publishing is refused; reading, "
	"deleting and committing offsets go on from reserved space.",
	"Free space, shorten retention (almadia topic alter, [retention]), or delete topics. The "
	"node recovers by itself."},
    {ALM_ETOOBIG, "ALM_ETOOBIG", "too big",
	"A message, frame or value is over its limit: the topic's --max-message or the node's "
	"limits.max_message.",
	"Send less, or raise the limit that the message names."},
    {ALM_ECORRUPT, "ALM_ECORRUPT", "stored data is damaged",
	"A checksum or structure on disk does not fit. Nothing was cut away.",
	"Run almadia log verify DIR for the positions. Restore from a copy, or start almadiad with "
	"--accept-data-loss, which names what would go."},
    {ALM_EVERSION, "ALM_EVERSION", "versions do not fit",
	"A file, a peer or a plugin is of another version.",
	"The message shows wanted and offered numbers. Rebuild the plugin, or use matching "
	"releases."},
    {ALM_EUNAVAILABLE, "ALM_EUNAVAILABLE", "temporarily unavailable",
	"The ledger, a leader or an index is away, for instance restarting.",
	"Try again: a publish with the same producer and sequence is stored once. If it stays, see "
	"almadia check and the node's log."},
    {ALM_ENOTLEADER, "ALM_ENOTLEADER", "another member leads",
	"The request needs the leader of the group and this node is not it.",
	"Connect to the member named in the message; libalmadia does so by itself."},
    {ALM_EORDER, "ALM_EORDER", "out of order",
	"A producer's sequence number is not the next one, because an earlier message was refused or "
	"lost.",
	"Send again from the first message that was not acked, in order."},
    {ALM_EOFFSET, "ALM_EOFFSET", "offset out of range",
	"The offset lies before the begin of the queue (retention removed it) or past its end.",
	"See almadia topic describe for the bounds, and almadia group reset to move a group."},
    {ALM_ETIMEOUT, "ALM_ETIMEOUT", "time ran out",
	"No answer came before the deadline. Whether the request was carried out is unknown.",
	"Try again, or give a longer --timeout. A repeated publish is stored once."},
    {ALM_ECLOSED, "ALM_ECLOSED", "closed", "The peer closed the connection or is stopping.",
	"Connect again."},
    {ALM_ECONFIG, "ALM_ECONFIG", "a setting is wrong",
	"almadia.conf or an option has an unknown key or a value out of range.",
	"The message names file and line. Check with almadiad -t."},
    {ALM_EPROTO, "ALM_EPROTO", "protocol error",
	"The bytes on a connection are not what the protocol allows: perhaps another kind of client "
	"or server is at the other end.",
	"Check address and port. Report a bug if both ends are Almadia."},
    {ALM_EBUSY, "ALM_EBUSY", "in use", "Somebody else holds it, such as a second daemon the data "
				       "directory.",
	"Stop the other one, or wait."},
    {ALM_EINTERNAL, "ALM_EINTERNAL", "internal error", "A bug.",
	"Please report it with the node's log."},
    {ALM_ESTALE, "ALM_ESTALE", "overtaken",
	"An epoch, term or lease has moved on since the request was made.",
	"Read the present state and decide again."},
};

#define N_ERRORS (sizeof errors / sizeof errors[0])
_Static_assert(N_ERRORS == 1 - ALM_STATUS_LAST, "every status of abi.h is explained");

static json_t *
error_json(size_t i)
{
	return json_pack("{s:s,s:i,s:s,s:s,s:s,s:i}", "name", errors[i].name, "code", errors[i].code,
	    "meaning", errors[i].meaning, "cause", errors[i].cause, "advice", errors[i].advice,
	    "exit_code", status_rc(errors[i].code));
}

static int
matches(size_t i, const char *word)
{
	const char *name = errors[i].name;
	char *end;
	long n = strtol(word, &end, 10);

	if (end != word && *end == 0)
		return n == errors[i].code || -n == errors[i].code;
	return strcasecmp(word, name) == 0 || strcasecmp(word, name + 4) == 0 ||
	    (name[4] == 'E' && strcasecmp(word, name + 5) == 0);
}

int
cmd_err_explain(struct call *c)
{
	static const struct col list[] = {{"name", "NAME", COL_TEXT}, {"code", "CODE", COL_NUM},
	    {"exit_code", "EXIT", COL_NUM}, {"meaning", "MEANING", COL_TEXT}};
	static const struct col one[] = {{"name", "NAME", COL_TEXT}, {"code", "CODE", COL_NUM},
	    {"meaning", "MEANING", COL_TEXT}, {"cause", "CAUSE", COL_TEXT},
	    {"advice", "WHAT TO DO", COL_TEXT}, {"exit_code", "EXIT CODE", COL_NUM}};
	json_t *rows;

	for (size_t i = 0; c->n_args > 0 && i < N_ERRORS; i++)
		if (matches(i, c->args[0])) {
			out_object(c->out, one, 6, error_json(i), NULL, NULL, 0);
			return RC_OK;
		}
	if (c->n_args > 0)
		return fail(c, RC_NOTFOUND, "no error code \"%s\": see almadia err explain", c->args[0]);
	rows = json_array();
	for (size_t i = 0; i < N_ERRORS; i++)
		json_array_append_new(rows, error_json(i));
	out_rows(c->out, list, 4, rows);
	return RC_OK;
}
