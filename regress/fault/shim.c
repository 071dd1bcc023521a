/* shim.c - LD_PRELOAD: one kind of system call on the log's segments fails, from the moment that a
 * file appears.  SHIM_FAULT=fdatasync|pwrite, SHIM_WHEN=path.  Built by faults.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int
fails(const char *call, int fd)
{
	const char *fault = getenv("SHIM_FAULT"), *when = getenv("SHIM_WHEN");
	char link[64], path[512];
	ssize_t n;

	if (fault == NULL || when == NULL || strcmp(fault, call) != 0 || access(when, F_OK) != 0)
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path - 1);
	if (n < 4)
		return 0;
	path[n] = 0;
	return strcmp(path + n - 4, ".seg") == 0;
}

int
fdatasync(int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

	if (fails("fdatasync", fd)) {
		errno = EIO;
		return -1;
	}
	return real(fd);
}

ssize_t
pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	ssize_t (*real)(int, const struct iovec *, int, off_t) =
	    (ssize_t (*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT, "pwritev");

	if (fails("pwrite", fd)) {
		errno = EIO;
		return -1;
	}
	return real(fd, iov, n, at);
}

ssize_t
pwrite(int fd, const void *data, size_t len, off_t at)
{
	ssize_t (*real)(int, const void *, size_t, off_t) =
	    (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");

	if (fails("pwrite", fd)) {
		errno = EIO;
		return -1;
	}
	return real(fd, data, len, at);
}

/* The same calls under their names for large files. */
ssize_t pwritev64(int fd, const struct iovec *iov, int n, off_t at) __attribute__((alias("pwritev")));
ssize_t pwrite64(int fd, const void *data, size_t len, off_t at) __attribute__((alias("pwrite")));
