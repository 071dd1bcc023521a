/* ctl/ctx.h - contexts: servers stored under a name in the user's configuration directory. */
#ifndef CTL_CTX_H
#define CTL_CTX_H

struct call;

/* Fill c->servers: -s, then -c, then $ALMADIA_SERVER, then $ALMADIA_CONTEXT, then the current
 * context, then 127.0.0.1:7450.  RC_*. */
int ctx_pick_servers(struct call *);

#endif
