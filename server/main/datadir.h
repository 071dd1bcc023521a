/* main/datadir.h - who may use the data directory.
 *
 * The manager checks the directory before anything starts; the ledger holds the lock, so that a new
 * ledger cannot begin before the old one is gone, whatever became of its manager.
 */
#ifndef ALM_MAIN_DATADIR_H
#define ALM_MAIN_DATADIR_H

/* Make dir (0700) if it is missing, and check that it is a directory, ours, writable for us and for
 * nobody else.  what names the setting in error lines ("server.data_dir").  ALM_OK, or ALM_ECONFIG
 * with err_text(). */
int datadir_open(const char *dir, const char *what);

/* Lock dir/almadia.lock for this process (an OFD lock, gone when the descriptor is closed) and write
 * our pid into it.  Returns the descriptor, which the caller keeps open for as long as it uses the
 * directory; or ALM_EBUSY with the holder's pid in err_text(), or ALM_EIO. */
int datadir_lock(const char *dir);

/* Is it locked right now?  ALM_OK: free; ALM_EBUSY with the holder's pid in err_text(). */
int datadir_probe(const char *dir);

#endif
