/* config/parse.c - one INI file into the draft.
 *
 * inih does the splitting of lines; this reader feeds it and guards its traps: a long line or
 * section name would be cut silently, an indented line would continue the value before it, after
 * a broken section line keys would land in the section before.  So every line is checked here
 * first, and the first error ends the reading.  Runs in the manager or a command; any bytes may
 * come in.
 */
#include <config.h>

#include "config/draft.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 198u   /* inih: INI_MAX_LINE less newline and NUL */
#define SECTION_MAX_BYTES 49u /* inih: MAX_SECTION less NUL */

struct reader {
	struct config *conf;
	FILE *file;
	const char *label;
	uint32_t line;
	int status;
	char origin[320];
};

static const char *
place(struct reader *r)
{
	snprintf(r->origin, sizeof r->origin, "%s:%u", r->label, r->line);
	return r->origin;
}

/* Next line without its newline. 1, or 0 at the end or on error (r->status). */
static int
read_line(struct reader *r, char *out)
{
	uint32_t n = 0, over = 0;
	int c;

	r->line++;
	while ((c = getc_unlocked(r->file)) != EOF && c != '\n') {
		if (c == 0 || (c < 32 && c != '\t' && c != '\r') || c == 127) {
			r->status = err_set(ALM_ECONFIG, "%s: byte 0x%02x has no place in a text file",
			    place(r), (unsigned)c);
			return 0;
		}
		if (n < LINE_MAX_BYTES)
			out[n++] = (char)c;
		else if (c != '\r')
			over++;
	}
	if (ferror(r->file)) {
		r->status = err_set(ALM_ECONFIG, "could not read %s: %s", r->label, strerror(errno));
		return 0;
	}
	if (c == EOF && n == 0)
		return 0;
	if (over > 0) {
		r->status = err_set(ALM_ECONFIG, "%s: line of %u bytes is too long (at most %u)", place(r),
		    n + over, LINE_MAX_BYTES);
		return 0;
	}
	out[n] = 0;
	return 1;
}

static int
check_section_line(struct reader *r, char *text)
{
	char *end = strchr(text, ']');

	if (!end)
		return err_set(ALM_ECONFIG, "%s: \"%s\" lacks its closing bracket", place(r), text);
	const char *rest = end + 1 + strspn(end + 1, " \t");
	if (*rest && *rest != ';' && *rest != '#')
		return err_set(ALM_ECONFIG, "%s: \"%s\" follows the section name", place(r), rest);
	if (*rest)
		end[1] = 0;
	if (end - text - 1 > (long)SECTION_MAX_BYTES)
		return err_set(ALM_ECONFIG, "%s: section name of %ld bytes is too long (at most %u)",
		    place(r), (long)(end - text - 1), SECTION_MAX_BYTES);
	char name[SECTION_MAX_BYTES + 1];
	memcpy(name, text + 1, (uint64_t)(end - text - 1));
	name[end - text - 1] = 0;
	return draft_section(r->conf, name, place(r));
}

static int
check_line(struct reader *r, char *text)
{
	if (*text == 0 || *text == ';' || *text == '#')
		return ALM_OK;
	if (*text == '[')
		return check_section_line(r, text);
	if (r->conf->n_sections == 0)
		return err_set(ALM_ECONFIG, "%s: \"%s\" stands before the first [section]", place(r), text);
	if (*text == '=' || *text == ':' || strcspn(text, "=:") == strlen(text))
		return err_set(ALM_ECONFIG, "%s: \"%s\" is neither [section] nor key = value", place(r),
		    text);
	return ALM_OK;
}

/* inih's reader: fgets() for it, one whole line a call. */
static char *
feed(char *out, int cap, void *arg)
{
	struct reader *r = arg;
	char line[LINE_MAX_BYTES + 1];

	if (r->status != ALM_OK || !read_line(r, line))
		return NULL;
	char *text = line;
	if (r->line == 1 && strncmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3;
	text += strspn(text, " \t\r");
	for (uint64_t n = strlen(text); n > 0 && strchr(" \t\r", text[n - 1]); n--)
		text[n - 1] = 0;
	r->status = check_line(r, text);
	if (r->status != ALM_OK)
		return NULL;
	snprintf(out, (size_t)cap, "%s\n", text);
	return out;
}

static int
handle(void *arg, const char *section, const char *key, const char *value)
{
	struct reader *r = arg;

	if (r->status == ALM_OK)
		r->status = draft_entry(r->conf, section, key, value, place(r), 0);
	return r->status == ALM_OK;
}

int
draft_file(struct config *c, const char *path, const char *label)
{
	struct reader r = {.conf = c, .label = label};

	r.file = fopen(path, "re");
	if (!r.file)
		return err_set(ALM_ECONFIG, "could not open %s: %s", path, strerror(errno));
	int bad = ini_parse_stream(feed, &r, handle, &r);
	fclose(r.file);
	if (r.status == ALM_OK && bad != 0)
		return err_set(ALM_ECONFIG, "%s:%d: not a line of the form key = value", label, bad);
	return r.status;
}
