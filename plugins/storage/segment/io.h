/* io.h - every system call that the segment store makes on files.
 *
 * Both halves of the store go through one table, so that tests can put a simulated disk in its
 * place: fail the n-th call, write short, fill the disk, lose any subset of unsynced sectors.
 * Functions return 0, a count or a descriptor, or a negative errno.  Any process, any thread.
 */
#ifndef SEGMENT_IO_H
#define SEGMENT_IO_H

#include <stdint.h>
#include <sys/uio.h>

typedef void (*io_each_fn)(void *arg, const char *name);

#define IO_READ 0u   /* open for reading */
#define IO_WRITE 1u  /* open for reading and writing */
#define IO_CREATE 2u /* make it, or empty what is there; implies IO_WRITE */

struct io_ops {
	int (*dir_open)(const char *path);
	int (*list)(int dir, io_each_fn each, void *arg);
	int (*dir_sync)(int dir);
	int (*free_bytes)(int dir, uint64_t *bytes);
	int (*open)(int dir, const char *name, uint32_t how);
	void (*close)(int fd);
	int64_t (*size)(int fd);
	int64_t (*pread)(int fd, void *buf, uint64_t len, uint64_t at);
	int64_t (*pwritev)(int fd, const struct iovec *iov, int n, uint64_t at);
	int (*allocate)(int fd, uint64_t size); /* reserve space and set the size */
	int (*truncate)(int fd, uint64_t size);
	int (*sync)(int fd);                    /* fdatasync */
	int (*rename)(int dir, const char *from, const char *to);
	int (*unlink)(int dir, const char *name);
	void *(*map)(int fd, uint64_t size);    /* shared, read-only; NULL on failure */
	void (*unmap)(void *base, uint64_t size);
};

/* The table in use; the real one unless a test replaces it before a store is opened. */
extern const struct io_ops *seg_io;
extern const struct io_ops io_real;

/* Read exactly len bytes: 0, -EIO at a premature end of file, or a negative errno. */
int io_read(int fd, void *buf, uint64_t len, uint64_t at);
/* Write exactly len bytes, going on after short writes. */
int io_write(int fd, const void *buf, uint64_t len, uint64_t at);
/* Write all of iov (which is changed) at one place. */
int io_writev(int fd, struct iovec *iov, int n, uint64_t at);
/* Write len zero bytes. */
int io_zero(int fd, uint64_t at, uint64_t len);

#endif
