/* ctl/cmd_gen.c - what the table generates: shell completion and the systemd unit.  The man pages
 * are in gen_man.c.  Output depends on the table alone, so the copies in the tree can be compared
 * with it. */
#include <config.h>

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/out.h"
#include "contrib/ctl/unit_text.h"

/* Text inside '...' of bash, zsh and fish: quotes are left out, they are only help. */
static void
put_quoted(struct buf *b, const char *s)
{
	for (; *s != 0; s++)
		if (*s != '\'' && *s != '`' && *s != ':')
			buf_put(b, s, 1);
}

/* " --name -n" of a list of options. */
static void
put_option_words(struct buf *b, const struct opt_spec *s)
{
	for (; s != NULL && s->name != NULL; s++) {
		buf_putf(b, " --%s", s->name);
		if (s->letter != 0)
			buf_putf(b, " -%c", s->letter);
	}
}

/* Calls fn once for each noun. */
static void
each_noun(struct buf *b, void (*fn)(struct buf *, const char *noun))
{
	for (uint32_t i = 0; i < command_count; i++)
		if (i == 0 || strcmp(command_table[i].noun, command_table[i - 1].noun) != 0)
			fn(b, command_table[i].noun);
}

static void
put_noun(struct buf *b, const char *noun)
{
	buf_putf(b, " %s", noun);
}

static void
put_verbs(struct buf *b, const char *noun)
{
	for (uint32_t i = 0; i < command_count; i++)
		if (command_table[i].verb != NULL && strcmp(command_table[i].noun, noun) == 0)
			buf_putf(b, " %s", command_table[i].verb);
}

/* ---- bash ----------------------------------------------------------------------------------- */

static void
bash_verbs_case(struct buf *b, const char *noun)
{
	if (!noun_has_verbs(noun))
		return;
	buf_putf(b, "\t%s) words='", noun);
	put_verbs(b, noun);
	buf_putf(b, "' ;;\n");
}

static void
bash_choices(struct buf *b, const struct opt_spec *s)
{
	for (; s != NULL && s->name != NULL; s++)
		if (s->type == OPT_CHOICE) {
			buf_putf(b, "\t--%s", s->name);
			if (s->letter != 0)
				buf_putf(b, "|-%c", s->letter);
			buf_putf(b, ") words='");
			for (const char *p = s->arg; *p != 0; p++)
				buf_put(b, *p == '|' ? " " : p, 1);
			buf_putf(b, "' ;;\n");
		}
}

/* What an argument's name in the table completes to. */
static const char *
argument_source(const struct command *cmd)
{
	if (strncmp(cmd->args, "TOPIC", 5) == 0 && strcmp(cmd->args, "TOPIC SERVER") != 0)
		return "topic list";
	if (strncmp(cmd->args, "GROUP", 5) == 0)
		return "group list";
	if (strcmp(cmd->noun, "ctx") == 0)
		return "ctx list";
	return NULL;
}

static void
bash_script(struct buf *b)
{
	char name[64];

	buf_putf(b, "# bash completion of almadia; made by: almadia gen completion bash\n"
		    "_almadia() {\n"
		    "\tlocal cur prev noun='' verb='' words='' i\n"
		    "\tcur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
		    "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
		    "\t\tcase ${COMP_WORDS[i]} in\n"
		    "\t\t-o|-s|-c|--output|--server|--context|--timeout) ((i++)) ;;\n"
		    "\t\t-*) ;;\n"
		    "\t\t*) if [[ -z $noun ]]; then noun=${COMP_WORDS[i]}; elif [[ -z $verb ]]; then "
		    "verb=${COMP_WORDS[i]}; fi ;;\n"
		    "\t\tesac\n"
		    "\tdone\n"
		    "\tcase $noun in\n\tpub|sub|tail|check|version|help) verb='' ;;\n\tesac\n"
		    "\tcase $prev in\n");
	bash_choices(b, global_opts);
	buf_putf(b, "\t--durability) words='strict relaxed' ;;\n"
		    "\t--context|-c) words=$(almadia ctx list -o plain 2>/dev/null | cut -f1) ;;\n"
		    "\t--group|-g) words=$(almadia group list -o plain --timeout 1s 2>/dev/null | cut -f1) ;;\n"
		    "\t--file|--lines|--config|--dir) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
		    "\tesac\n"
		    "\tif [[ -n $words ]]; then COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")); return; fi\n"
		    "\tcase \"$noun${verb:+ $verb}\" in\n\t'') words='");
	each_noun(b, put_noun);
	buf_putf(b, "' ;;\n");
	each_noun(b, bash_verbs_case);
	for (uint32_t i = 0; i < command_count; i++) {
		const struct command *cmd = &command_table[i];

		buf_putf(b, "\t'%s')\n\t\tif [[ $cur == -* ]]; then words='",
		    command_name(cmd, name, sizeof name));
		put_option_words(b, cmd->opts);
		if (argument_source(cmd) != NULL)
			buf_putf(b, "'; else words=$(almadia %s -o plain --timeout 1s 2>/dev/null | cut -f1)",
			    argument_source(cmd));
		else if (strcmp(cmd->args, "SHELL") == 0)
			buf_putf(b, "'; else words='bash zsh fish'");
		else if (strcmp(cmd->args, "DIR") == 0)
			buf_putf(b, "'; else COMPREPLY=($(compgen -d -- \"$cur\")); return");
		else
			buf_putf(b, "'");
		buf_putf(b, "; fi ;;\n");
	}
	buf_putf(b, "\tesac\n\tif [[ $cur == -* ]]; then words+='");
	put_option_words(b, global_opts);
	buf_putf(b, "'; fi\n\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
		    "complete -F _almadia almadia\n");
}

