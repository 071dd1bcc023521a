/* plugins/indexer/lib/lmenv.c - see lmenv.h. */
#include "lmenv.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIM_WRITES 512u /* up to 2 MiB: not worth it */

static int
fail(struct lmenv *l, int status, const char *doing, const char *text)
{
	snprintf(l->why, sizeof l->why, "%s: %s", doing, text);
	return status;
}

static int
status_of(int rc)
{
	switch (rc) {
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_PANIC:
	case MDB_BAD_TXN:
	case MDB_BAD_DBI:
	case MDB_INCOMPATIBLE:
	case MDB_CURSOR_FULL:
	case MDB_BAD_VALSIZE:
		return ALM_ECORRUPT;
	case MDB_VERSION_MISMATCH:
	case MDB_INVALID:
		return ALM_EVERSION;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
		return ALM_EAGAIN;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return ALM_EFULL;
	case ENOMEM:
		return ALM_ENOMEM;
	case EACCES:
	case EPERM:
	case EROFS:
		return ALM_EDENIED;
	default:
		return rc > 0 ? ALM_EIO : ALM_EINTERNAL;
	}
}

/* Make the names of a new environment survive a crash. */
static int
sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return errno;
	if (fsync(fd) != 0)
		rc = errno;
	close(fd);
	return rc;
}

static int
sync_names(const char *dir)
{
	char parent[4096];
	int rc = sync_dir(dir);
	int n = snprintf(parent, sizeof parent, "%s/..", dir);

	if (rc != 0)
		return rc;
	return n > 0 && (size_t)n < sizeof parent ? sync_dir(parent) : ENAMETOOLONG;
}

/* A page behind the end of the file would be a SIGBUS.  LMDB may leave the last pages of its count
 * unwritten, so a short file is no damage by itself: give it the size that LMDB counts on.  What
 * was really cut off then reads as zeros, which LMDB calls corrupted. */
static int
extend(struct lmenv *l)
{
	MDB_envinfo info;
	MDB_stat st;
	struct stat sb;
	uint64_t want;
	int fd, rc;

	if ((rc = mdb_env_info(l->env, &info)) != 0 || (rc = mdb_env_stat(l->env, &st)) != 0 ||
	    (rc = mdb_env_get_fd(l->env, &fd)) != 0)
		return rc;
	if (fstat(fd, &sb) != 0)
		return errno;
	want = ((uint64_t)info.me_last_pgno + 1) * st.ms_psize;
	if (want > l->map)
		return MDB_CORRUPTED;
	if ((uint64_t)sb.st_size < want && ftruncate(fd, (off_t)want) != 0)
		return errno;
	return 0;
}

static int
open_env(struct lmenv *l)
{
	/* No read-ahead: the environment may be larger than memory and is read at random. */
	const unsigned flags = MDB_NOLOCK | MDB_NOTLS | MDB_NORDAHEAD | MDB_NOMEMINIT;
	int rc;

	l->peak = 0;
	if ((rc = mdb_env_create(&l->env)) != 0) {
		l->env = NULL;
		return rc;
	}
	if ((rc = mdb_env_set_mapsize(l->env, l->map)) != 0 ||
	    (rc = mdb_env_open(l->env, l->dir, flags, 0640)) != 0 || (rc = extend(l)) != 0 ||
	    (rc = mdb_txn_begin(l->env, NULL, 0, &l->txn)) != 0)
		return rc;
	return mdb_dbi_open(l->txn, NULL, 0, &l->dbi);
}

int
lmenv_open(struct lmenv *l, const char *dir, uint64_t map)
{
	struct stat sb;
	char file[sizeof l->dir + 16];
	int made, rc;

	memset(l, 0, sizeof *l);
	l->map = map;
	if ((size_t)snprintf(l->dir, sizeof l->dir, "%s", dir) >= sizeof l->dir)
		return fail(l, ALM_EINVAL, dir, "path is too long");
	if (mkdir(dir, 0750) != 0 && errno != EEXIST)
		return fail(l, status_of(errno), dir, strerror(errno));
	snprintf(file, sizeof file, "%s/data.mdb", dir);
	made = stat(file, &sb) != 0;
	rc = open_env(l);
	if (rc == 0 && made)
		rc = sync_names(dir);
	if (rc == 0)
		return ALM_OK;
	lmenv_close(l);
	return fail(l, status_of(rc), dir, mdb_strerror(rc));
}

