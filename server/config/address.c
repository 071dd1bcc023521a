/* config/address.c - parse, compare and print listener addresses.  No name is ever looked up: a
 * start must not depend on a resolver.  Pure; any thread. */
#include <config.h>

#include "config/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/base.h"

#define FORMS "(use 127.0.0.1:7450, [::1]:7450 or unix:/path)"

static int
parse_unix(const char *path, struct address *out)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	if (path[0] != '/')
		return err_set(ALM_ECONFIG, "\"unix:%s\" is not an absolute path " FORMS, path);
	if (strlen(path) >= sizeof un.sun_path)
		return err_set(ALM_ECONFIG, "socket path of %zu bytes is too long (at most %zu)",
		    strlen(path), sizeof un.sun_path - 1);
	memcpy(un.sun_path, path, strlen(path) + 1);
	memcpy(&out->sa, &un, sizeof un);
	out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
	return ALM_OK;
}

int
address_parse(const char *text, struct address *out)
{
	char host[64];
	const char *colon = strrchr(text, ':');
	int64_t port = -1;

	memset(out, 0, sizeof *out);
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, out);
	if (!colon || colon == text || (uint64_t)(colon - text) >= sizeof host ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
	    parse_int(colon + 1, &port) != ALM_OK)
		return err_set(ALM_ECONFIG, "\"%s\" is not an address " FORMS, text);
	if (port > 65535)
		return err_set(ALM_ECONFIG, "\"%s\": port %lld is too large (at most 65535)", text,
		    (long long)port);
	memcpy(host, text, (uint64_t)(colon - text));
	host[colon - text] = 0;
	if (strcmp(host, "localhost") == 0)
		strcpy(host, "127.0.0.1");
	if (strcmp(host, "*") == 0)
		strcpy(host, "0.0.0.0");

	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	if (inet_pton(AF_INET, host, &in.sin_addr) == 1) {
		memcpy(&out->sa, &in, sizeof in);
		out->len = sizeof in;
		return ALM_OK;
	}
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	uint64_t n = strlen(host);
	if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = 0;
		if (inet_pton(AF_INET6, host + 1, &in6.sin6_addr) == 1) {
			memcpy(&out->sa, &in6, sizeof in6);
			out->len = sizeof in6;
			return ALM_OK;
		}
	}
	return err_set(ALM_ECONFIG, "\"%s\" is not an address " FORMS, text);
}

static struct sockaddr_in
as_in(const struct address *a)
{
	struct sockaddr_in in;
	memcpy(&in, &a->sa, sizeof in);
	return in;
}

static struct sockaddr_in6
as_in6(const struct address *a)
{
	struct sockaddr_in6 in6;
	memcpy(&in6, &a->sa, sizeof in6);
	return in6;
}

int
address_local(const struct address *a)
{
	if (a->sa.ss_family == AF_INET)
		return (ntohl(as_in(a).sin_addr.s_addr) >> 24) == 127;
	if (a->sa.ss_family == AF_INET6) {
		struct sockaddr_in6 in6 = as_in6(a);

		return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr) ||
		    (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr) && in6.sin6_addr.s6_addr[12] == 127);
	}
	return 1;
}

uint16_t
address_port(const struct address *a)
{
	if (a->sa.ss_family == AF_INET)
		return ntohs(as_in(a).sin_port);
	if (a->sa.ss_family == AF_INET6)
		return ntohs(as_in6(a).sin6_port);
	return 0;
}

int
address_equal(const struct address *a, const struct address *b)
{
	if (a->sa.ss_family != b->sa.ss_family || address_port(a) != address_port(b))
		return 0;
	if (a->sa.ss_family == AF_INET)
		return as_in(a).sin_addr.s_addr == as_in(b).sin_addr.s_addr;
	if (a->sa.ss_family == AF_INET6) {
		struct sockaddr_in6 x = as_in6(a), y = as_in6(b);
		return memcmp(&x.sin6_addr, &y.sin6_addr, sizeof x.sin6_addr) == 0;
	}
	return strcmp(((const struct sockaddr_un *)&a->sa)->sun_path,
	    ((const struct sockaddr_un *)&b->sa)->sun_path) == 0;
}

const char *
address_format(const struct address *a, char *out, uint32_t cap)
{
	char host[INET6_ADDRSTRLEN] = "?";

	if (a->sa.ss_family == AF_INET) {
		struct sockaddr_in in = as_in(a);
		inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
		snprintf(out, cap, "%s:%u", host, address_port(a));
	} else if (a->sa.ss_family == AF_INET6) {
		struct sockaddr_in6 in6 = as_in6(a);
		inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof host);
		snprintf(out, cap, "[%s]:%u", host, address_port(a));
	} else {
		snprintf(out, cap, "unix:%s", ((const struct sockaddr_un *)&a->sa)->sun_path);
	}
	return out;
}
