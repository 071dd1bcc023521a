/* ctl/cmd_msg.c - single messages: by position, by key. */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/session.h"

int
cmd_msg_get(struct call *c)
{
	const char *format = opt_text(c, "format");
	char topic[ALM_NAME_MAX + 1];
	struct alm_client *client = NULL;
	struct alm_batch_view *view = NULL;
	struct alm_msg m = {.size = sizeof m};
	struct message_view v;
	int64_t position;
	int status, rc = check_format(c, format);

	if (rc == RC_OK && (parse_int(c->args[0], &position) != ALM_OK || position < 0))
		rc = fail(c, RC_USAGE, "\"%s\" is not a position", c->args[0]);
	if (rc == RC_OK)
		rc = session_open(c, &client);
	if (rc != RC_OK)
		return rc;
	status = alm_get_position(client, (uint64_t)position, &view);
	if (status == ALM_OK && alm_batch_view_next(view, &m) != 1)
		status = ALM_ENOTFOUND;
	if (status == ALM_ENOTFOUND || status == ALM_EINVAL || status == ALM_EOFFSET) {
		rc = fail_status(c, ALM_ENOTFOUND, "no message at position %" PRId64, position);
	} else if (status != ALM_OK) {
		rc = session_fail(c, client, status, "position %" PRId64, position);
	} else {
		message_of(&m, topic_name_by_id(client, m.record->topic, topic, sizeof topic), &v);
		if (format != NULL)
			format_message(stdout, format, &v);
		else
			out_object(c->out, message_cols, n_message_cols, message_json(&v), NULL, NULL, 0);
	}
	alm_batch_free(view);
	alm_close(client);
	return rc;
}

static int
time_option(const struct call *c, const char *name, uint64_t *out)
{
	const char *text = opt_text(c, name);

	*out = 0;
	if (text == NULL || parse_time(text, clock_wall(), out) == 0)
		return RC_OK;
	return fail(c, RC_USAGE, "option --%s: \"%s\" is not a time (use 2026-11-25, 2026-11-25T10:44:49Z, "
				 "@1700000000 or -5m)", name, text);
}

static int
show_found(struct call *c, struct alm_batch_view *view)
{
	const char *format = opt_text(c, "format");
	struct alm_msg m = {.size = sizeof m};
	struct message_view v;
	json_t *rows = json_array();
	uint32_t n = 0;

	for (; alm_batch_view_next(view, &m) == 1; n++) {
		message_of(&m, c->args[0], &v);
		if (format != NULL)
			format_message(stdout, format, &v);
		else
			json_array_append_new(rows, message_json(&v));
	}
	if (format == NULL && (n > 0 || out_is_json(c->out)))
		out_rows(c->out, message_cols, n_message_cols - 1, json_incref(rows));
	json_decref(rows);
	return n > 0 ? RC_OK
		     : fail_status(c, ALM_ENOTFOUND, "no message in %s has the key \"%s\"", c->args[0],
			   opt_text(c, "key"));
}

int
cmd_msg_find(struct call *c)
{
	const char *key = opt_text(c, "key");
	struct alm_client *client = NULL;
	struct alm_batch_view *view = NULL;
	struct alm_topic t;
	uint64_t since, until;
	int status, rc = check_format(c, opt_text(c, "format"));

	if (rc == RC_OK && key == NULL)
		rc = fail(c, RC_USAGE, "msg find: --key is missing");
	if (rc == RC_OK)
		rc = time_option(c, "since", &since);
	if (rc == RC_OK)
		rc = time_option(c, "until", &until);
	if (rc == RC_OK)
		rc = session_open(c, &client);
	if (rc == RC_OK)
		rc = need_topic(c, client, c->args[0], &t);
	if (rc == RC_OK) {
		int64_t limit = opt_num(c, "limit");

		status = alm_find_key(client, c->args[0], (struct alm_slice){key, strlen(key)},
		    limit > 100000 ? 100000u : (uint32_t)limit, since, until, &view);
		if (status == ALM_OK)
			rc = show_found(c, view);
		else if (status == ALM_ENOTFOUND)
			rc = fail_status(c, status, "no message in %s has the key \"%s\"", c->args[0], key);
		else
			rc = session_fail(c, client, status, "key \"%s\"", key);
	}
	alm_batch_free(view);
	alm_close(client);
	return rc;
}
