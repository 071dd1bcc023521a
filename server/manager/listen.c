/* manager/listen.c - listening sockets of the workers.  Manager only.
 *
 * TCP: one SO_REUSEPORT socket for each worker slot, held open by the manager, so that a restarted
 * worker finds its queue of connections intact.  With SO_REUSEPORT a second daemon of the same
 * user could share our port without an error; so a plain socket is bound first to ask whether
 * anybody listens.  Unix: one socket for all.  systemd: sockets whose address fits a listener are
 * taken as they are; as many as workers means one each, fewer means that all share the first.
 */
#include <config.h>

#include "manager/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096
#define FIRST_HANDED 3
#define HANDED_MAX 256

static int
new_socket(const struct address *a, int reuseport)
{
	int one = 1, fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || a->sa.ss_family == AF_UNIX)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (reuseport)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
	if (a->sa.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	return fd;
}

/* Does nobody listen there? */
static int
port_is_free(const struct address *a)
{
	int fd = new_socket(a, 0), status = ALM_OK;

	if (fd < 0 || bind(fd, (const struct sockaddr *)&a->sa, a->len) != 0)
		status = err_set(errno == EADDRINUSE ? ALM_EBUSY : ALM_ECONFIG, "%s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return status;
}

/* One listening socket; fills in the port if the kernel chose it. The descriptor or an error. */
static int
listen_one(struct address *a)
{
	int fd = new_socket(a, 1);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&a->sa, a->len) == 0 && listen(fd, BACKLOG) == 0 &&
	    (a->sa.ss_family == AF_UNIX || getsockname(fd, (struct sockaddr *)&a->sa, &a->len) == 0))
		return fd;
	err_set(ALM_ECONFIG, "%s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return ALM_ECONFIG;
}

static int
open_tcp(struct listen_socket *s, uint32_t workers)
{
	int status = port_is_free(&s->address);

	for (uint32_t i = 1; i <= workers && status == ALM_OK; i++) {
		s->fd[i] = listen_one(&s->address);
		if (s->fd[i] < 0)
			status = s->fd[i];
	}
	return status;
}

/* Remove the socket of a daemon that is gone. ALM_EBUSY if somebody answers. */
static int
clear_path(const struct address *a)
{
	const char *path = ((const struct sockaddr_un *)&a->sa)->sun_path;
	struct stat st;
	int fd, answer;

	if (lstat(path, &st) != 0)
		return ALM_OK;
	if (!S_ISSOCK(st.st_mode))
		return err_set(ALM_ECONFIG, "the file exists and is not a socket");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	answer = connect(fd, (const struct sockaddr *)&a->sa, a->len);
	int error = errno;
	close(fd);
	if (answer == 0 || error == EAGAIN)
		return err_set(ALM_EBUSY, "%s", strerror(EADDRINUSE));
	return unlink(path) == 0 ? ALM_OK : err_set(ALM_ECONFIG, "%s", strerror(errno));
}

static int
open_unix(struct listen_socket *s, uint32_t workers)
{
	int status = clear_path(&s->address);

	if (status != ALM_OK)
		return status;
	mode_t mask = umask(0117);
	int fd = listen_one(&s->address);
	umask(mask);
	if (fd < 0)
		return fd;
	s->shared = 1;
	s->unlink_path = 1;
	for (uint32_t i = 1; i <= workers; i++)
		s->fd[i] = fd;
	return ALM_OK;
}

/* ---- systemd ---- */

/* How many descriptors were handed over to this very process. */
static uint32_t
handed_count(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	int64_t p, n;

	if (!pid || !fds || parse_int(pid, &p) != ALM_OK || parse_int(fds, &n) != ALM_OK ||
	    p != getpid() || n < 1 || n > HANDED_MAX)
		return 0;
	return (uint32_t)n;
}

static int
handed_fits(int fd, const struct address *want)
{
	struct address have = {.len = sizeof have.sa};
	int listening = 0;
	socklen_t len = sizeof listening;

	return getsockname(fd, (struct sockaddr *)&have.sa, &have.len) == 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening &&
	    address_equal(&have, want);
}

