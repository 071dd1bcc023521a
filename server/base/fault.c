/* base/fault.c - named places where a test breaks the process.  Only in builds with
 * --enable-fault-points.  Any thread; the environment is read once. */
#include "base/base.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FAULTS_MAX 16u

static struct fault {
	char name[64];
	uint64_t nth; /* passage that is hit, from 1 */
	int always;   /* later ones too */
	int error;    /* errno, 0: kill */
	_Atomic uint64_t passed;
} faults[FAULTS_MAX];
static uint32_t n_faults;
static pthread_once_t parsed = PTHREAD_ONCE_INIT;

/* One "name[:n[+]][=action]"; a test that misspells one must not pass by accident. */
static void
parse_one(char *text)
{
	struct fault *f = &faults[n_faults];
	char *action = strchr(text, '='), *count, *end;

	if (n_faults == FAULTS_MAX)
		check_panic("ALMADIA_FAULT has more than %u entries", FAULTS_MAX);
	if (action)
		*action++ = '\0';
	count = strchr(text, ':');
	if (count)
		*count++ = '\0';
	f->nth = 1;
	if (count) {
		f->nth = strtoull(count, &end, 10);
		f->always = *end == '+';
		if (end == count || f->nth == 0 || end[f->always] != '\0')
			check_panic("ALMADIA_FAULT: \"%s\" is not a count (use 3 or 3+)", count);
	}
	if (action && strcmp(action, "eio") == 0)
		f->error = EIO;
	else if (action && strcmp(action, "enospc") == 0)
		f->error = ENOSPC;
	else if (action && strcmp(action, "kill") != 0)
		check_panic("ALMADIA_FAULT: no action \"%s\" (use kill, eio, enospc)", action);
	if (strlen(text) >= sizeof f->name)
		check_panic(
		    "ALMADIA_FAULT: name \"%s\" is over %zu bytes", text, sizeof f->name - 1);
	strcpy(f->name, text);
	n_faults++;
}

static void
parse(void)
{
	const char *env = getenv("ALMADIA_FAULT");
	char *copy = env ? strdup(env) : NULL, *save = NULL, *one;

	if (copy == NULL)
		return;
	for (one = strtok_r(copy, ",", &save); one; one = strtok_r(NULL, ",", &save))
		parse_one(one);
	free(copy);
}

int
fault_point(const char *name)
{
	uint32_t i;

	pthread_once(&parsed, parse);
	for (i = 0; i < n_faults; i++) {
		struct fault *f = &faults[i];
		uint64_t n;

		if (strcmp(f->name, name) != 0)
			continue;
		n = atomic_fetch_add(&f->passed, 1) + 1;
		if (n != f->nth && !(f->always && n > f->nth))
			continue;
		if (f->error == 0) {
			raise(SIGKILL);
			abort();
		}
		return f->error;
	}
	return 0;
}
