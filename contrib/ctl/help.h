/* ctl/help.h - pieces of help that the man pages use too. */
#ifndef CTL_HELP_H
#define CTL_HELP_H

#include <stdint.h>

struct opt_spec;

/* "-k, --key KEY". */
void option_words(const struct opt_spec *, char *out, uint32_t cap);

#endif