/* ---- zsh ------------------------------------------------------------------------------------ */

static void
zsh_options(struct buf *b, const struct opt_spec *s)
{
	for (; s != NULL && s->name != NULL; s++) {
		buf_putf(b, "\t\t'%s--%s[", s->many ? "*" : "", s->name);
		put_quoted(b, s->doc);
		buf_putf(b, "]");
		if (s->type == OPT_CHOICE) {
			buf_putf(b, ":value:(");
			for (const char *p = s->arg; *p != 0; p++)
				buf_put(b, *p == '|' ? " " : p, 1);
			buf_putf(b, ")");
		} else if (s->type != OPT_FLAG) {
			buf_putf(b, ":value:%s", strstr(s->arg, "FILE") != NULL ? "_files" : "");
		}
		buf_putf(b, "' \\\n");
	}
}

static void
zsh_noun(struct buf *b, const char *noun)
{
	const struct command *alone = command_find(noun, NULL);

	buf_putf(b, "\t\t'%s:", noun);
	put_quoted(b, alone != NULL ? alone->summary : noun_summary(noun));
	buf_putf(b, "'\n");
}

static void
zsh_verbs(struct buf *b, const char *noun)
{
	if (!noun_has_verbs(noun))
		return;
	buf_putf(b, "\t%s) words=(\n", noun);
	for (uint32_t i = 0; i < command_count; i++)
		if (strcmp(command_table[i].noun, noun) == 0) {
			buf_putf(b, "\t\t'%s:", command_table[i].verb);
			put_quoted(b, command_table[i].summary);
			buf_putf(b, "'\n");
		}
	buf_putf(b, "\t\t); _describe command words ;;\n");
}

static void
zsh_script(struct buf *b)
{
	char name[64];

	buf_putf(b, "#compdef almadia\n# made by: almadia gen completion zsh\n"
		    "_almadia_names() {\n"
		    "\tlocal -a found\n"
		    "\tfound=(${(f)\"$(almadia $=1 -o plain --timeout 1s 2>/dev/null | cut -f1)\"})\n"
		    "\tcompadd -a found\n}\n"
		    "_almadia() {\n\tlocal -a nouns words\n\tlocal key\n\tnouns=(\n");
	each_noun(b, zsh_noun);
	buf_putf(b, "\t)\n\tif (( CURRENT == 2 )); then _describe command nouns; return; fi\n"
		    "\tkey=${words[2]}\n\tif (( CURRENT == 3 )); then case $key in\n");
	buf_putf(b, "\tpub|sub|tail|check|version|help) ;;\n\t*) _almadia_verbs $key; return ;;\n"
		    "\tesac; fi\n"
		    "\tcase $key in pub|sub|tail|check|version|help) ;; *) key=\"$key ${words[3]}\" ;; esac\n"
		    "\tcase $key in\n");
	for (uint32_t i = 0; i < command_count; i++) {
		const struct command *cmd = &command_table[i];

		buf_putf(b, "\t'%s') _arguments \\\n", command_name(cmd, name, sizeof name));
		zsh_options(b, cmd->opts);
		zsh_options(b, global_opts);
		if (argument_source(cmd) != NULL)
			buf_putf(b, "\t\t'*:name:{_almadia_names \"%s\"}' ;;\n", argument_source(cmd));
		else
			buf_putf(b, "\t\t'*:argument:_files' ;;\n");
	}
	buf_putf(b, "\tesac\n}\n_almadia_verbs() {\n\tlocal -a words\n\tcase $1 in\n");
	each_noun(b, zsh_verbs);
	buf_putf(b, "\tesac\n}\n_almadia \"$@\"\n");
}

