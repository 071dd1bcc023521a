/* module/elfnote.h - the versions a plugin file claims, read without running any of its code. */
#ifndef ALM_MODULE_ELFNOTE_H
#define ALM_MODULE_ELFNOTE_H

#include <almadia/abi.h>

#define NOTE_ENTRIES_MAX 16u

/* Read the Almadia note of the open file. Returns the number of entries, or an error with
 * err_text(): ALM_EVERSION if it is not a shared object for this machine or has no note. */
int elfnote_read(int fd, struct alm_note_entry out[NOTE_ENTRIES_MAX]);

#endif
