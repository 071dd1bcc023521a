/* ctl/table.c - every command of `almadia`, as data.
 *
 * To add a command: one entry here, its function in a cmd_*.c and in cmds.h, and a line in
 * regress/scripts/test_table.py, which runs each command with -o json and fails on a command
 * it does not know.  Then `make update-generated` renews the man page and the completions.
 */
#include <config.h>

#include "contrib/ctl/table.h"

#include <stddef.h>
#include <string.h>

#include "contrib/ctl/cmds.h"

#define END {NULL, 0, 0, 0, NULL, NULL, NULL}
#define DEADLINE_DOC "give up after this long without an answer"

const struct opt_spec global_opts[] = {
    {"output", 'o', OPT_CHOICE, 0, "table|json|jsonl|csv|plain", "table", "form of the output"},
    {"server", 's', OPT_TEXT, 1, "HOST:PORT|unix:/PATH", NULL,
	"node to talk to; several are tried in turn (default: the context's, else 127.0.0.1:7450)"},
    {"context", 'c', OPT_TEXT, 0, "NAME", NULL, "use the servers stored under this name"},
    {"timeout", 0, OPT_DURATION, 0, "DURATION", "10s", DEADLINE_DOC},
    {"quiet", 'q', OPT_FLAG, 0, NULL, NULL, "no remarks, summaries or progress"},
    {"verbose", 'v', OPT_FLAG, 0, NULL, NULL, "say more, such as the offset of each message"},
    {"no-color", 0, OPT_FLAG, 0, NULL, NULL, "no bold headings (NO_COLOR does the same)"},
    {"no-progress", 0, OPT_FLAG, 0, NULL, NULL, "no progress line on the terminal"},
    {"yes", 'y', OPT_FLAG, 0, NULL, NULL, "answer yes to what would be asked"},
    {"help", 'h', OPT_FLAG, 0, NULL, NULL, "show help"},
    END,
};

#define TOPIC_OPTS                                                                                 \
	{"queues", 0, OPT_INT, 0, "N", NULL, "number of queues; may grow later, never shrink"},    \
	    {"retention-bytes", 0, OPT_SIZE, 0, "SIZE", NULL,                                      \
		"recorded with the topic; only the node's [retention] is applied yet"},            \
	    {"retention-time", 0, OPT_DURATION, 0, "DURATION", NULL,                               \
		"recorded with the topic; only the node's [retention] is applied yet"},            \
	    {"max-message", 0, OPT_SIZE, 0, "SIZE", NULL,                                          \
		"largest body accepted, 0: the node's limit"},                                     \
	{                                                                                          \
		"durability", 0, OPT_CHOICE, 0, "strict|relaxed", NULL,                            \
		    "strict: an ack means on disk; relaxed: on disk within 100 ms"                 \
	}

static const struct opt_spec topic_create_opts[] = {TOPIC_OPTS,
    {"if-not-exists", 0, OPT_FLAG, 0, NULL, NULL, "succeed if the topic is there already"}, END};
static const struct opt_spec topic_alter_opts[] = {TOPIC_OPTS, END};

static const struct opt_spec group_create_opts[] = {
    {"if-not-exists", 0, OPT_FLAG, 0, NULL, NULL, "succeed if the group is there already"}, END};
static const struct opt_spec group_reset_opts[] = {
    {"to", 0, OPT_TEXT, 0, "start|end|offset:N|time:T", "start", "where the group shall go on"},
    {"queue", 0, OPT_INT, 0, "N", NULL, "this queue only"}, END};

static const struct opt_spec pub_opts[] = {
    {"key", 'k', OPT_TEXT, 0, "KEY", NULL,
	"key of each message; messages of one key go to one queue, in order"},
    {"tag", 't', OPT_TEXT, 0, "TAG", NULL, "tag that consumers can select by"},
    {"property", 'p', OPT_TEXT, 1, "NAME=VALUE", NULL, "property of each message"},
    {"queue", 0, OPT_INT, 0, "N", NULL, "this queue (default: by key, else in turn)"},
    {"lines", 0, OPT_TEXT, 0, "FILE", NULL, "a message for each line of FILE, - for stdin"},
    {"file", 0, OPT_TEXT, 1, "FILE", NULL, "a message that is the whole of FILE"},
    {"count", 'n', OPT_INT, 0, "N", "1", "publish the given messages N times"},
    {"rate", 0, OPT_INT, 0, "N", "0", "at most N messages a second, 0: as fast as possible"},
    {"linger", 0, OPT_DURATION, 0, "DURATION", "1ms", "wait this long for a batch to fill"},
    {"batch", 0, OPT_INT, 0, "N", "512", "most messages in a batch"},
    {"in-flight", 0, OPT_INT, 0, "N", "4096", "most messages that wait for their ack"}, END};

