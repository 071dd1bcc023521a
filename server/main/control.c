/* main/control.c - the control socket.  Any thread; one reader and one writer for each end. */
#include <config.h>

#include "main/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"

union fd_space {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int
control_pair(int out[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out) != 0)
		return err_set(ALM_EIO, "could not make a control socket: %s", strerror(errno));
	return ALM_OK;
}

int
control_send(int sock, const struct control *c, int fd)
{
	struct iovec iov = {(void *)(uintptr_t)c, sizeof *c};
	union fd_space space;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (fd >= 0) {
		memset(&space, 0, sizeof space);
		msg.msg_control = space.bytes;
		msg.msg_controllen = sizeof space.bytes;
		space.head.cmsg_level = SOL_SOCKET;
		space.head.cmsg_type = SCM_RIGHTS;
		space.head.cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(&space.head), &fd, sizeof fd);
	}
	do {
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof *c)
		return ALM_OK;
	return n < 0 && errno == EAGAIN ? ALM_EAGAIN : ALM_ECLOSED;
}

int
control_recv(int sock, struct control *out, int *fd)
{
	/* cppcheck-suppress ctuuninitvar ; the kernel fills it */
	struct iovec iov = {out, sizeof *out};
	union fd_space space;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space.bytes,
	    .msg_controllen = sizeof space.bytes};
	ssize_t n;

	*fd = -1;
	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? ALM_EAGAIN : ALM_ECLOSED;
	struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(h), sizeof *fd);
	if (n == (ssize_t)sizeof *out) {
		out->text[sizeof out->text - 1] = 0;
		return ALM_OK;
	}
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return ALM_ECLOSED;
}
