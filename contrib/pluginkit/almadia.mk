# almadia.mk - build a plugin of the Almadia message broker outside its tree.  GNU make.
#
#	PLUGIN = storage_mystore
#	SRCS   = mystore.c
#	include $(shell pkg-config --variable=pluginmk almadia-plugin)
#
# PLUGIN is KIND_NAME, as almadiad looks for KIND_NAME.so.  Set before the include, if wanted: PLUGIN_CPPFLAGS,
# PLUGIN_CFLAGS, PLUGIN_LIBS.  From the command line: CC, CFLAGS, LDFLAGS, DESTDIR, plugindir, PKG_CONFIG.
# Targets: all install uninstall clean.

ifeq ($(strip $(PLUGIN)),)
$(error almadia.mk: set PLUGIN to KIND_NAME before the include)
endif
ifeq ($(filter consensus_% storage_% protocol_% indexer_% extension_%,$(PLUGIN)),)
$(error almadia.mk: PLUGIN "$(PLUGIN)" does not begin with consensus_, storage_, protocol_, indexer_ or extension_)
endif
ifeq ($(strip $(SRCS)),)
$(error almadia.mk: set SRCS to the source files before the include)
endif

PKG_CONFIG ?= pkg-config
INSTALL ?= install
CFLAGS ?= -O2 -g
plugindir ?= $(shell $(PKG_CONFIG) --variable=plugindir almadia-plugin)

# Hidden visibility leaves ALM_MODULE's symbol as the only one exported; -z defs finds at link time what
# dlopen would refuse.
alm_cflags := -std=gnu11 -fPIC -fvisibility=hidden -Wall -Wextra -MMD -MP \
	$(shell $(PKG_CONFIG) --cflags almadia-plugin)
alm_ldflags := -shared -Wl,-z,defs -Wl,-z,relro -Wl,-z,now
alm_objs := $(SRCS:.c=.o)

all: $(PLUGIN).so

$(PLUGIN).so: $(alm_objs)
	$(CC) $(alm_ldflags) $(LDFLAGS) -o $@ $^ $(PLUGIN_LIBS)

%.o: %.c
	$(CC) $(alm_cflags) $(PLUGIN_CPPFLAGS) $(CPPFLAGS) $(PLUGIN_CFLAGS) $(CFLAGS) -c -o $@ $<

install: all
	$(INSTALL) -d "$(DESTDIR)$(plugindir)"
	$(INSTALL) -m 755 $(PLUGIN).so "$(DESTDIR)$(plugindir)/$(PLUGIN).so"

uninstall:
	rm -f "$(DESTDIR)$(plugindir)/$(PLUGIN).so"

clean:
	rm -f $(PLUGIN).so $(alm_objs) $(alm_objs:.o=.d)

-include $(alm_objs:.o=.d)

.PHONY: all install uninstall clean
