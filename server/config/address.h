/* config/address.h - listener addresses: "127.0.0.1:7450", "[::1]:7450", "unix:/path". */
#ifndef ALM_CONFIG_ADDRESS_H
#define ALM_CONFIG_ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>

struct address {
	struct sockaddr_storage sa;
	socklen_t len;
};

/* Numeric hosts, "localhost" (127.0.0.1) and "*" (0.0.0.0); port 0 lets the kernel choose. ALM_OK or
 * ALM_ECONFIG with err_text(). */
int address_parse(const char *text, struct address *out);
/* 1 if only this machine can reach it. */
int address_local(const struct address *);
int address_equal(const struct address *, const struct address *);
/* As address_parse reads it; into the caller's buffer, returned. */
const char *address_format(const struct address *, char *out, uint32_t cap);
/* Port of a TCP address, 0 for Unix. */
uint16_t address_port(const struct address *);

#endif