#define FROM_DOC "where to begin (in a group: for queues without a committed offset)"
#define FORMAT_DOC                                                                                 \
	"%b body, %x body in hex, %s its size, %o offset, %q queue, %p position, %k key, %t tag, "  \
	"%T topic, %P properties, %{NAME} one of them, %d time, %D microseconds; \\n \\t \\xHH"

static const struct opt_spec sub_opts[] = {
    {"group", 'g', OPT_TEXT, 0, "GROUP", NULL,
	"consume as this group: go on where it left off and commit what was written out"},
    {"from", 0, OPT_TEXT, 0, "start|end|offset:N|time:T", NULL,
	FROM_DOC " (default: start in a group, else end)"},
    {"queue", 0, OPT_INT, 1, "N", NULL, "this queue only"},
    {"tag", 't', OPT_TEXT, 1, "TAG", NULL, "only messages with this tag"},
    {"format", 'f', OPT_TEXT, 0, "FORMAT", "%b\\n", FORMAT_DOC},
    {"count", 'n', OPT_INT, 0, "N", "0", "stop after N messages, 0: go on"},
    {"idle", 0, OPT_DURATION, 0, "DURATION", "0",
	"stop once nothing came for this long, 0: go on"},
    {"no-commit", 0, OPT_FLAG, 0, NULL, NULL, "in a group: leave its offsets as they are"}, END};
static const struct opt_spec tail_opts[] = {
    {"last", 'n', OPT_INT, 0, "N", "10", "show the last N messages first"},
    {"follow", 0, OPT_FLAG, 0, NULL, NULL, "then go on with new ones"},
    {"format", 'f', OPT_TEXT, 0, "FORMAT", "%b\\n", "as for sub"}, END};

static const struct opt_spec msg_get_opts[] = {
    {"format", 'f', OPT_TEXT, 0, "FORMAT", NULL, "as for sub"}, END};
static const struct opt_spec msg_find_opts[] = {
    {"key", 'k', OPT_TEXT, 0, "KEY", NULL, "key to look for (required)"},
    {"since", 0, OPT_TEXT, 0, "T", NULL, "stored at or after this time"},
    {"until", 0, OPT_TEXT, 0, "T", NULL, "stored before this time"},
    {"limit", 'n', OPT_INT, 0, "N", "20", "at most N messages, newest first"},
    {"format", 'f', OPT_TEXT, 0, "FORMAT", NULL, "as for sub"}, END};

#define OFFLINE_OPTS                                                                               \
	{"config", 0, OPT_TEXT, 0, "FILE", NULL, "configuration of the node, for plugin_path and " \
						 "storage"},                                         \
	    {"storage", 0, OPT_TEXT, 0, "NAME", NULL,                                              \
		"storage plugin that wrote the log (default: the configuration's)"},               \
	{                                                                                          \
		"plugin-path", 0, OPT_TEXT, 0, "DIRS", NULL, "where plugins are, colon-separated"  \
	}

static const struct opt_spec log_dump_opts[] = {OFFLINE_OPTS,
    {"from", 0, OPT_INT, 0, "POSITION", "0", "begin with the batch that holds this position"},
    {"count", 'n', OPT_INT, 0, "N", "0", "stop after N records, 0: all"},
    {"records", 0, OPT_FLAG, 0, NULL, NULL, "a row for each record instead of each batch"},
    {"json", 0, OPT_FLAG, 0, NULL, NULL, "the same as -o jsonl"}, END};
static const struct opt_spec log_verify_opts[] = {OFFLINE_OPTS,
    {"no-index", 0, OPT_FLAG, 0, NULL, NULL, "check the log alone, not the indexes and the state"}, END};

#define BENCH_COMMON                                                                               \
	{"connections", 0, OPT_INT, 0, "N", "1", "connections, a thread each"},                    \
	    {"duration", 'd', OPT_DURATION, 0, "DURATION", "10s", "measure this long"},            \
	    {"count", 'n', OPT_INT, 0, "N", "0", "stop after N messages, 0: by time"},             \
	    {"queues", 0, OPT_INT, 0, "N", "0",                                                    \
		"queues of the topic if it has to be created, 0: the node's default"},             \
	{                                                                                          \
		"keep", 0, OPT_FLAG, 0, NULL, NULL, "do not delete a topic that the run created"   \
	}
