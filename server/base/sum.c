/* base/sum.c - time, checksums and hashes.  Any thread, no state. */
#include "base/base.h"

#include <isa-l/crc.h>
#include <limits.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

static uint64_t
microseconds(clockid_t which)
{
	struct timespec ts;

	clock_gettime(which, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t
clock_mono(void)
{
	return microseconds(CLOCK_MONOTONIC);
}

uint64_t
clock_wall(void)
{
	return microseconds(CLOCK_REALTIME);
}

#if defined(__x86_64__) && defined(__GNUC__)
#define SHORT_MAX 256u /* bytes: up to here the plain instruction beats libisal's folding */

static int short_ok;

__attribute__((constructor)) static void
find_instruction(void)
{
	short_ok = __builtin_cpu_supports("sse4.2");
}

/* Records of a hundred bytes and the 16-byte heads that a batch's sum covers are most of the calls. */
__attribute__((target("sse4.2"))) static uint32_t
crc_short(uint32_t crc, const unsigned char *p, uint64_t len)
{
	uint64_t sum = crc, word;

	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&word, p, sizeof word);
		sum = __builtin_ia32_crc32di(sum, word);
	}
	for (; len > 0; len--)
		sum = __builtin_ia32_crc32qi((uint32_t)sum, *p++);
	return (uint32_t)sum;
}
#endif

/* CRC32C as in RFC 3720, appendix B.4.  libisal leaves the inversion before and after to the
 * caller; with it, a result fed back in continues the sum, and crc 0 starts one. */
uint32_t
crc32c(uint32_t crc, const void *data, uint64_t len)
{
	/* libisal's prototype lacks the const; it only reads. */
	unsigned char *p = (unsigned char *)(uintptr_t)data;

	crc = ~crc;
#ifdef SHORT_MAX
	if (len <= SHORT_MAX && short_ok)
		return ~crc_short(crc, p, len);
#endif
	while (len > 0) {
		int n = len > INT_MAX / 2 ? INT_MAX / 2 : (int)len;

		crc = crc32_iscsi(p, n, crc);
		p += n;
		len -= (uint64_t)n;
	}
	return ~crc;
}

uint64_t
hash64(const void *data, uint64_t len)
{
	return XXH3_64bits(data, len);
}

struct hash128
hash128(const void *data, uint64_t len)
{
	XXH128_hash_t h = XXH3_128bits(data, len);

	return (struct hash128){h.low64, h.high64};
}
