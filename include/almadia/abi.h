/* almadia/abi.h - what every plugin and the core agree on.
 *
 * A plugin is one shared object that exports one function, alm_module_v1(), which returns a
 * static manifest: a list of providers, each of one kind with a table of operations.  The core
 * gives a table of its own, struct alm_host (host.h).  Nothing else is shared: the server exports
 * no symbols, so a plugin links alone and runs against a fake host in a unit test.
 *
 * Rules for every struct in these headers: fixed-width integers only; no bool, enum, bit-field,
 * long or size_t; nothing of libevent or OpenSSL.  Tables of operations grow only at the end.
 * Memory passed to a call is borrowed for the length of the call unless its comment says more;
 * ownership crosses only through host->alloc and host->free.
 *
 * Each kind is versioned alone.  A provider loads if its major equals the core's and its
 * minor_needed is at most the core's minor.  While a major is 0 the kind is experimental and its
 * minor must match exactly.
 */
#ifndef ALMADIA_ABI_H
#define ALMADIA_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Status: 0 is success, a negative number an error.  The same numbers travel in the native
 * protocol and appear in JSON output, so they never change meaning. */
#define ALM_OK 0
#define ALM_EINVAL (-1)      /* an argument or request is malformed */
#define ALM_ENOMEM (-2)      /* out of memory */
#define ALM_EIO (-3)         /* the disk or a file failed */
#define ALM_EAGAIN (-4)      /* back pressure: nothing happened, try again later */
#define ALM_ENOTSUP (-5)     /* this provider does not have the operation */
#define ALM_ENOTFOUND (-6)   /* no such topic, group, message, key, plugin */
#define ALM_EEXIST (-7)      /* exists already, or a precondition on a version failed */
#define ALM_EDENIED (-8)     /* not allowed */
#define ALM_EFULL (-9)       /* no disk space for the operation */
#define ALM_ETOOBIG (-10)    /* message, frame or value over its limit */
#define ALM_ECORRUPT (-11)   /* stored data fails its checksum or structure */
#define ALM_EVERSION (-12)   /* a version on disk, on the wire or of an ABI does not fit */
#define ALM_EUNAVAILABLE (-13) /* the ledger, a leader or an index is away; safe to retry */
#define ALM_ENOTLEADER (-14) /* another member leads; the answer says which, if known */
#define ALM_EORDER (-15)     /* a producer's sequence is not the next one; resend in order */
#define ALM_EOFFSET (-16)    /* offset out of range: before the begin or past the end */
#define ALM_ETIMEOUT (-17)   /* the deadline passed; the result is unknown unless said */
#define ALM_ECLOSED (-18)    /* the peer or the object is closing */
#define ALM_ECONFIG (-19)    /* a setting is wrong */
#define ALM_EPROTO (-20)     /* hostile or broken bytes on a connection */
#define ALM_EBUSY (-21)      /* locked or in use by somebody else */
#define ALM_EINTERNAL (-22)  /* a bug: please report */
#define ALM_ESTALE (-23)     /* an epoch or term has moved on */
#define ALM_STATUS_LAST (-23)

/* Borrowed bytes.  Frozen. */
struct alm_slice {
	const void *data;
	uint64_t len;
};

/* Kinds of provider. */
#define ALM_KIND_CONSENSUS 1u
#define ALM_KIND_STORAGE 2u
#define ALM_KIND_PROTOCOL 3u
#define ALM_KIND_INDEXER 4u
#define ALM_KIND_EXTENSION 5u
#define ALM_KIND_MAX 5u

/* Version of each kind's header: major.minor. */
#define ALM_CONSENSUS_MAJOR 0u
#define ALM_CONSENSUS_MINOR 1u
#define ALM_STORAGE_MAJOR 0u
#define ALM_STORAGE_MINOR 1u
#define ALM_PROTOCOL_MAJOR 0u
#define ALM_PROTOCOL_MINOR 1u
#define ALM_INDEXER_MAJOR 0u
#define ALM_INDEXER_MINOR 1u
#define ALM_EXTENSION_MAJOR 0u
#define ALM_EXTENSION_MINOR 1u

