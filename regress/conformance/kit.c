/* regress/conformance/kit.c - see kit.h. */
#include "regress/conformance/kit.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "module/kinds.h"

static const struct alm_module *
manifest(const char *file)
{
	void *so = dlopen(file, RTLD_NOW | RTLD_LOCAL);
	union {
		void *p;
		alm_module_fn fn;
	} sym = {NULL};

	if (so == NULL || (sym.p = dlsym(so, "alm_module_v1")) == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return NULL;
	}
	return sym.fn();
}

const struct alm_provider *
kit_load(const char *file, uint32_t kind, const void **ops)
{
	const struct alm_module *m = manifest(file);
	const struct kind *k = kind_find(kind);

	if (m == NULL)
		return NULL;
	for (uint32_t i = 0; m->magic == ALM_MODULE_MAGIC && i < m->n_providers; i++) {
		const struct alm_provider *p = &m->providers[i];

		if (p->kind != kind)
			continue;
		if ((*ops = ops_complete(k, p->ops, p->ops_size)) == NULL) {
			fprintf(stderr, "%s: %s\n", file, err_text());
			return NULL;
		}
		return p;
	}
	fprintf(stderr, "%s: has no %s provider\n", file, k->name);
	return NULL;
}

int
kit_has(const struct alm_provider *p, uint64_t offset)
{
	void *op = NULL;

	if (offset + sizeof op > p->ops_size)
		return 0;
	memcpy(&op, (const char *)p->ops + offset, sizeof op);
	return op != NULL;
}
