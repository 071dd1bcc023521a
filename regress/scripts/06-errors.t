# Errors say what, which value, what to do; exit codes tell the kinds apart.
$ almadia
$ almadia topc list
$ almadia topic lst
$ almadia topic create
$ almadia topic create t --quees 2
$ almadia topic create t --queues many
$ almadia topic create t --queues 0
$ almadia topic create t --durability soft
$ almadia topic create 'bad name'
$ almadia topic create t --max-message 1k
$ almadia topic create t
$ almadia topic create t --if-not-exists
$ almadia topic alter t --queues 3
$ almadia topic alter t --queues 2
$ almadia topic describe tt
$ almadia topic describe elsewhere
$ almadia pub elsewhere x
$ head -c 1025 /dev/zero > big; almadia pub t --file big
$ head -c 9000000 /dev/zero > huge; almadia pub t --file huge
$ almadia pub t x --queue 9
$ almadia pub t --file missing
$ almadia pub t --count 2
$ almadia pub t x --property novalue
$ almadia sub elsewhere
$ almadia sub t --from yesterday
$ almadia sub t --from time:yesterday
$ almadia sub t --from offset:0
$ almadia sub t --format '%z'
$ almadia msg get 999999999
$ almadia msg get here
$ almadia msg find t
$ almadia msg find t --key nobody
$ almadia group describe nobody
$ almadia topic delete t
$ almadia topic delete t nope -y
$ almadia topic describe t -o json
$ almadia plugin info nope
$ almadia -s nonsense topic list
% stop
$ almadia topic list --timeout 2s
$ almadia check --timeout 2s
$ almadia check --format nagios --timeout 2s
