/* ctl/cmds.h - the functions behind the table.  Each returns RC_*. */
#ifndef CTL_CMDS_H
#define CTL_CMDS_H

struct call;

int cmd_topic_create(struct call *);
int cmd_topic_list(struct call *);
int cmd_topic_describe(struct call *);
int cmd_topic_alter(struct call *);
int cmd_topic_delete(struct call *);
int cmd_group_create(struct call *);
int cmd_group_list(struct call *);
int cmd_group_describe(struct call *);
int cmd_group_lag(struct call *);
int cmd_group_reset(struct call *);
int cmd_group_delete(struct call *);
int cmd_pub(struct call *);
int cmd_sub(struct call *);
int cmd_tail(struct call *);
int cmd_msg_get(struct call *);
int cmd_msg_find(struct call *);
int cmd_node_info(struct call *);
int cmd_node_config(struct call *);
int cmd_node_stats(struct call *);
int cmd_plugin_list(struct call *);
int cmd_plugin_info(struct call *);
int cmd_log_dump(struct call *);
int cmd_log_verify(struct call *);
int cmd_bench_pub(struct call *);
int cmd_bench_sub(struct call *);
int cmd_bench_e2e(struct call *);
int cmd_bench_disk(struct call *);
int cmd_check(struct call *);
int cmd_ctx_add(struct call *);
int cmd_ctx_list(struct call *);
int cmd_ctx_use(struct call *);
int cmd_ctx_delete(struct call *);
int cmd_ctx_show(struct call *);
int cmd_err_explain(struct call *);
int cmd_gen_completion(struct call *);
int cmd_gen_man(struct call *);
int cmd_gen_systemd(struct call *);
int cmd_version(struct call *);
int cmd_help(struct call *);

/* --help for what the line named so far: all, a noun, or a command. */
int help_show(struct call *);

#endif
