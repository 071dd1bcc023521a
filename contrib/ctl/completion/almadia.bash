# bash completion of almadia; made by: almadia gen completion bash
_almadia() {
	local cur prev noun='' verb='' words='' i
	cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-o|-s|-c|--output|--server|--context|--timeout) ((i++)) ;;
		-*) ;;
		*) if [[ -z $noun ]]; then noun=${COMP_WORDS[i]}; elif [[ -z $verb ]]; then verb=${COMP_WORDS[i]}; fi ;;
		esac
	done
	case $noun in
	pub|sub|tail|check|version|help) verb='' ;;
	esac
	case $prev in
	--output|-o) words='table json jsonl csv plain' ;;
	--durability) words='strict relaxed' ;;
	--context|-c) words=$(almadia ctx list -o plain 2>/dev/null | cut -f1) ;;
	--group|-g) words=$(almadia group list -o plain --timeout 1s 2>/dev/null | cut -f1) ;;
	--file|--lines|--config|--dir) COMPREPLY=($(compgen -f -- "$cur")); return ;;
	esac
	if [[ -n $words ]]; then COMPREPLY=($(compgen -W "$words" -- "$cur")); return; fi
	case "$noun${verb:+ $verb}" in
	'') words=' topic group pub sub tail msg node plugin log bench check ctx err gen version help' ;;
	topic) words=' create list describe alter delete' ;;
	group) words=' create list describe lag reset delete' ;;
	msg) words=' get find' ;;
	node) words=' info config stats' ;;
	plugin) words=' list info' ;;
	log) words=' dump verify' ;;
	bench) words=' pub sub e2e disk' ;;
	ctx) words=' add list use show delete' ;;
	err) words=' explain' ;;
	gen) words=' completion man systemd' ;;
	'topic create')
		if [[ $cur == -* ]]; then words=' --queues --retention-bytes --retention-time --max-message --durability --if-not-exists'; else words=$(almadia topic list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'topic list')
		if [[ $cur == -* ]]; then words=''; fi ;;
	'topic describe')
		if [[ $cur == -* ]]; then words=''; else words=$(almadia topic list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'topic alter')
		if [[ $cur == -* ]]; then words=' --queues --retention-bytes --retention-time --max-message --durability'; else words=$(almadia topic list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'topic delete')
		if [[ $cur == -* ]]; then words=''; else words=$(almadia topic list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'group create')
		if [[ $cur == -* ]]; then words=' --if-not-exists'; else words=$(almadia group list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'group list')
		if [[ $cur == -* ]]; then words=''; fi ;;
	'group describe')
		if [[ $cur == -* ]]; then words=''; else words=$(almadia group list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'group lag')
		if [[ $cur == -* ]]; then words=''; else words=$(almadia group list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'group reset')
		if [[ $cur == -* ]]; then words=' --to --queue'; else words=$(almadia group list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'group delete')
		if [[ $cur == -* ]]; then words=''; else words=$(almadia group list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'pub')
		if [[ $cur == -* ]]; then words=' --key -k --tag -t --property -p --queue --lines --file --count -n --rate --linger --batch --in-flight'; else words=$(almadia topic list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'sub')
		if [[ $cur == -* ]]; then words=' --group -g --from --queue --tag -t --format -f --count -n --idle --no-commit'; else words=$(almadia topic list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'tail')
		if [[ $cur == -* ]]; then words=' --last -n --follow --format -f'; else words=$(almadia topic list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'msg get')
		if [[ $cur == -* ]]; then words=' --format -f'; fi ;;
	'msg find')
		if [[ $cur == -* ]]; then words=' --key -k --since --until --limit -n --format -f'; else words=$(almadia topic list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'node info')
		if [[ $cur == -* ]]; then words=''; fi ;;
	'node config')
		if [[ $cur == -* ]]; then words=''; fi ;;
	'node stats')
		if [[ $cur == -* ]]; then words=''; fi ;;
	'plugin list')
		if [[ $cur == -* ]]; then words=' --offline'; fi ;;
	'plugin info')
		if [[ $cur == -* ]]; then words=' --offline'; fi ;;
	'log dump')
		if [[ $cur == -* ]]; then words=' --config --storage --plugin-path --from --count -n --records --json'; else COMPREPLY=($(compgen -d -- "$cur")); return; fi ;;
	'log verify')
		if [[ $cur == -* ]]; then words=' --config --storage --plugin-path --no-index'; else COMPREPLY=($(compgen -d -- "$cur")); return; fi ;;
	'bench pub')
		if [[ $cur == -* ]]; then words=' --connections --duration -d --count -n --queues --keep --size --in-flight --rate --linger'; else words=$(almadia topic list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'bench sub')
		if [[ $cur == -* ]]; then words=' --connections --duration -d --count -n --queues --keep'; else words=$(almadia topic list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'bench e2e')
		if [[ $cur == -* ]]; then words=' --connections --duration -d --count -n --queues --keep --size --in-flight --rate --linger'; else words=$(almadia topic list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'bench disk')
		if [[ $cur == -* ]]; then words=' --rounds'; else COMPREPLY=($(compgen -d -- "$cur")); return; fi ;;
	'check')
		if [[ $cur == -* ]]; then words=' --format --warn-disk --crit-disk --warn-lag --crit-lag --warn-rtt --crit-rtt'; fi ;;
	'ctx add')
		if [[ $cur == -* ]]; then words=' --use'; else words=$(almadia ctx list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'ctx list')
		if [[ $cur == -* ]]; then words=''; else words=$(almadia ctx list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'ctx use')
		if [[ $cur == -* ]]; then words=''; else words=$(almadia ctx list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'ctx show')
		if [[ $cur == -* ]]; then words=''; else words=$(almadia ctx list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'ctx delete')
		if [[ $cur == -* ]]; then words=''; else words=$(almadia ctx list -o plain --timeout 1s 2>/dev/null | cut -f1); fi ;;
	'err explain')
		if [[ $cur == -* ]]; then words=''; fi ;;
	'gen completion')
		if [[ $cur == -* ]]; then words=''; else words='bash zsh fish'; fi ;;
	'gen man')
		if [[ $cur == -* ]]; then words=' --dir'; fi ;;
	'gen systemd')
		if [[ $cur == -* ]]; then words=' --config'; fi ;;
	'version')
		if [[ $cur == -* ]]; then words=''; fi ;;
	'help')
		if [[ $cur == -* ]]; then words=' --json'; fi ;;
	esac
	if [[ $cur == -* ]]; then words+=' --output -o --server -s --context -c --timeout --quiet -q --verbose -v --no-color --no-progress --yes -y --help -h'; fi
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _almadia almadia
