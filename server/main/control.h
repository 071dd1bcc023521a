/* main/control.h - messages between the manager and a role, over a socket pair that keeps message
 * boundaries; a descriptor may travel along.  End of file means that the other side is gone. */
#ifndef ALM_MAIN_CONTROL_H
#define ALM_MAIN_CONTROL_H

#include <stdint.h>

/* manager -> role */
#define CTL_STOP 1u
#define CTL_PEER 2u   /* arg: peer; descriptor: read-only region of its new incarnation */
#define CTL_RELOAD 3u /* descriptor: configuration snapshot */
/* role -> manager */
#define CTL_READY 4u  /* text: status for people */
#define CTL_EXIT 5u   /* arg: exit code; from threads and fused roles */

struct control {
	uint32_t type, arg;
	char text[248];
};

/* Both ends non-blocking and close-on-exec. ALM_OK or ALM_EIO with err_text(). */
int control_pair(int out[2]);
/* fd -1: none; a descriptor sent stays the caller's. ALM_OK, or ALM_EAGAIN, ALM_ECLOSED. */
int control_send(int sock, const struct control *, int fd);
/* ALM_OK with a message (and a descriptor that is now the caller's, or -1), ALM_EAGAIN if there is
 * none, ALM_ECLOSED at the end. */
int control_recv(int sock, struct control *out, int *fd);

#endif
