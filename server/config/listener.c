/* config/listener.c - the [listener NAME] sections: addresses checked, duplicates and addresses
 * that other machines reach refused. */
#include <config.h>

#include "config/draft.h"

#include <stdio.h>
#include <string.h>

#include "config/address.h"

static int
add_default(struct config *c)
{
	struct core_settings *core = &c->core;
	struct listener *tcp = &core->listener[0], *local = &core->listener[1];
	struct address a;

	*tcp = (struct listener){.name = "tcp", .protocol = "native", .bind = "127.0.0.1:7450"};
	*local = (struct listener){.name = "local", .protocol = "native"};
	core->n_listeners = 2;
	snprintf(local->bind, sizeof local->bind, "unix:%.200s/almadia.sock", core->runtime_dir);
	if (address_parse(local->bind, &a) == ALM_OK)
		return ALM_OK;
	return err_set(ALM_ECONFIG, "server.runtime_dir: \"%s\" is too long for a socket in it (at most 94 "
	    "bytes; set a shorter one, or [listener NAME] sections)", core->runtime_dir);
}

static int
check_protocol(const char *section, const char *protocol, const char *origin)
{
	uint64_t n = strlen(protocol);

	if (n > 0 && n <= 40 && strspn(protocol, "abcdefghijklmnopqrstuvwxyz0123456789_-") == n)
		return ALM_OK;
	return err_set(ALM_ECONFIG, "%s: %s.protocol: \"%s\" is not a plugin name (a-z, 0-9, _ and -)",
	    origin, section, protocol);
}

static int
check_address(const struct config *c, const char *section, const struct entry *bind,
    struct address *seen)
{
	const struct core_settings *core = &c->core;
	struct address *a = &seen[core->n_listeners];
	char why[400], other[64];

	if (address_parse(bind->value, a) != ALM_OK) {
		snprintf(why, sizeof why, "%s", err_text());
		return err_set(ALM_ECONFIG, "%s: %s.bind: %s", bind->origin, section, why);
	}
	if (!core->allow_remote && !address_local(a))
		return err_set(ALM_ECONFIG, "%s: %s.bind: \"%s\" can be reached from other machines (set "
		    "allow_remote = yes in [server] to allow it)", bind->origin, section, bind->value);
	for (uint32_t i = 0; i < core->n_listeners; i++) {
		/* Port 0 is another port each time. */
		if (!address_equal(a, &seen[i]) || (a->sa.ss_family != AF_UNIX && address_port(a) == 0))
			continue;
		snprintf(other, sizeof other, "listener %s", core->listener[i].name);
		return err_set(ALM_ECONFIG, "%s: %s.bind: \"%s\" is taken by [%s] at %s", bind->origin,
		    section, bind->value, other, draft_find(c, other, "bind")->origin);
	}
	return ALM_OK;
}

static int
add_listener(struct config *c, const struct section *s, const char *name, struct address *seen)
{
	struct core_settings *core = &c->core;
	const struct entry *bind = draft_find(c, s->name, "bind");
	const struct entry *protocol = draft_find(c, s->name, "protocol");
	int status;

	if (core->n_listeners == LISTENERS_MAX)
		return err_set(ALM_ECONFIG, "%s: [%s]: more than %u listeners", s->origin, s->name,
		    LISTENERS_MAX);
	if (!bind)
		return err_set(ALM_ECONFIG, "%s: [%s]: bind is missing (bind = 127.0.0.1:7450)", s->origin,
		    s->name);
	status = check_protocol(s->name, protocol ? protocol->value : "native",
	    protocol ? protocol->origin : s->origin);
	if (status == ALM_OK)
		status = check_address(c, s->name, bind, seen);
	if (status != ALM_OK)
		return status;
	struct listener *l = &core->listener[core->n_listeners++];
	const char *colon = strrchr(bind->origin, ':');
	memset(l, 0, sizeof *l);
	snprintf(l->name, sizeof l->name, "%s", name);
	snprintf(l->protocol, sizeof l->protocol, "%s", protocol ? protocol->value : "native");
	snprintf(l->bind, sizeof l->bind, "%s", bind->value);
	int64_t line = 0;
	if (colon && parse_int(colon + 1, &line) == ALM_OK)
		l->line = (uint32_t)line;
	return ALM_OK;
}

int
draft_listeners(struct config *c)
{
	struct address seen[LISTENERS_MAX];
	uint32_t found = 0;
	const char *name;

	c->core.n_listeners = 0;
	for (uint32_t i = 0; i < c->n_sections; i++) {
		if (!section_split(c->sections[i].name, "listener", &name))
			continue;
		found++;
		int status = add_listener(c, &c->sections[i], name, seen);
		if (status != ALM_OK)
			return status;
	}
	return found ? ALM_OK : add_default(c);
}