/* ---- fish ----------------------------------------------------------------------------------- */

static void
fish_options(struct buf *b, const char *condition, const struct opt_spec *s)
{
	for (; s != NULL && s->name != NULL; s++) {
		buf_putf(b, "complete -c almadia %s -l %s", condition, s->name);
		if (s->letter != 0)
			buf_putf(b, " -s %c", s->letter);
		if (s->type == OPT_CHOICE) {
			buf_putf(b, " -x -a '");
			for (const char *p = s->arg; *p != 0; p++)
				buf_put(b, *p == '|' ? " " : p, 1);
			buf_putf(b, "'");
		} else if (s->type != OPT_FLAG) {
			buf_putf(b, strstr(s->arg, "FILE") != NULL ? " -r -F" : " -x");
		}
		buf_putf(b, " -d '");
		put_quoted(b, s->doc);
		buf_putf(b, "'\n");
	}
}

static void
fish_noun(struct buf *b, const char *noun)
{
	const struct command *alone = command_find(noun, NULL);

	buf_putf(b, "complete -c almadia -n __fish_use_subcommand -a %s -d '", noun);
	put_quoted(b, alone != NULL ? alone->summary : noun_summary(noun));
	buf_putf(b, "'\n");
}

static void
fish_script(struct buf *b)
{
	buf_putf(b, "# fish completion of almadia; made by: almadia gen completion fish\n"
		    "complete -c almadia -f\n");
	fish_options(b, "", global_opts);
	each_noun(b, fish_noun);
	for (uint32_t i = 0; i < command_count; i++) {
		const struct command *cmd = &command_table[i];
		char seen[192];

		if (cmd->verb != NULL) {
			buf_putf(b, "complete -c almadia -n '__fish_seen_subcommand_from %s; and not "
				    "__fish_seen_subcommand_from", cmd->noun);
			put_verbs(b, cmd->noun);
			buf_putf(b, "' -a %s -d '", cmd->verb);
			put_quoted(b, cmd->summary);
			buf_putf(b, "'\n");
		}
		(void)snprintf(seen, sizeof seen, "-n '__fish_seen_subcommand_from %s%s%s'", cmd->noun,
		    cmd->verb != NULL ? "; and __fish_seen_subcommand_from " : "",
		    cmd->verb != NULL ? cmd->verb : "");
		fish_options(b, seen, cmd->opts);
		if (argument_source(cmd) != NULL)
			buf_putf(b, "complete -c almadia %s -a '(almadia %s -o plain --timeout 1s "
				    "2>/dev/null | cut -f1)'\n", seen, argument_source(cmd));
	}
}

/* ---- commands ------------------------------------------------------------------------------- */

int
cmd_gen_completion(struct call *c)
{
	const char *shell = c->args[0];
	struct buf b = {0};

	if (strcmp(shell, "bash") == 0)
		bash_script(&b);
	else if (strcmp(shell, "zsh") == 0)
		zsh_script(&b);
	else if (strcmp(shell, "fish") == 0)
		fish_script(&b);
	else
		return fail(c, RC_USAGE, "no completion for \"%s\": use bash, zsh or fish", shell);
	if (buf_put(&b, "", 1) == ALM_OK)
		out_text(c->out, "script", (const char *)b.data);
	buf_free(&b);
	return RC_OK;
}

int
cmd_gen_systemd(struct call *c)
{
	const char *conf = opt_text(c, "config"), *p = unit_text, *at;
	struct buf b = {0};

	while (conf != NULL && (at = strstr(p, unit_config)) != NULL) {
		buf_put(&b, p, (uint64_t)(at - p));
		buf_putf(&b, "%s", conf);
		p = at + strlen(unit_config);
	}
	buf_putf(&b, "%s", p);
	if (buf_put(&b, "", 1) == ALM_OK)
		out_text(c->out, "unit", (const char *)b.data);
	buf_free(&b);
	return RC_OK;
}
