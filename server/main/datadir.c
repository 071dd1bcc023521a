/* main/datadir.c - checks and lock of the data directory.
 *
 * The lock is an open-file-description lock: it belongs to the descriptor, not to the process, so
 * that in --threads mode another thread closing the same file cannot drop it.  Such a lock does
 * not tell its owner, so the owner's pid is in the file; it is only for the error line.
 */
#include <config.h>

#include "main/datadir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

int
datadir_open(const char *dir, const char *what)
{
	struct stat st;

	if (dir[0] != '/')
		return err_set(ALM_ECONFIG, "%s: \"%s\" is not an absolute path", what, dir);
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return err_set(ALM_ECONFIG, "%s: could not create %s: %s", what, dir, strerror(errno));
	if (stat(dir, &st) != 0)
		return err_set(ALM_ECONFIG, "%s: could not look at %s: %s", what, dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(ALM_ECONFIG, "%s: %s is not a directory", what, dir);
	if (st.st_uid != geteuid())
		return err_set(ALM_ECONFIG, "%s: %s belongs to user %u, almadiad runs as user %u "
		    "(chown it, or start as its owner)", what, dir, (unsigned)st.st_uid, (unsigned)geteuid());
	if (st.st_mode & 022)
		return err_set(ALM_ECONFIG, "%s: %s is writable by others, mode %04o (chmod 0700 %s)", what,
		    dir, (unsigned)(st.st_mode & 07777), dir);
	if (faccessat(AT_FDCWD, dir, R_OK | W_OK | X_OK, AT_EACCESS) != 0)
		return err_set(ALM_ECONFIG, "%s: %s is not usable: %s", what, dir, strerror(errno));
	return ALM_OK;
}

static int
lock_open(const char *dir, int flags)
{
	char path[600];

	if (snprintf(path, sizeof path, "%s/almadia.lock", dir) >= (int)sizeof path)
		return err_set(ALM_ECONFIG, "server.data_dir: path of %zu bytes is too long", strlen(dir));
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
	if (fd < 0 && errno == ENOENT)
		return ALM_ENOTFOUND;
	if (fd < 0)
		return err_set(ALM_EIO, "could not open %s: %s", path, strerror(errno));
	return fd;
}

static int
held_by_other(const char *dir, int fd)
{
	char text[32] = "";
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	long pid = n > 0 ? strtol(text, NULL, 10) : 0;

	if (pid <= 0)
		return err_set(ALM_EBUSY, "data directory %s is in use by another almadiad", dir);
	return err_set(ALM_EBUSY, "data directory %s is in use by almadiad, pid %ld "
	    "(stop it, or set server.data_dir)", dir, pid);
}

int
datadir_lock(const char *dir)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char text[32];
	int status, fd = lock_open(dir, O_CREAT);

	if (fd < 0)
		return fd;
	if (fcntl(fd, F_OFD_SETLK, &fl) != 0) {
		status = errno == EAGAIN || errno == EACCES
		    ? held_by_other(dir, fd)
		    : err_set(ALM_EIO, "could not lock %s/almadia.lock: %s", dir, strerror(errno));
		close(fd);
		return status;
	}
	int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len) {
		status = err_set(ALM_EIO, "could not write %s/almadia.lock: %s", dir, strerror(errno));
		close(fd);
		return status;
	}
	return fd;
}

int
datadir_probe(const char *dir)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int status = ALM_OK, fd = lock_open(dir, 0);

	if (fd == ALM_ENOTFOUND)
		return ALM_OK;
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_OFD_GETLK, &fl) != 0)
		status = err_set(ALM_EIO, "could not examine %s/almadia.lock: %s", dir, strerror(errno));
	else if (fl.l_type != F_UNLCK)
		status = held_by_other(dir, fd);
	close(fd);
	return status;
}
