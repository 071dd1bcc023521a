/* ctl/lookup.c - questions about the table: find a command, count its arguments, guess what was
 * meant.  No state. */
#include <config.h>

#include <stdio.h>
#include <string.h>

#include "contrib/ctl/table.h"

const struct command *
command_find(const char *noun, const char *verb)
{
	for (uint32_t i = 0; i < command_count; i++) {
		const struct command *c = &command_table[i];

		if (strcmp(c->noun, noun) != 0)
			continue;
		if (c->verb == NULL ? verb == NULL : verb != NULL && strcmp(c->verb, verb) == 0)
			return c;
	}
	return NULL;
}

int
noun_has_verbs(const char *noun)
{
	for (uint32_t i = 0; i < command_count; i++)
		if (strcmp(command_table[i].noun, noun) == 0 && command_table[i].verb != NULL)
			return 1;
	return 0;
}

const char *
command_name(const struct command *c, char *out, uint32_t cap)
{
	(void)snprintf(out, cap, "%s%s%s", c->noun, c->verb != NULL ? " " : "",
	    c->verb != NULL ? c->verb : "");
	return out;
}

void
command_arity(const struct command *c, uint32_t *least, uint32_t *most)
{
	const char *p = c->args;

	*least = *most = 0;
	while (*p != 0) {
		size_t n = strcspn(p, " ");

		if (*p != '[')
			(*least)++;
		if (*most != UINT32_MAX)
			(*most)++;
		if (memmem(p, n, "...", 3) != NULL)
			*most = UINT32_MAX;
		p += n + (p[n] == ' ');
	}
}

/* Edit distance, of words up to 31 bytes (others are far apart). */
static uint32_t
distance(const char *a, const char *b)
{
	uint32_t row[32], la = (uint32_t)strlen(a), lb = (uint32_t)strlen(b);

	if (la > 31 || lb > 31)
		return UINT32_MAX;
	for (uint32_t j = 0; j <= lb; j++)
		row[j] = j;
	for (uint32_t i = 1; i <= la; i++) {
		uint32_t diagonal = row[0];

		row[0] = i;
		for (uint32_t j = 1; j <= lb; j++) {
			uint32_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}

int
words_close(const char *a, const char *b)
{
	size_t longer = strlen(a) > strlen(b) ? strlen(a) : strlen(b);

	return distance(a, b) <= (longer > 3 ? 2u : 1u);
}

const char *
suggest_noun(const char *word)
{
	const char *best = NULL;
	uint32_t nearest = UINT32_MAX;

	for (uint32_t i = 0; i < command_count; i++) {
		const char *noun = command_table[i].noun;
		uint32_t d = distance(word, noun);

		if (d < nearest && words_close(word, noun)) {
			nearest = d;
			best = noun;
		}
	}
	return best;
}

/* Words that people bring from other tools. */
static const struct {
	const char *word, *verb;
} synonyms[] = {
    {"ls", "list"}, {"rm", "delete"}, {"del", "delete"}, {"remove", "delete"}, {"new", "create"},
    {"add", "create"}, {"info", "describe"}, {"show", "describe"}, {"describe", "info"},
    {"set", "alter"}, {"update", "alter"}, {"edit", "alter"}, {"select", "use"}, {"seek", "reset"},
};

const char *
suggest_verb(const char *noun, const char *word)
{
	const char *best = NULL;
	uint32_t nearest = UINT32_MAX;

	for (size_t i = 0; i < sizeof synonyms / sizeof synonyms[0]; i++)
		if (strcmp(synonyms[i].word, word) == 0 && command_find(noun, synonyms[i].verb) != NULL)
			return synonyms[i].verb;
	for (uint32_t i = 0; i < command_count; i++) {
		const struct command *c = &command_table[i];
		uint32_t d;

		if (c->verb == NULL || strcmp(c->noun, noun) != 0)
			continue;
		d = distance(word, c->verb);
		if (d < nearest && words_close(word, c->verb)) {
			nearest = d;
			best = c->verb;
		}
	}
	return best;
}
