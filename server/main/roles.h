/* main/roles.h - running a role, whatever carries it.  Used by main() and the manager; role code
 * itself needs only main/role.h. */
#ifndef ALM_MAIN_ROLES_H
#define ALM_MAIN_ROLES_H

#include "main/role.h"

/* The roles of this binary; tests give their own. */
struct role_ops {
	int (*start)(struct role_env *, int *exit_code);
	void (*end)(struct role_env *);
};
struct role_table {
	struct role_ops ledger, worker, indexer;
};

/* "ledger", "worker 1", "indexer". Into the caller's buffer, returned. */
const char *role_name(uint32_t role, uint32_t slot, char *out, uint32_t cap);

/* If argv asks for a child's role (--role=...), run it and return its exit code; -1 if not. */
int role_main(int argc, char **argv, const struct role_table *);

/* Attach an env whose fields are filled in to its loop and start the role: control socket,
 * stop. ALM_OK, or an error with *exit_code. Threads and fused roles; the env is on its
 * loop's thread. */
int role_begin(struct role_env *, const struct role_table *, int *exit_code);
/* After the loop, or in fused mode after the role exited: the role's end function, and everything
 * role_begin made. */
void role_finish(struct role_env *);
/* Exit code that the role left with; EXIT_TRANSIENT if it never said. */
int role_exit_code(const struct role_env *);

#endif
