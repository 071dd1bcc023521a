/* io.c - the real system calls behind io.h, and loops that finish short ones. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* fallocate; out of the tree nobody sets it */
#endif
#include "io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

const struct io_ops *seg_io = &io_real;

static int
real_dir_open(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int
real_list(int dir, io_each_fn each, void *arg)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	DIR *d;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (d == NULL) {
		close(fd);
		return -ENOMEM;
	}
	while ((e = readdir(d)) != NULL)
		each(arg, e->d_name);
	closedir(d);
	return 0;
}

static int
real_dir_sync(int dir)
{
	return fsync(dir) < 0 ? -errno : 0;
}

static int
real_free_bytes(int dir, uint64_t *bytes)
{
	struct statvfs v;

	if (fstatvfs(dir, &v) < 0)
		return -errno;
	*bytes = (uint64_t)v.f_bavail * (uint64_t)v.f_frsize;
	return 0;
}

static int
real_open(int dir, const char *name, uint32_t how)
{
	int flags = O_CLOEXEC | O_NOFOLLOW, fd;

	if (how == IO_READ)
		flags |= O_RDONLY;
	else if (how == IO_WRITE)
		flags |= O_RDWR;
	else
		flags |= O_RDWR | O_CREAT | O_TRUNC;
	fd = openat(dir, name, flags, 0640);
	return fd < 0 ? -errno : fd;
}

static void
real_close(int fd)
{
	close(fd);
}

static int64_t
real_size(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? -errno : (int64_t)st.st_size;
}

static int64_t
real_pread(int fd, void *buf, uint64_t len, uint64_t at)
{
	ssize_t n = pread(fd, buf, len, (off_t)at);

	return n < 0 ? -errno : (int64_t)n;
}

static int64_t
real_pwritev(int fd, const struct iovec *iov, int n, uint64_t at)
{
	ssize_t done = pwritev(fd, iov, n, (off_t)at);

	return done < 0 ? -errno : (int64_t)done;
}

static int
real_allocate(int fd, uint64_t size)
{
	return fallocate(fd, 0, 0, (off_t)size) < 0 ? -errno : 0;
}

static int
real_truncate(int fd, uint64_t size)
{
	return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

static int
real_sync(int fd)
{
	return fdatasync(fd) < 0 ? -errno : 0;
}

static int
real_rename(int dir, const char *from, const char *to)
{
	return renameat(dir, from, dir, to) < 0 ? -errno : 0;
}

static int
real_unlink(int dir, const char *name)
{
	return unlinkat(dir, name, 0) < 0 ? -errno : 0;
}

static void *
real_map(int fd, uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void
real_unmap(void *base, uint64_t size)
{
	munmap(base, size);
}

const struct io_ops io_real = {
    .dir_open = real_dir_open,
    .list = real_list,
    .dir_sync = real_dir_sync,
    .free_bytes = real_free_bytes,
    .open = real_open,
    .close = real_close,
    .size = real_size,
    .pread = real_pread,
    .pwritev = real_pwritev,
    .allocate = real_allocate,
    .truncate = real_truncate,
    .sync = real_sync,
    .rename = real_rename,
    .unlink = real_unlink,
    .map = real_map,
    .unmap = real_unmap,
};

int
io_read(int fd, void *buf, uint64_t len, uint64_t at)
{
	char *p = buf;

	while (len > 0) {
		int64_t n = seg_io->pread(fd, p, len, at);

		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO;
		p += n;
		at += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int
io_writev(int fd, struct iovec *iov, int n, uint64_t at)
{
	while (n > 0) {
		int64_t done = seg_io->pwritev(fd, iov, n, at);

		if (done == -EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? (int)done : -EIO;
		at += (uint64_t)done;
		while (n > 0 && (uint64_t)done >= iov->iov_len) {
			done -= (int64_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n > 0) {
			iov->iov_base = (char *)iov->iov_base + done;
			iov->iov_len -= (size_t)done;
		}
	}
	return 0;
}

int
io_write(int fd, const void *buf, uint64_t len, uint64_t at)
{
	struct iovec iov;

	memcpy(&iov.iov_base, &buf, sizeof buf); /* iovec is not const-correct */
	iov.iov_len = len;
	return io_writev(fd, &iov, 1, at);
}

int
io_zero(int fd, uint64_t at, uint64_t len)
{
	static const char zeros[64 << 10];

	while (len > 0) {
		struct iovec iov[16];
		uint64_t part = 0;
		int n = 0, rc;

		for (; n < 16 && part < len; n++) {
			const void *z = zeros;

			memcpy(&iov[n].iov_base, &z, sizeof z);
			iov[n].iov_len = len - part < sizeof zeros ? len - part : sizeof zeros;
			part += iov[n].iov_len;
		}
		rc = io_writev(fd, iov, n, at);
		if (rc < 0)
			return rc;
		at += part;
		len -= part;
	}
	return 0;
}
