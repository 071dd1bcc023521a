/* check_storage.c - run the storage kit against a plugin file.
 *
 *	check_storage FILE.so [NAME=VALUE ...]
 *
 * NAME=VALUE are settings of the provider; ARENA=BYTES, SEED=N and DIR=PATH are the kit's own.
 * Output is TAP; exit 0 if all tests passed, 1 if not, 2 for wrong usage. */
#include "regress/conformance/storage_kit.h"

#include "regress/conformance/kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
option(struct skit *k, char *arg)
{
	char *value = strchr(arg, '=');
	int64_t n;

	if (value == NULL)
		return -1;
	*value++ = '\0';
	if (strcmp(arg, "DIR") == 0) {
		k->dir = value;
	} else if (strcmp(arg, "SEED") == 0) {
		k->seed = strtoull(value, NULL, 10);
	} else if (strcmp(arg, "ARENA") == 0) {
		if (parse_size(value, &n) != ALM_OK)
			return -1;
		k->arena = (uint64_t)n;
	} else if (k->n_set < SKIT_SETTINGS) {
		k->set[k->n_set][0] = arg;
		k->set[k->n_set++][1] = value;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	char own[] = "/tmp/check_storage.XXXXXX";
	struct skit k = {.seed = 20250601, .arena = 64 << 20};
	const void *ops;
	uint32_t bad;

	for (int i = 2; i < argc; i++)
		if (option(&k, argv[i]) < 0)
			argc = 0;
	if (argc < 2) {
		fprintf(stderr, "usage: check_storage FILE.so [NAME=VALUE ...]\n");
		return 2;
	}
	k.provider = kit_load(argv[1], ALM_KIND_STORAGE, &ops);
	if (k.provider == NULL)
		return 2;
	k.ops = ops;
	if (k.dir == NULL && (k.dir = mkdtemp(own)) == NULL) {
		perror("check_storage: mkdtemp");
		return 2;
	}
	bad = skit_run(&k);
	if (k.dir == own)
		rmdir(own);
	return bad == 0 ? 0 : 1;
}