#define BENCH_SEND                                                                                 \
	{"size", 0, OPT_SIZE, 0, "SIZE", "1k", "bytes of a body"},                                 \
	    {"in-flight", 0, OPT_INT, 0, "N", "64", "most messages unanswered on a connection"},   \
	    {"rate", 0, OPT_INT, 0, "N", "0",                                                      \
		"messages a second over all connections, on a fixed schedule; 0: as fast as "      \
		"possible"},                                                                       \
	{                                                                                          \
		"linger", 0, OPT_DURATION, 0, "DURATION", "0", "wait this long for a batch to fill"    \
	}

static const struct opt_spec bench_pub_opts[] = {BENCH_COMMON, BENCH_SEND, END};
static const struct opt_spec bench_sub_opts[] = {BENCH_COMMON, END};
static const struct opt_spec bench_e2e_opts[] = {BENCH_COMMON, BENCH_SEND, END};
static const struct opt_spec bench_disk_opts[] = {
    {"rounds", 0, OPT_INT, 0, "N", "200", "writes of each size and kind"}, END};

static const struct opt_spec check_opts[] = {
    {"format", 0, OPT_CHOICE, 0, "text|json|nagios", "text",
	"nagios: one line and exit code 0 ok, 1 warning, 2 critical, 3 unknown"},
    {"warn-disk", 0, OPT_SIZE, 0, "SIZE", "1g", "warn with less free space than this"},
    {"crit-disk", 0, OPT_SIZE, 0, "SIZE", "256m", "critical with less free space than this"},
    {"warn-lag", 0, OPT_INT, 0, "N", "0", "warn if a group is this many messages behind, 0: never"},
    {"crit-lag", 0, OPT_INT, 0, "N", "0", "the same for critical"},
    {"warn-rtt", 0, OPT_DURATION, 0, "DURATION", "100ms", "warn if an answer takes this long"},
    {"crit-rtt", 0, OPT_DURATION, 0, "DURATION", "1s", "the same for critical"}, END};

static const struct opt_spec ctx_add_opts[] = {
    {"use", 0, OPT_FLAG, 0, NULL, NULL, "make it the current one"}, END};
static const struct opt_spec gen_man_opts[] = {
    {"dir", 0, OPT_TEXT, 0, "DIR", NULL, "write almadia.1 and a page for each command there"}, END};
static const struct opt_spec gen_systemd_opts[] = {
    {"config", 0, OPT_TEXT, 0, "FILE", NULL, "configuration file named in the unit"}, END};
static const struct opt_spec help_opts[] = {
    {"json", 0, OPT_FLAG, 0, NULL, NULL, "the whole table as JSON"}, END};

#define DELETE_DOC "Asks first on a terminal; a script gives -y."