/* Take what fits; used[] remembers what is taken. Number taken. */
static uint32_t
take_handed(struct listen_socket *s, uint32_t workers, uint32_t n, uint8_t *used)
{
	int fits[WORKERS_MAX];
	uint32_t found = 0;

	for (uint32_t i = 0; i < n && found < workers; i++) {
		if (used[i] || !handed_fits(FIRST_HANDED + (int)i, &s->address))
			continue;
		used[i] = 1;
		fits[found++] = FIRST_HANDED + (int)i;
	}
	if (found == 0)
		return 0;
	s->handed = 1;
	s->shared = found < workers;
	for (uint32_t i = 1; i <= workers; i++)
		s->fd[i] = s->shared ? fits[0] : fits[i - 1];
	for (uint32_t i = 1; s->shared && i < found; i++)
		close(fits[i]);
	return found;
}

static uint32_t
prepare_handed(void)
{
	uint32_t n = handed_count();

	for (uint32_t i = 0; i < n; i++) {
		int fd = FIRST_HANDED + (int)i;

		fcntl(fd, F_SETFD, FD_CLOEXEC);
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	}
	/* Children must not think that the descriptors are theirs. */
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return n;
}

/* ---- all ---- */

static int
open_listener(struct listen_set *set, const struct config *conf, const struct listener *l,
    uint32_t handed, uint8_t *used)
{
	struct listen_socket *s = &set->socket[set->n++];
	char section[64], why[300];
	const char *origin;

	for (uint32_t i = 0; i <= WORKERS_MAX; i++)
		s->fd[i] = -1;
	int status = address_parse(l->bind, &s->address);
	if (status == ALM_OK && take_handed(s, set->workers, handed, used) > 0)
		return ALM_OK;
	if (status == ALM_OK)
		status = s->address.sa.ss_family == AF_UNIX ? open_unix(s, set->workers)
		    : open_tcp(s, set->workers);
	if (status == ALM_OK)
		return ALM_OK;
	snprintf(why, sizeof why, "%s", err_text());
	snprintf(section, sizeof section, "listener %s", l->name);
	config_get(conf, section, "bind", &origin);
	return err_set(status, "%s: %s.bind: could not listen on %s: %s", origin, section, l->bind, why);
}

int
listen_open(struct listen_set *set, const struct config *conf)
{
	const struct core_settings *core = config_core(conf);
	uint8_t used[HANDED_MAX] = {0};
	uint32_t handed = prepare_handed();
	int status = ALM_OK;

	memset(set, 0, sizeof *set);
	set->workers = core->workers;
	for (uint32_t i = 0; i < core->n_listeners && status == ALM_OK; i++)
		status = open_listener(set, conf, &core->listener[i], handed, used);
	for (uint32_t i = 0; i < handed; i++) {
		if (used[i])
			continue;
		log_warn("descriptor %d from the service manager fits no [listener] and is closed",
		    FIRST_HANDED + (int)i);
		close(FIRST_HANDED + (int)i);
	}
	if (status != ALM_OK)
		listen_close(set);
	return status;
}

void
listen_close(struct listen_set *set)
{
	for (uint32_t i = 0; i < set->n; i++) {
		struct listen_socket *s = &set->socket[i];

		for (uint32_t w = 1; w <= (s->shared ? 1 : set->workers); w++)
			if (s->fd[w] >= 0)
				close(s->fd[w]);
		if (s->unlink_path)
			unlink(((struct sockaddr_un *)&s->address.sa)->sun_path);
	}
	set->n = 0;
}

void
listen_slot_off(struct listen_set *set, uint32_t slot)
{
	for (uint32_t i = 0; i < set->n; i++) {
		struct listen_socket *s = &set->socket[i];

		if (s->shared || s->handed || s->fd[slot] < 0)
			continue;
		close(s->fd[slot]);
		s->fd[slot] = -1;
	}
}

void
listen_slot_on(struct listen_set *set, uint32_t slot)
{
	char text[128];

	for (uint32_t i = 0; i < set->n; i++) {
		struct listen_socket *s = &set->socket[i];

		if (s->fd[slot] >= 0)
			continue;
		s->fd[slot] = listen_one(&s->address);
		if (s->fd[slot] < 0) {
			s->fd[slot] = -1;
			log_error("could not listen again on %s: %s",
			    address_format(&s->address, text, sizeof text), err_text());
		}
	}
}

void
listen_describe(const struct listen_set *set, const struct config *conf, struct buf *out)
{
	char text[128];

	for (uint32_t i = 0; i < set->n; i++)
		buf_putf(out, "%s%s on %s", i ? ", " : "", config_core(conf)->listener[i].protocol,
		    address_format(&set->socket[i].address, text, sizeof text));
}
