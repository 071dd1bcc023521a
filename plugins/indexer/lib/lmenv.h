/* plugins/indexer/lib/lmenv.h - one LMDB environment with one write transaction held open.
 *
 * The rules that every store of derived data follows, written once.  Used by the bundled indexers
 * and by the core's state store; needs nothing but liblmdb and almadia/abi.h.  One thread.
 *
 * - One process opens an environment, so there is no lock file and no reader table (MDB_NOLOCK).
 *   All reading and writing goes through the one write transaction, so a reader sees what has
 *   been applied, synced or not.
 * - After a failed operation the transaction is gone: everything since the last commit has to be
 *   applied again.  `lost` counts these, so that the owner notices and reloads what it caches.
 * - A full map is grown at once (doubled) and reported as ALM_EAGAIN: apply again.
 */
#ifndef ALM_LMENV_H
#define ALM_LMENV_H

#include <almadia/abi.h>
#include <lmdb.h>

#define LMENV_MAP_DEFAULT (64ull << 30) /* address space, not memory */

struct lmenv {
	MDB_env *env;
	MDB_txn *txn;    /* NULL: none open */
	MDB_dbi dbi;
	uint64_t map;    /* bytes of address space */
	uint64_t lost;   /* transactions that ended without a commit after an error */
	uint32_t dirty;  /* writes in the open transaction */
	uint32_t peak;   /* most writes in one transaction since the environment was opened */
	char dir[1024];
	/* CRC32C for the sealed values, from the owner after lmenv_open. */
	uint32_t (*crc32c)(uint32_t crc, const void *, uint64_t len);
	char why[320];   /* text of the last failure */
};

/* Open or create the environment in dir, which is made if missing (its parent must exist).
 * ALM_ECORRUPT or ALM_EVERSION: the files are damaged or foreign; delete the directory. */
int lmenv_open(struct lmenv *, const char *dir, uint64_t map);
/* Ends without a commit. */
void lmenv_close(struct lmenv *);

/* Have a transaction open. */
int lmenv_begin(struct lmenv *);
/* Commit with sync.  ALM_OK also if there was nothing to commit. */
int lmenv_commit(struct lmenv *);
/* LMDB keeps the memory of its largest transaction for ever.  Call this when there has been nothing
 * to commit for a while: gives it back, by opening the environment anew. */
int lmenv_trim(struct lmenv *);
/* Forget everything since the last commit. */
void lmenv_abort(struct lmenv *);

/* Turn an LMDB result into a status; an error ends the transaction.  MDB_NOTFOUND and
 * MDB_KEYEXIST are results, not errors. */
int lmenv_status(struct lmenv *, int rc, const char *doing);

/* ALM_OK, ALM_ENOTFOUND or an error.  *val is valid until the next write. */
int lmenv_get(struct lmenv *, const void *key, size_t key_len, MDB_val *val);
int lmenv_put(struct lmenv *, const void *key, size_t key_len, const void *val, size_t val_len);

/* Sealed values: data of a fixed size and a CRC32C over key and data, since LMDB has none. */
#define LMENV_SEAL 4u
void lmenv_seal(const struct lmenv *, const void *key, size_t key_len, void *data_and_seal,
    size_t len);
int lmenv_unseal(struct lmenv *, const MDB_val *key, const MDB_val *val, void *data, size_t len);
int lmenv_put_sealed(struct lmenv *, const void *key, size_t key_len, const void *data, size_t len);
/* ALM_OK, ALM_ENOTFOUND, ALM_ECORRUPT or another error. */
int lmenv_get_sealed(struct lmenv *, const void *key, size_t key_len, void *data, size_t len);

/* ALM_OK also if the key was absent. */
int lmenv_del(struct lmenv *, const void *key, size_t key_len);
/* Delete at most max keys in [from, to) in byte order; *done counts them. ALM_OK. */
int lmenv_del_range(struct lmenv *, const void *from, size_t from_len, const void *to,
    size_t to_len, uint64_t max, uint64_t *done);
/* Delete everything (in the open transaction). */
int lmenv_clear(struct lmenv *);

/* Byte order of two keys, as LMDB has it. */
int lmenv_cmp(const void *a, size_t a_len, const void *b, size_t b_len);

/* Delete the files of an environment and its directory. ALM_OK also if it is not there. */
int lmenv_remove(const char *dir);

#endif
