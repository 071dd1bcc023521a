/* ledger/writer.c - the log writer.  The job's fields belong to the thread from writer_submit()
 * until `done` is set (release), and to the loop at all other times; the mutex only carries the
 * request.  A failed append or sync is reported, never retried here. */
#include "ledger/writer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int
failed(struct write_job *j, int status, uint32_t in_sync)
{
	j->status = status;
	j->in_sync = in_sync;
	snprintf(j->detail, sizeof j->detail, "%s", err_text());
	return status;
}

static int
fault_status(int errnum, const char *name)
{
	return err_set(errnum == ENOSPC ? ALM_EFULL : ALM_EIO, "fault point %s: %s", name,
	    strerror(errnum));
}

int
writer_append(struct writer *w)
{
	struct write_job *j = &w->job;
	const uint64_t begin = clock_mono();
	int status = FAULT_POINT("before-append");

	if (status != 0)
		return failed(j, fault_status(status, "before-append"), 0);
	status = w->ops->append(w->store, j->slice, j->n);
	j->append_us = clock_mono() - begin;
	return status == ALM_OK ? ALM_OK : failed(j, status, 0);
}

int
writer_sync(struct writer *w)
{
	struct write_job *j = &w->job;
	const uint64_t begin = clock_mono();
	int status = FAULT_POINT("after-append-before-sync");

	if (status != 0)
		return failed(j, fault_status(status, "after-append-before-sync"), 1);
	status = w->ops->sync(w->store, &j->durable);
	j->sync_us = clock_mono() - begin;
	if (status == ALM_OK && FAULT_POINT("after-sync-before-ack") != 0)
		status = fault_status(EIO, "after-sync-before-ack");
	return status == ALM_OK ? ALM_OK : failed(j, status, 1);
}

static void
ring(struct writer *w)
{
	const uint64_t one = 1;

	/* A full counter means that the loop is woken anyway. */
	if (write(w->event_fd, &one, sizeof one) < 0)
		return;
}

static void *
run(void *arg)
{
	struct writer *w = arg;

	log_thread_role("ledger writer");
	pthread_mutex_lock(&w->lock);
	for (;;) {
		while (!w->request && !w->stop)
			pthread_cond_wait(&w->cond, &w->lock);
		if (!w->request)
			break;
		w->request = 0;
		pthread_mutex_unlock(&w->lock);
		if (writer_append(w) == ALM_OK) {
			if (w->job.tell_appended) {
				atomic_store_explicit(&w->appended, 1, memory_order_release);
				ring(w);
			}
			writer_sync(w);
		}
		pthread_mutex_lock(&w->lock);
		atomic_store_explicit(&w->done, 1, memory_order_release);
		pthread_cond_broadcast(&w->cond);
		ring(w);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

int
writer_init(struct writer *w, const struct alm_storage_ops_v0 *ops, struct alm_store *store)
{
	int r;

	memset(w, 0, sizeof *w);
	w->ops = ops;
	w->store = store;
	w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->event_fd < 0)
		return err_set(ALM_EIO, "could not make an eventfd: %s", strerror(errno));
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	r = pthread_create(&w->thread, NULL, run, w);
	if (r != 0)
		return err_set(ALM_EIO, "could not start the log writer: %s", strerror(r));
	w->started = 1;
	return ALM_OK;
}

void
writer_fini(struct writer *w)
{
	if (w->started) {
		pthread_mutex_lock(&w->lock);
		w->stop = 1;
		pthread_cond_broadcast(&w->cond);
		pthread_mutex_unlock(&w->lock);
		pthread_join(w->thread, NULL);
		pthread_cond_destroy(&w->cond);
		pthread_mutex_destroy(&w->lock);
	}
	if (w->event_fd > 0)
		close(w->event_fd);
	w->started = 0;
	w->event_fd = 0;
}

struct write_job *
writer_job(struct writer *w)
{
	INVARIANT(!w->busy);
	w->job.n = 0;
	w->job.tell_appended = 0;
	w->job.status = ALM_OK;
	w->job.in_sync = 0;
	return &w->job;
}

void
writer_submit(struct writer *w)
{
	INVARIANT(!w->busy && w->job.n > 0);
	w->busy = 1;
	pthread_mutex_lock(&w->lock);
	w->request = 1;
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

int
writer_appended(struct writer *w)
{
	return w->busy && atomic_load_explicit(&w->appended, memory_order_acquire) &&
	    atomic_exchange_explicit(&w->appended, 0, memory_order_acq_rel);
}

int
writer_done(struct writer *w)
{
	if (!w->busy || !atomic_load_explicit(&w->done, memory_order_acquire))
		return 0;
	atomic_store_explicit(&w->done, 0, memory_order_relaxed);
	atomic_store_explicit(&w->appended, 0, memory_order_relaxed);
	w->busy = 0;
	return 1;
}

void
writer_wait(struct writer *w)
{
	if (!w->busy)
		return;
	pthread_mutex_lock(&w->lock);
	while (!atomic_load_explicit(&w->done, memory_order_acquire))
		pthread_cond_wait(&w->cond, &w->lock);
	pthread_mutex_unlock(&w->lock);
}