const struct command command_table[] = {
    {"topic", "create", "TOPIC", "create a topic",
	"A setting that is not given takes the node's default.", "rw", 0, topic_create_opts,
	"almadia topic create orders --queues 8 --max-message 64k", cmd_topic_create},
    {"topic", "list", "[PATTERN]", "list topics",
	"PATTERN is a shell pattern such as 'orders.*'.", "ro", 0, NULL,
	"almadia topic list\nalmadia topic list 'orders*' -o plain", cmd_topic_list},
    {"topic", "describe", "TOPIC", "show a topic's settings and the bounds of its queues", NULL,
	"ro", 0, NULL, "almadia topic describe orders", cmd_topic_describe},
    {"topic", "alter", "TOPIC", "change a topic's settings",
	"Only what is given changes.  Queues may grow, never shrink.", "rw", 0, topic_alter_opts,
	"almadia topic alter orders --queues 16", cmd_topic_alter},
    {"topic", "delete", "TOPIC...", "delete topics with their messages", DELETE_DOC, "rw", 0, NULL,
	"almadia topic delete orders -y", cmd_topic_delete},

    {"group", "create", "GROUP", "create a consumer group",
	"A group also comes into being with its first commit, so this is seldom needed.", "rw", 0,
	group_create_opts, "almadia group create billing", cmd_group_create},
    {"group", "list", "[PATTERN]", "list consumer groups", NULL, "ro", 0, NULL,
	"almadia group list", cmd_group_list},
    {"group", "describe", "GROUP", "show a group and its committed offsets", NULL, "ro", 0, NULL,
	"almadia group describe billing", cmd_group_describe},
    {"group", "lag", "GROUP [TOPIC]", "show how far behind a group is, queue by queue", NULL, "ro",
	0, NULL, "almadia group lag billing\nalmadia group lag billing orders -o json",
	cmd_group_lag},
    {"group", "reset", "GROUP TOPIC", "move a group's committed offsets",
	"Shows what would change; with -y it is done.", "rw", 0, group_reset_opts,
	"almadia group reset billing orders --to time:-1h\n"
	"almadia group reset billing orders --to start -y",
	cmd_group_reset},
    {"group", "delete", "GROUP...", "delete groups with their offsets", DELETE_DOC, "rw", 0, NULL,
	"almadia group delete billing -y", cmd_group_delete},

    {"pub", NULL, "TOPIC [MESSAGE...]", "publish messages",
	"Messages come from the arguments, from --lines and --file, or, without any of these or with "
	"-, from stdin, a message a line.  The command ends when every message is acked: stored as "
	"the topic's durability says.  A message that is sent again after a broken connection is "
	"stored once.",
	"rw", 0, pub_opts,
	"almadia pub orders 'one coffee' --key table-4\n"
	"dmesg | almadia pub kernel\n"
	"almadia pub logs --lines /var/log/dpkg.log --tag dpkg",
	cmd_pub},
    {"sub", NULL, "TOPIC", "consume messages",
	"Writes each message to stdout.  With --group it begins at the group's committed offsets and "
	"commits only after the output was written and flushed, so that nothing is lost if the "
	"reader of the output fails.  Stop it with ^C.",
	"ro", 0, sub_opts,
	"almadia sub orders --from start --format '%o %k %b\\n'\n"
	"almadia sub orders --group billing --idle 2s",
	cmd_sub},
    {"tail", NULL, "TOPIC", "show the newest messages", "Never touches a group.", "ro", 0, tail_opts,
	"almadia tail orders -n 5 --follow", cmd_tail},

    {"msg", "get", "POSITION", "show the message at a position of the log", NULL, "ro", 0,
	msg_get_opts, "almadia msg get 4096", cmd_msg_get},
    {"msg", "find", "TOPIC", "find messages by key", NULL, "ro", 0, msg_find_opts,
	"almadia msg find orders --key table-4 --since -1h", cmd_msg_find},

    {"node", "info", "", "show the node's identity, version, role and log", NULL, "ro", 0, NULL,
	"almadia node info", cmd_node_info},
    {"node", "config", "[PATTERN]", "show the node's settings and where each comes from", NULL, "ro",
	0, NULL, "almadia node config 'retention*'", cmd_node_config},
    {"node", "stats", "", "show counters and latencies", NULL, "ro", 0, NULL,
	"almadia node stats -o json", cmd_node_stats},

    {"plugin", "list", "", "list plugins",
	"Asks the server; without one, or with --offline, runs `almadiad --list-plugins`.", "ro", 0,
	(const struct opt_spec[]){
	    {"offline", 0, OPT_FLAG, 0, NULL, NULL, "do not ask a server"}, END},
	"almadia plugin list", cmd_plugin_list},
    {"plugin", "info", "NAME", "show a plugin's version, file and settings",
	"NAME is the plugin's name, such as segment, or KIND/NAME.", "ro", 0,
	(const struct opt_spec[]){
	    {"offline", 0, OPT_FLAG, 0, NULL, NULL, "do not ask a server"}, END},
	"almadia plugin info segment", cmd_plugin_info},

    {"log", "dump", "DIR", "show what is in a log on disk, without a server",
	"DIR is the node's data directory or its log directory.  Changes nothing.", "ro", 1,
	log_dump_opts, "almadia log dump /var/lib/almadia --records -n 20", cmd_log_dump},
    {"log", "verify", "DIR", "check every checksum of a log on disk, without a server",
	"DIR is the node's data directory or its log directory.  In a data directory that no node uses "
	"now, the indexes and the state are compared with the log too.  Prints each finding with its "
	"position; exit code 1 if there is damage.  Changes nothing.",
	"ro", 1, log_verify_opts, "almadia log verify /var/lib/almadia", cmd_log_verify},

    {"bench", "pub", "TOPIC", "measure publishing",
	"With --rate, messages are due on a fixed schedule and latency counts from when a message was "
	"due, so a stalled server cannot hide its stalls.  The topic is created for the run if it "
	"does not exist.",
	"rw", 0, bench_pub_opts, "almadia bench pub bench --size 1k --connections 4 -d 10s",
	cmd_bench_pub},
    {"bench", "sub", "TOPIC", "measure reading what a topic holds", NULL, "ro", 0, bench_sub_opts,
	"almadia bench sub bench --connections 2", cmd_bench_sub},
    {"bench", "e2e", "TOPIC", "measure from publish to delivery, and check loss and order",
	"Each message carries its sender, number and due time; the receivers count what is lost, "
	"delivered twice or out of order.",
	"rw", 0, bench_e2e_opts, "almadia bench e2e bench --rate 5000 -d 10s -o json",
	cmd_bench_e2e},
    {"bench", "disk", "DIR", "measure the disk: append and fdatasync",
	"4 KiB, 64 KiB and 1 MiB, into recycled (already written) and into growing space, as a log "
	"does.  Writes one temporary file in DIR.",
	"rw", 1, bench_disk_opts, "almadia bench disk /var/lib/almadia", cmd_bench_disk},

    {"check", NULL, "", "check the health of a node",
	"Exit code 0 if all is well, 1 if there is a warning or worse, 5 if the node does not answer.",
	"ro", 0, check_opts, "almadia check\nalmadia check --format nagios --crit-lag 100000",
	cmd_check},

    {"ctx", "add", "NAME SERVER...", "store servers under a name",
	"Kept in $XDG_CONFIG_HOME/almadia/contexts.ini (by default under ~/.config).", "rw", 1,
	ctx_add_opts, "almadia ctx add prod 10.0.0.5:7450 10.0.0.6:7450 --use", cmd_ctx_add},
    {"ctx", "list", "", "list contexts", NULL, "ro", 1, NULL, "almadia ctx list", cmd_ctx_list},
    {"ctx", "use", "NAME", "make a context the current one", NULL, "rw", 1, NULL,
	"almadia ctx use prod", cmd_ctx_use},
    {"ctx", "show", "[NAME]", "show a context, or the current one", NULL, "ro", 1, NULL,
	"almadia ctx show", cmd_ctx_show},
    {"ctx", "delete", "NAME", "forget a context", NULL, "rw", 1, NULL, "almadia ctx delete prod",
	cmd_ctx_delete},

    {"err", "explain", "[CODE]", "explain an error code and what to do about it",
	"CODE is a name or a number: ALM_EFULL, full, -9.  Without it, all are listed.", "ro", 1, NULL,
	"almadia err explain ALM_EFULL", cmd_err_explain},

    {"gen", "completion", "SHELL", "print the completion script for bash, zsh or fish", NULL, "ro",
	1, NULL, "almadia gen completion bash > /etc/bash_completion.d/almadia", cmd_gen_completion},
    {"gen", "man", "[COMMAND...]", "print a man page",
	"almadia(1), or the page of one command.", "ro", 1, gen_man_opts,
	"almadia gen man topic create | man -l -", cmd_gen_man},
    {"gen", "systemd", "", "print a systemd unit", NULL, "ro", 1, gen_systemd_opts,
	"almadia gen systemd --config /etc/almadia/almadia.conf", cmd_gen_systemd},

    {"version", NULL, "", "show the version", NULL, "ro", 1, NULL, "almadia version", cmd_version},
    {"help", NULL, "[COMMAND...]", "show help", NULL, "ro", 1, help_opts,
	"almadia help topic create\nalmadia help --json", cmd_help},
};

const uint32_t command_count = sizeof command_table / sizeof command_table[0];

static const struct {
	const char *noun, *summary;
} nouns[] = {
    {"topic", "topics and their settings"},
    {"group", "consumer groups, offsets and lag"},
    {"msg", "single messages"},
    {"node", "the node"},
    {"plugin", "plugins"},
    {"log", "logs on disk, offline"},
    {"bench", "measurements"},
    {"ctx", "stored servers"},
    {"err", "error codes"},
    {"gen", "completion, man pages, units"},
};

const char *
noun_summary(const char *noun)
{
	for (size_t i = 0; i < sizeof nouns / sizeof nouns[0]; i++)
		if (strcmp(nouns[i].noun, noun) == 0)
			return nouns[i].summary;
	return NULL;
}