/* A setting that a provider declares.  It is set in the section [KIND NAME] of almadia.conf,
 * validated before any of the provider's code runs, and read through host->setting_*().
 * The text of a default is parsed like a value in the file.  Frozen. */
#define ALM_SET_STRING 1u
#define ALM_SET_BOOL 2u     /* yes/no, true/false, on/off */
#define ALM_SET_INT 3u      /* plain number */
#define ALM_SET_SIZE 4u     /* bytes: 64k, 256m, 1g */
#define ALM_SET_DURATION 5u /* microseconds: 100us, 5ms, 2s, 30m, 12h, 7d */
#define ALM_SET_CHOICE 6u   /* one of choices, separated by '|' */

#define ALM_SCOPE_BOOT 1u   /* takes effect at the next start */
#define ALM_SCOPE_RELOAD 2u /* takes effect at SIGHUP */

struct alm_setting {
	const char *name;
	const char *def;     /* NULL: required */
	const char *choices; /* ALM_SET_CHOICE only */
	const char *doc;     /* one sentence, no final period */
	int64_t min, max;    /* numbers, sizes and durations; both 0: no limit */
	uint32_t type, scope;
};

/* One provider.  Frozen. */
struct alm_provider {
	uint32_t size; /* sizeof(struct alm_provider) */
	uint32_t kind;
	uint32_t major, minor_built, minor_needed;
	uint32_t ops_size;
	const char *name;
	const char *doc;
	const void *ops;
	const struct alm_setting *settings;
	uint32_t n_settings, reserved0;
	const void *reserved[4];
};

#define ALM_MODULE_MAGIC 0x314d4c41u /* "ALM1" */

/* What alm_module_v1() returns.  Frozen. */
struct alm_module {
	uint32_t magic, size;
	const char *name, *version;
	const struct alm_provider *providers;
	uint32_t n_providers, reserved0;
	const void *reserved[4];
};

typedef const struct alm_module *(*alm_module_fn)(void);

/* The ELF note lets the core refuse a file before any of its code runs.
 * Section ".note.almadia", owner "Almadia", type 1; the descriptor is an array of
 * struct alm_note_entry, one a provider, in host byte order.  Frozen. */
#define ALM_NOTE_OWNER "Almadia"
#define ALM_NOTE_TYPE 1u

struct alm_note_entry {
	uint32_t kind, major, minor_built, minor_needed;
};

#define ALM_EXPORT __attribute__((visibility("default")))

/* A built-in build renames the exported symbol as libltdl's preloading wants it: compile with
 * -DALM_MODULE_SYMBOL=name_LTX_alm_module_v1. */
#ifndef ALM_MODULE_SYMBOL
#define ALM_MODULE_SYMBOL alm_module_v1
#endif

#define ALM_MODULE(name_, version_, providers_)                                                   \
	ALM_EXPORT const struct alm_module *ALM_MODULE_SYMBOL(void);                               \
	const struct alm_module *ALM_MODULE_SYMBOL(void)                                           \
	{                                                                                          \
		static const struct alm_module module_ = {                                        \
		    .magic = ALM_MODULE_MAGIC,                                                     \
		    .size = sizeof(struct alm_module),                                             \
		    .name = (name_),                                                               \
		    .version = (version_),                                                         \
		    .providers = (providers_),                                                     \
		    .n_providers = sizeof(providers_) / sizeof((providers_)[0]),                   \
		};                                                                                 \
		return &module_;                                                                   \
	}

/* Note for a file with one provider: ALM_MODULE_NOTE(ALM_KIND_STORAGE, 0, 1, 1). */
#define ALM_MODULE_NOTE(kind_, major_, minor_built_, minor_needed_)                               \
	static const struct {                                                                      \
		uint32_t namesz, descsz, type;                                                     \
		char name[8];                                                                      \
		struct alm_note_entry desc[1];                                                     \
	} alm_note_ __attribute__((section(".note.almadia"), used, aligned(4))) = {                \
	    sizeof ALM_NOTE_OWNER, sizeof(struct alm_note_entry), ALM_NOTE_TYPE, ALM_NOTE_OWNER,   \
	    {{(kind_), (major_), (minor_built_), (minor_needed_)}}}

#ifdef __cplusplus
}
#endif
#endif
