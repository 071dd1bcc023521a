/* regress/perf/load_ceiling.c - drives ceiling.c: {u32 length, bytes} there, {u32 count} back. */
#include <string.h>

#include "regress/perf/load.h"

static int
nothing(struct load_conn *c)
{
	(void)c;
	return 0;
}

static int
no_reading(struct load_conn *c)
{
	(void)c;
	load_die("the ceiling keeps nothing that could be read");
}

static void
ceiling_publish(struct load_conn *c, const uint8_t *data, uint32_t len)
{
	uint8_t *p = load_room(c, sizeof len + len);

	memcpy(p, &len, sizeof len);
	memcpy(p + sizeof len, data, len);
}

static uint64_t
ceiling_parse(struct load_conn *c, const uint8_t *p, uint64_t len)
{
	uint32_t n;

	if (len < sizeof n)
		return 0;
	memcpy(&n, p, sizeof n);
	load_acked(c, n);
	return sizeof n;
}

int
main(int argc, char **argv)
{
	static const struct load_driver ceiling = {"ceiling", nothing, nothing, no_reading,
	    ceiling_publish, NULL, ceiling_parse};

	return load_main(argc, argv, &ceiling);
}
