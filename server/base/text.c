/* base/text.c - settings' values from text, numbers to text, names.  Any thread, no state.
 * An error names the value seen and the forms allowed; the caller adds the key and place. */
#include "base/base.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
	const char *name;
	int64_t factor;
};

static const struct unit sizes[] = {
    {"", 1},
    {"b", 1},
    {"k", 1LL << 10},
    {"kb", 1LL << 10},
    {"kib", 1LL << 10},
    {"m", 1LL << 20},
    {"mb", 1LL << 20},
    {"mib", 1LL << 20},
    {"g", 1LL << 30},
    {"gb", 1LL << 30},
    {"gib", 1LL << 30},
    {"t", 1LL << 40},
    {"tb", 1LL << 40},
    {"tib", 1LL << 40},
};

static const struct unit durations[] = {
    {"us", 1},
    {"ms", 1000},
    {"s", 1000000},
    {"m", 60000000},
    {"min", 60000000},
    {"h", 3600000000LL},
    {"d", 86400000000LL},
};

/* Digits, then one of the units; 0 needs no unit.  Returns 0 if the text is anything else. */
static int
parse_unit(const char *text, const struct unit *units, uint32_t n, int64_t *out)
{
	long long value;
	char *end;
	uint32_t i;

	if (!isdigit((unsigned char)text[0]))
		return 0;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno != 0)
		return 0;
	if (value == 0 && *end == '\0') {
		*out = 0;
		return 1;
	}
	for (i = 0; i < n; i++)
		if (strcasecmp(end, units[i].name) == 0)
			return !__builtin_mul_overflow((int64_t)value, units[i].factor, out);
	return 0;
}

int
parse_size(const char *text, int64_t *out)
{
	if (parse_unit(text, sizes, sizeof sizes / sizeof sizes[0], out))
		return ALM_OK;
	return err_set(ALM_EINVAL, "\"%s\" is not a size (use 4096, 64k, 256m, 1g)", text);
}

int
parse_duration(const char *text, int64_t *out)
{
	if (parse_unit(text, durations, sizeof durations / sizeof durations[0], out))
		return ALM_OK;
	return err_set(
	    ALM_EINVAL, "\"%s\" is not a duration (use 100us, 5ms, 2s, 30m, 12h, 7d)", text);
}

int
parse_bool(const char *text, int64_t *out)
{
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};
	uint32_t i;

	for (i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcasecmp(text, words[i]) == 0) {
			*out = i % 2;
			return ALM_OK;
		}
	return err_set(
	    ALM_EINVAL, "\"%s\" is neither yes nor no (use yes, no, true, false, on, off)", text);
}

int
parse_int(const char *text, int64_t *out)
{
	const char *digits = text[0] == '-' ? text + 1 : text;
	long long value;
	char *end;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (!isdigit((unsigned char)digits[0]) || *end != '\0' || errno != 0)
		return err_set(ALM_EINVAL, "\"%s\" is not a number (use digits, such as 42)", text);
	*out = value;
	return ALM_OK;
}

/* value / unit with at most one decimal, none if it is round. */
static const char *
format_scaled(uint64_t value, uint64_t unit, const char *name, char *out, uint32_t cap)
{
	uint64_t tenths = (uint64_t)((unsigned __int128)value * 10 / unit);

	if (unit == 1 || tenths % 10 == 0)
		snprintf(out, cap, "%llu %s", (unsigned long long)(value / unit), name);
	else
		snprintf(out, cap, "%llu.%llu %s", (unsigned long long)(tenths / 10),
		    (unsigned long long)(tenths % 10), name);
	return out;
}

const char *
format_size(uint64_t bytes, char *out, uint32_t cap)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	uint32_t i = 0;

	while (i < 6 && bytes >> (10 * (i + 1)) != 0)
		i++;
	return format_scaled(bytes, 1ULL << (10 * i), names[i], out, cap);
}

const char *
format_duration(uint64_t us, char *out, uint32_t cap)
{
	static const struct unit units[] = {{"d", 86400000000LL}, {"h", 3600000000LL},
	    {"min", 60000000}, {"s", 1000000}, {"ms", 1000}, {"us", 1}};
	uint32_t i = 0;

	while (i < 5 && us < (uint64_t)units[i].factor)
		i++;
	return format_scaled(us, (uint64_t)units[i].factor, units[i].name, out, cap);
}

int
name_valid(const void *name, uint64_t len)
{
	const char *p = name;
	uint64_t i;

	if (len < 1 || len > 255 || (len <= 2 && memcmp(p, "..", len) == 0))
		return 0;
	for (i = 0; i < len; i++)
		if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') ||
			(p[i] >= '0' && p[i] <= '9') ||
			(p[i] != '\0' && strchr("._%-/:", p[i]) != NULL)))
			return 0;
	return 1;
}
