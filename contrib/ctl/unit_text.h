/* ctl/unit_text.h - the packaged systemd unit; unit_text.c is made from it by the build. */
#ifndef CTL_UNIT_TEXT_H
#define CTL_UNIT_TEXT_H

extern const char unit_text[];
extern const char unit_config[]; /* path of the configuration as the unit names it */

#endif