int
lmenv_trim(struct lmenv *l)
{
	int rc;

	if (l->peak < TRIM_WRITES || (l->txn && l->dirty > 0))
		return ALM_OK;
	lmenv_close(l);
	rc = open_env(l);
	if (rc != 0)
		lmenv_close(l);
#ifdef __GLIBC__
	malloc_trim(0);
#endif
	return lmenv_status(l, rc, "opening again");
}

void
lmenv_close(struct lmenv *l)
{
	if (l->txn)
		mdb_txn_abort(l->txn);
	if (l->env)
		mdb_env_close(l->env);
	l->txn = NULL;
	l->env = NULL;
}

int
lmenv_begin(struct lmenv *l)
{
	int rc;

	if (l->txn)
		return ALM_OK;
	l->dirty = 0;
	if (!l->env) { /* lost by a trim */
		rc = open_env(l);
		if (rc != 0)
			lmenv_close(l);
		return lmenv_status(l, rc, "opening again");
	}
	rc = mdb_txn_begin(l->env, NULL, 0, &l->txn);
	if (rc != 0)
		l->txn = NULL;
	return lmenv_status(l, rc, "begin");
}

void
lmenv_abort(struct lmenv *l)
{
	if (l->txn)
		mdb_txn_abort(l->txn);
	l->txn = NULL;
	l->dirty = 0;
}

/* Double the address space; no transaction is open. */
static int
grow(struct lmenv *l)
{
	int rc;

	if (l->map > UINT64_MAX / 4)
		return fail(l, ALM_EFULL, "map", "too large to grow");
	rc = mdb_env_set_mapsize(l->env, l->map * 2);
	if (rc != 0)
		return fail(l, status_of(rc), "growing the map", mdb_strerror(rc));
	l->map *= 2;
	return ALM_EAGAIN;
}

int
lmenv_status(struct lmenv *l, int rc, const char *doing)
{
	int status;

	if (rc == 0)
		return ALM_OK;
	if (rc == MDB_NOTFOUND)
		return ALM_ENOTFOUND;
	if (rc == MDB_KEYEXIST)
		return ALM_EEXIST;
	status = fail(l, status_of(rc), doing, mdb_strerror(rc));
	lmenv_abort(l);
	l->lost++;
	return rc == MDB_MAP_FULL ? grow(l) : status;
}

/* LMDB calls a short write EIO, whose cause is most often a full disk: ask for a little more. */
static int
really_full(struct lmenv *l)
{
	struct stat sb;
	int fd, rc;

	if (mdb_env_get_fd(l->env, &fd) != 0 || fstat(fd, &sb) != 0)
		return 0;
	rc = posix_fallocate(fd, sb.st_size, 64 << 10);
	return rc == ENOSPC || rc == EDQUOT || rc == EFBIG;
}

int
lmenv_commit(struct lmenv *l)
{
	MDB_txn *txn = l->txn;
	int rc;

	if (!txn)
		return ALM_OK;
	l->txn = NULL; /* commit frees it whatever happens */
	l->peak = l->dirty > l->peak ? l->dirty : l->peak;
	l->dirty = 0;
	rc = mdb_txn_commit(txn);
	if (rc == EIO && really_full(l))
		rc = ENOSPC;
	return lmenv_status(l, rc, "commit");
}

int
lmenv_get(struct lmenv *l, const void *key, size_t key_len, MDB_val *val)
{
	MDB_val k = {key_len, (void *)(uintptr_t)key};
	int status = lmenv_begin(l);

	return status ? status : lmenv_status(l, mdb_get(l->txn, l->dbi, &k, val), "get");
}

int
lmenv_put(struct lmenv *l, const void *key, size_t key_len, const void *val, size_t val_len)
{
	MDB_val k = {key_len, (void *)(uintptr_t)key}, v = {val_len, (void *)(uintptr_t)val};
	int status = lmenv_begin(l);

	if (status)
		return status;
	l->dirty++;
	return lmenv_status(l, mdb_put(l->txn, l->dbi, &k, &v, 0), "put");
}

