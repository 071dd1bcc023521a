# What was acked is there after a stop, after a kill of the ledger, and after one of everything.
$ almadia topic create t --queues 2 --retention-time 7d
$ seq 1 100 | almadia pub t --queue 0
$ almadia sub t --group g --count 40 | tail -1
% restart
$ almadia topic list -o plain | cut -f1-6
$ almadia sub t --group g --count 1
$ seq 101 200 | almadia pub t --queue 0
% kill ledger
$ almadia pub t 201 --queue 0
$ almadia sub t --from start --queue 0 --count 201 | sort -n | uniq | wc -l
% kill indexer
$ almadia topic describe t -o csv
% kill worker 1
$ almadia sub t --group g --idle 500ms | wc -l
