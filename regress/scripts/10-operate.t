# What an operator looks at: node, settings, plugins, health, measurements.
% config topics queues = 3
% hide almadiad [0-9.]+ at => almadiad N at
% hide answers in [0-9.]+ [a-z]+ => answers in N
% hide \d[0-9.]* [KMGT]?i?B free => N free
$ almadia node info -o plain | cut -f1 | grep -E '^(version|node|data_dir|storage|consensus|log.role)$'
$ almadia node config 'topics.*'
$ almadia node config 'topics.*' -o json | grep -c origin
$ almadia node stats -o json | grep -c '"ledger": {'
$ almadia plugin list -o csv | cut -d, -f1,2,4,5
$ almadia plugin list --offline -o csv | cut -d, -f1,2,4,5 | grep storage
$ almadia plugin info storage/segment -o csv | cut -d, -f1-4 | head -3
$ almadia check --warn-disk 1 --crit-disk 0 --warn-rtt 1m --crit-rtt 1m
$ almadia check --warn-disk 1 --crit-disk 0 --warn-rtt 1m --crit-rtt 1m --format nagios
$ almadia topic create t && seq 1 10 | almadia pub t -q && almadia sub t --group g --count 2 -q
$ almadia check --crit-lag 5 --warn-disk 1 --crit-disk 0 --warn-rtt 1m --crit-rtt 1m --format nagios
$ almadia check --warn-lag 5 --warn-disk 1 --crit-disk 0 --warn-rtt 1m --crit-rtt 1m --format nagios
$ almadia check --warn-lag 5 --warn-disk 1 --crit-disk 0 --warn-rtt 1m --crit-rtt 1m -o plain
# A bench checks what it sends; a topic that it created goes away again.
$ almadia bench e2e b --count 500 --connections 2 -o json | grep -E '"(acked|failed|received|lost|duplicates|out_of_order)"'
$ almadia bench pub b --count 300 --rate 3000 --keep -o json | grep -E '"(acked|failed|scheduled_rate)"'
$ almadia bench sub b -o json | grep -E '"(received|lost)"'
$ almadia topic list -o plain | cut -f1,3
$ almadia bench e2e b --size 8
% stop
$ almadia plugin list -o csv | cut -d, -f1,2,4,5 | grep storage
