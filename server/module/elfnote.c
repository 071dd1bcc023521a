/* module/elfnote.c - find the note "Almadia" among the PT_NOTE segments of an ELF file.
 *
 * The file may be anything, so every offset and length is checked against the file's size before
 * it is used; nothing is mapped, since a file cut short while it is mapped would be a SIGBUS.
 * Program headers are read rather than sections: a stripped file may lack the latter.
 */
#include <config.h>

#include "module/elfnote.h"

#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#elif defined(__riscv)
#define MACHINE EM_RISCV
#elif defined(__i386__)
#define MACHINE EM_386
#elif defined(__arm__)
#define MACHINE EM_ARM
#else
#define MACHINE 0 /* not checked */
#endif

#define OUR_CLASS (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)
#define OUR_DATA (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB)

#define PHDRS_MAX 256u
#define NOTE_SEGMENT_MAX 65536u

static int
read_at(int fd, uint64_t size, uint64_t at, void *out, uint64_t len)
{
	if (at > size || len > size - at)
		return 0;
	return pread(fd, out, len, (off_t)at) == (ssize_t)len;
}

static int
check_header(const ElfW(Ehdr) *e)
{
	if (memcmp(e->e_ident, ELFMAG, SELFMAG) != 0)
		return err_set(ALM_EVERSION, "not a shared object (no ELF header)");
	if (e->e_ident[EI_CLASS] != OUR_CLASS || e->e_ident[EI_DATA] != OUR_DATA ||
	    (MACHINE != 0 && e->e_machine != MACHINE))
		return err_set(ALM_EVERSION, "built for another kind of machine (ELF machine %u, this is %u)",
		    e->e_machine, (unsigned)MACHINE);
	if (e->e_type != ET_DYN || e->e_phentsize != sizeof(ElfW(Phdr)) || e->e_phnum == 0 ||
	    e->e_phnum > PHDRS_MAX)
		return err_set(ALM_EVERSION, "not a shared object (ELF type %u)", e->e_type);
	return ALM_OK;
}

/* Walk the notes of one segment; the number of entries, 0 if ours is not there. */
static int
scan_notes(const uint8_t *at, uint64_t len, uint64_t align, struct alm_note_entry *out)
{
	ElfW(Nhdr) n;

	while (len >= sizeof n) {
		memcpy(&n, at, sizeof n);
		uint64_t name = sizeof n, desc = (name + n.n_namesz + align - 1) / align * align;
		uint64_t end = (desc + n.n_descsz + align - 1) / align * align;

		if (desc > len || n.n_descsz > len - desc)
			return 0;
		if (n.n_type == ALM_NOTE_TYPE && n.n_namesz == sizeof ALM_NOTE_OWNER &&
		    memcmp(at + name, ALM_NOTE_OWNER, sizeof ALM_NOTE_OWNER) == 0) {
			uint32_t count = n.n_descsz / (uint32_t)sizeof *out;

			if (count == 0 || n.n_descsz % sizeof *out != 0 || count > NOTE_ENTRIES_MAX)
				return err_set(ALM_EVERSION, "its Almadia note of %u bytes is malformed",
				    n.n_descsz);
			memcpy(out, at + desc, n.n_descsz);
			return (int)count;
		}
		if (end > len)
			return 0;
		at += end;
		len -= end;
	}
	return 0;
}

static int
scan_segment(int fd, uint64_t size, const ElfW(Phdr) *p, struct alm_note_entry *out)
{
	int found = 0;

	if (p->p_type != PT_NOTE || p->p_filesz == 0 || p->p_filesz > NOTE_SEGMENT_MAX)
		return 0;
	uint8_t *data = malloc(p->p_filesz);
	if (!data)
		return err_set(ALM_ENOMEM, "out of memory");
	if (read_at(fd, size, p->p_offset, data, p->p_filesz))
		found = scan_notes(data, p->p_filesz, p->p_align == 8 ? 8 : 4, out);
	free(data);
	return found;
}

/* All that the dynamic linker would map is in the file: past its end there is only SIGBUS. */
static int
check_whole(int fd, uint64_t size, const ElfW(Ehdr) *e)
{
	ElfW(Phdr) p;

	for (uint32_t i = 0; i < e->e_phnum; i++) {
		if (!read_at(fd, size, e->e_phoff + i * sizeof p, &p, sizeof p))
			return err_set(ALM_EVERSION, "cut off: its program headers lie past its end");
		if (p.p_type == PT_LOAD && (p.p_offset > size || p.p_filesz > size - p.p_offset))
			return err_set(ALM_EVERSION, "cut off: what it wants mapped lies past its end");
	}
	return ALM_OK;
}

int
elfnote_read(int fd, struct alm_note_entry out[NOTE_ENTRIES_MAX])
{
	struct stat st;
	ElfW(Ehdr) e;
	ElfW(Phdr) p;

	if (fstat(fd, &st) != 0)
		return err_set(ALM_EIO, "could not be examined");
	uint64_t size = (uint64_t)st.st_size;
	if (!read_at(fd, size, 0, &e, sizeof e))
		return err_set(ALM_EVERSION, "not a shared object (%llu bytes)", (unsigned long long)size);
	int status = check_header(&e);
	if (status == ALM_OK)
		status = check_whole(fd, size, &e);
	for (uint32_t i = 0; status == ALM_OK && i < e.e_phnum; i++) {
		if (!read_at(fd, size, e.e_phoff + i * sizeof p, &p, sizeof p))
			return err_set(ALM_EIO, "could not be read");
		status = scan_segment(fd, size, &p, out);
	}
	if (status == 0)
		return err_set(ALM_EVERSION, "not an Almadia plugin (it has no Almadia note; use "
		    "ALM_MODULE_NOTE)");
	return status;
}
