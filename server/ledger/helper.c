/* ledger/helper.c - background threads of the ledger.  See helper.h. */
#include "ledger/helper.h"

#include <string.h>

#include "base/base.h"

static void *
run(void *arg)
{
	struct helper *h = arg;

	log_thread_role(h->name);
	pthread_mutex_lock(&h->lock);
	for (;;) {
		while (!h->kicked && !h->stop)
			pthread_cond_wait(&h->cond, &h->lock);
		if (h->stop)
			break;
		h->kicked = 0;
		h->working = 1;
		pthread_mutex_unlock(&h->lock);
		h->work(h->arg);
		pthread_mutex_lock(&h->lock);
		h->working = 0;
		pthread_cond_broadcast(&h->cond);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

int
helper_init(struct helper *h, const char *name, void (*work)(void *), void *arg)
{
	int r;

	memset(h, 0, sizeof *h);
	h->work = work;
	h->arg = arg;
	h->name = name;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->cond, NULL);
	r = pthread_create(&h->thread, NULL, run, h);
	if (r != 0)
		return err_set(ALM_EIO, "could not start the thread \"%s\": %s", name, strerror(r));
	h->started = 1;
	return ALM_OK;
}

void
helper_fini(struct helper *h)
{
	if (!h->started)
		return;
	pthread_mutex_lock(&h->lock);
	h->stop = 1;
	pthread_cond_broadcast(&h->cond);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	pthread_cond_destroy(&h->cond);
	pthread_mutex_destroy(&h->lock);
	h->started = 0;
}

void
helper_kick(struct helper *h)
{
	pthread_mutex_lock(&h->lock);
	h->kicked = 1;
	pthread_cond_broadcast(&h->cond);
	pthread_mutex_unlock(&h->lock);
}

void
helper_wait(struct helper *h)
{
	pthread_mutex_lock(&h->lock);
	while (h->kicked || h->working)
		pthread_cond_wait(&h->cond, &h->lock);
	pthread_mutex_unlock(&h->lock);
}
