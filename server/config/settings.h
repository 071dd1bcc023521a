/* config/settings.h - the table of core settings and how a value is read by its type.  Used by
 * the parser, --describe-config, dumps and the documentation, so a setting is written down once.
 * Private to config/. */
#ifndef ALM_CONFIG_SETTINGS_H
#define ALM_CONFIG_SETTINGS_H

#include "config/config.h"
#include "ipc/region.h"
#include <almadia/host.h>

/* A type of the core's alone: a number, or "auto" (stored as 0). */
#define SET_AUTO_INT 100u

struct core_setting {
	const char *section;
	struct alm_setting s;
	uint32_t offset, width; /* in struct core_settings; width in bytes, of strings the capacity */
	uint32_t choice_base;   /* number of the first choice */
	uint32_t path;          /* strings: 1 an absolute path, 2 a list of them, 3 a list of names */
};

extern const struct core_setting core_settings_table[];
extern const uint32_t n_core_settings;

const struct core_setting *core_setting_find(const char *section, const char *key);
/* 1 if a core section of that name exists. */
int core_section_known(const char *section);

/* Check text against a declared setting; numbers, booleans and choices (number of the choice, from
 * 0) in *out. ALM_ECONFIG with err_text() like: "7x" is not a duration (use 30m, 12h, 7d) */
int setting_parse(const struct alm_setting *, const char *text, int64_t *out);
/* Put the checked text into the struct. ALM_ECONFIG if a string does not fit or is not a path. */
int core_setting_store(const struct core_setting *, const char *text, struct core_settings *out);
/* "size", "duration", ... */
const char *setting_type_name(uint32_t type);
/* A number the way it is written in the file: 8388608 of type size is "8m". */
const char *setting_format(uint32_t type, int64_t value, char *out, uint32_t cap);

#endif
