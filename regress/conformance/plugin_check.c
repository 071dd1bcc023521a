/* plugin_check.c - almadia-plugin-check: would almadiad load this plugin, and does it keep its contract?
 *
 * Judges the file with the server's own loader, so that its words are those of the server's log, then
 * becomes the kit of the plugin's kind, which is a program of its own: a kit that a plugin crashes
 * does not take the verdict with it. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <ltdl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "module/elfnote.h"
#include "module/provider.h"

static const char usage[] =
    "usage: almadia-plugin-check [--kits DIR] [KIND] FILE.so [ARGUMENT ...]\n"
    "KIND is consensus, storage, protocol or indexer; without it the file's note says it.\n"
    "ARGUMENTs are those of the kit, see almadia-plugin(7).\n";

/* The kind in the file's note, or 0 with a message. */
static uint32_t
kind_of(const char *path)
{
	struct alm_note_entry note[NOTE_ENTRIES_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int n = fd < 0 ? err_set(ALM_EIO, "could not open: %s", strerror(errno)) : elfnote_read(fd, note);

	if (fd >= 0)
		close(fd);
	if (n < 0) {
		fprintf(stderr, "almadia-plugin-check: %s: %s\n", path, err_text());
		return 0;
	}
	for (int i = 1; i < n; i++)
		if (note[i].kind != note[0].kind) {
			fprintf(stderr, "almadia-plugin-check: %s: has providers of several kinds (say which KIND)\n",
			    path);
			return 0;
		}
	return note[0].kind;
}

/* What almadiad says when it looks for this file; 0 if it takes it. */
static int
load(const char *path, uint32_t kind)
{
	const char *slash = strrchr(path, '/');
	struct provider *p;
	uint32_t of_name;
	char name[50];

	if (!plugin_file_name(slash + 1, &of_name, name) || of_name != kind) {
		fprintf(stderr, "almadia-plugin-check: %s: is not named %s_NAME.so, so almadiad would not find it\n",
		    path, kind_name(kind));
		return -1;
	}
	if (lt_dlinit() != 0 || provider_load(path, kind, name, &p) != ALM_OK) {
		fprintf(stderr, "almadia-plugin-check: %s\n", err_text());
		return -1;
	}
	printf("# %s: %s %s %s, ABI %u.%u: almadiad takes it\n", path, kind_name(kind), p->name, p->version,
	    p->major, p->minor_built);
	fflush(stdout);
	return 0;
}

/* argv begins at the file. Does not return if the kit could be started. */
static int
become_kit(const char *kits, uint32_t kind, char *path, char **argv)
{
	char program[PATH_MAX];

	if (kind == ALM_KIND_EXTENSION) {
		printf("# there is no kit for extensions\n1..1\nok 1 - almadiad takes it\n");
		return 0;
	}
	snprintf(program, sizeof program, "%s/check_%s", kits, kind_name(kind));
	argv[-1] = program;
	argv[0] = path;
	execv(program, argv - 1);
	fprintf(stderr, "almadia-plugin-check: could not run %s: %s\n", program, strerror(errno));
	return 2;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {{"kits", required_argument, NULL, 'k'},
	    {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0}};
	const char *kits = ALM_KITDIR;
	char path[PATH_MAX];
	uint32_t kind = 0;
	int ch;

	while ((ch = getopt_long(argc, argv, "+", options, NULL)) != -1)
		switch (ch) {
		case 'k':
			kits = optarg;
			break;
		case 'h':
		case 'V':
			fputs(ch == 'h' ? usage : "almadia-plugin-check " PACKAGE_VERSION "\n", stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	if (optind + 1 < argc && (kind = kind_number(argv[optind])) != 0)
		optind++;
	if (optind >= argc) {
		fputs(usage, stderr);
		return 2;
	}
	if (realpath(argv[optind], path) == NULL) {
		fprintf(stderr, "almadia-plugin-check: %s: %s\n", argv[optind], strerror(errno));
		return 2;
	}
	if (kind == 0 && (kind = kind_of(path)) == 0)
		return 2;
	return load(path, kind) != 0 ? 2 : become_kit(kits, kind, path, argv + optind);
}
