/* config/draft.h - the inside of struct config: what was read, line by line.  Private to config/. */
#ifndef ALM_CONFIG_DRAFT_H
#define ALM_CONFIG_DRAFT_H

#include "config/config.h"

struct entry {
	char *section, *key, *value, *origin; /* origin: "almadia.conf:14", "command line" */
};

struct section {
	char *name, *origin;
};

struct config {
	struct section *sections;
	uint32_t n_sections;
	struct entry *entries;
	uint32_t n_entries;
	struct core_settings core;
};

/* All give ALM_OK, or ALM_ECONFIG with the whole error line in err_text(), or ALM_ENOMEM. */
int draft_section(struct config *, const char *name, const char *origin);
/* replace: an override may set a key again. */
int draft_entry(struct config *, const char *section, const char *key, const char *value,
    const char *origin, int replace);
const struct entry *draft_find(const struct config *, const char *section, const char *key);
/* One file; label is how messages call it. A missing file is an error. */
int draft_file(struct config *, const char *path, const char *label);
/* Resolve all values into core. */
int draft_resolve(struct config *);
/* Listeners of the [listener NAME] sections, or the two defaults. */
int draft_listeners(struct config *);
/* Splits "listener NAME" or "KIND NAME": 1 and the name if kind fits, else 0. */
int section_split(const char *section, const char *kind, const char **name);

#endif
