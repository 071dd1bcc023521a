/* regress/fuzz/fuzz_config.c - any bytes as almadia.conf: a config or an error line, never a crash.
 *
 * With libFuzzer (--enable-fuzzers) an entry point; otherwise a program that replays the files
 * and directories named, or, without arguments, a generated series of broken files. */
#include <config.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct alm_setting declared[] = {
    {"size", "64m", NULL, "a size", 1 << 20, 1 << 30, ALM_SET_SIZE, ALM_SCOPE_BOOT},
    {"kind", "a", "a|b", "a choice", 0, 0, ALM_SET_CHOICE, ALM_SCOPE_BOOT},
};

/* What was accepted must survive the way to a child unchanged. */
static void
round_trip(const struct config *c)
{
	struct buf a = {0}, b = {0};
	struct config *d;
	int fd = config_snapshot(c);

	if (fd < 0 || config_from_snapshot(fd, &d) != ALM_OK)
		abort();
	if (config_dump_json(c, &a) == ALM_OK && (config_dump_json(d, &b) != ALM_OK || a.len != b.len ||
	    memcmp(a.data, b.data, a.len) != 0))
		abort();
	config_check_settings(c, "storage", "x", declared, 2);
	config_setting_int(c, "storage", "x", &declared[0]);
	buf_free(&a);
	buf_free(&b);
	config_free(d);
	close(fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *c = NULL;
	char path[64];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int status = config_load(path, NULL, 0, &c);
	if (status == ALM_OK)
		round_trip(c);
	else if (c || err_text()[0] == 0 || strchr(err_text(), '\n'))
		abort();
	config_free(c);
	close(fd);
	return 0;
}

#ifndef ALM_LIBFUZZER
static unsigned long runs;

static void
replay(const char *path)
{
	struct stat st;
	struct dirent *d;
	char sub[4096];

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		DIR *dir = opendir(path);
		while (dir && (d = readdir(dir))) {
			if (d->d_name[0] == '.')
				continue;
			snprintf(sub, sizeof sub, "%s/%s", path, d->d_name);
			replay(sub);
		}
		if (dir)
			closedir(dir);
		return;
	}
	FILE *f = fopen(path, "r");
	uint8_t *data = malloc(1 << 20);
	size_t n = f && data ? fread(data, 1, 1 << 20, f) : 0;
	LLVMFuzzerTestOneInput(data, n);
	runs++;
	free(data);
	if (f)
		fclose(f);
}

static const char *const words[] = {"[server]\n", "[listener a]\n", "[listener b]\n", "[storage x]\n",
    "workers", "bind", "protocol", "data_dir", "size", "kind", "time", " = ", "=", ":", "\n", "\n\n",
    "127.0.0.1:7450", "[::1]:1", "unix:/a", "7d", "64k", "auto", "[", "]", ";", " ;", "#", "\t", "\r\n",
    "\xef\xbb\xbf", "\xff", "/var/lib", "[retention]\n", "[limits]\n", "max_batch", "-1", "99999999999999",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

/* Files of random words and now and then a random byte; the same series every time. */
static void
generate(unsigned long n)
{
	uint64_t x = 88172645463325252u;
	uint8_t data[4096];

	for (; runs < n; runs++) {
		size_t used = 0;
		for (unsigned i = 0; i < 30; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			const char *w = words[x % (sizeof words / sizeof words[0])];
			memcpy(data + used, w, strlen(w));
			used += strlen(w);
			if (x >> 60 == 0)
				data[used++] = (uint8_t)(x >> 32);
		}
		LLVMFuzzerTestOneInput(data, used);
	}
}

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	if (argc == 1)
		generate(20000);
	printf("1..1\nok 1 - %lu configurations, each a config or one error line\n", runs);
	return 0;
}
#endif