void
lmenv_seal(const struct lmenv *l, const void *key, size_t key_len, void *data_and_seal, size_t len)
{
	uint32_t crc = l->crc32c(l->crc32c(0, key, key_len), data_and_seal, len);

	memcpy((char *)data_and_seal + len, &crc, sizeof crc);
}

int
lmenv_unseal(struct lmenv *l, const MDB_val *key, const MDB_val *val, void *data, size_t len)
{
	uint32_t want, got;

	if (val->mv_size != len + LMENV_SEAL)
		return fail(l, ALM_ECORRUPT, "a value", "has the wrong size");
	memcpy(&want, (const char *)val->mv_data + len, sizeof want);
	got = l->crc32c(l->crc32c(0, key->mv_data, key->mv_size), val->mv_data, len);
	if (got != want)
		return fail(l, ALM_ECORRUPT, "a value", "fails its checksum");
	memcpy(data, val->mv_data, len);
	return ALM_OK;
}

int
lmenv_put_sealed(struct lmenv *l, const void *key, size_t key_len, const void *data, size_t len)
{
	char value[256];

	if (len > sizeof value - LMENV_SEAL)
		return fail(l, ALM_EINTERNAL, "a value", "is too long to be sealed");
	memcpy(value, data, len);
	lmenv_seal(l, key, key_len, value, len);
	return lmenv_put(l, key, key_len, value, len + LMENV_SEAL);
}

int
lmenv_get_sealed(struct lmenv *l, const void *key, size_t key_len, void *data, size_t len)
{
	MDB_val k = {key_len, (void *)(uintptr_t)key}, v;
	int status = lmenv_get(l, key, key_len, &v);

	return status ? status : lmenv_unseal(l, &k, &v, data, len);
}

int
lmenv_del(struct lmenv *l, const void *key, size_t key_len)
{
	MDB_val k = {key_len, (void *)(uintptr_t)key};
	int status = lmenv_begin(l), rc;

	if (status)
		return status;
	rc = mdb_del(l->txn, l->dbi, &k, NULL);
	if (rc == MDB_NOTFOUND)
		return ALM_OK;
	l->dirty++;
	return lmenv_status(l, rc, "delete");
}

int
lmenv_del_range(struct lmenv *l, const void *from, size_t from_len, const void *to, size_t to_len,
    uint64_t max, uint64_t *done)
{
	MDB_val k = {from_len, (void *)(uintptr_t)from}, v;
	MDB_cursor *c;
	int rc, status = lmenv_begin(l);

	*done = 0;
	if (status || (status = lmenv_status(l, mdb_cursor_open(l->txn, l->dbi, &c), "cursor")))
		return status;
	rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	while (rc == 0 && *done < max && lmenv_cmp(k.mv_data, k.mv_size, to, to_len) < 0) {
		if ((rc = mdb_cursor_del(c, 0)) != 0)
			break;
		(*done)++;
		l->dirty++;
		/* After a delete the cursor stands before the next key, and MDB_NEXT knows it. */
		rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
	}
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? ALM_OK : lmenv_status(l, rc, "delete");
}

int
lmenv_clear(struct lmenv *l)
{
	int status = lmenv_begin(l);

	if (status)
		return status;
	l->dirty++;
	return lmenv_status(l, mdb_drop(l->txn, l->dbi, 0), "clear");
}

int
lmenv_cmp(const void *a, size_t a_len, const void *b, size_t b_len)
{
	size_t n = a_len < b_len ? a_len : b_len;
	int d = n ? memcmp(a, b, n) : 0;

	return d ? d : (a_len > b_len) - (a_len < b_len);
}

int
lmenv_remove(const char *dir)
{
	static const char *const names[] = {"data.mdb", "lock.mdb"};
	char file[4096];

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if ((size_t)snprintf(file, sizeof file, "%s/%s", dir, names[i]) >= sizeof file)
			return ALM_EINVAL;
		if (unlink(file) != 0 && errno != ENOENT && errno != ENOTDIR)
			return ALM_EIO;
	}
	return rmdir(dir) == 0 || errno == ENOENT || errno == ENOTEMPTY ? ALM_OK : ALM_EIO;
}
