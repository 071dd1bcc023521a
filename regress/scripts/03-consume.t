# Ways to consume: where from, which, how shown, when to stop.
$ almadia topic create t
$ for i in 0 1 2 3 4 5; do echo "m$i"; done | almadia pub t
$ almadia pub t red --tag red --key k; almadia pub t blue --tag blue
$ almadia sub t --from start --count 2
$ almadia sub t --from offset:4 --count 2
$ almadia sub t --from time:-1h --count 1
$ almadia sub t --from end --idle 200ms
$ almadia sub t --from start --tag red --tag blue --idle 300ms
$ almadia sub t --from offset:6 --count 1 --format '%T %q %o %k %t %s %x%%\n'
$ almadia sub t --from offset:6 --count 1 -o json
$ almadia sub t --from offset:0 --count 2 -o jsonl | wc -l
$ almadia sub t --from offset:6 --count 2 -o csv | cut -d, -f2-4,6-
$ almadia tail t -n 3
$ almadia tail t -n 0
# The reader goes away: no error, and nothing more is read.
$ almadia sub t --from start --idle 1s | head -n 1
# Binary bodies survive, and are base64 in JSON.
$ printf '\377\000\001' > bin; almadia pub t --file bin
$ almadia sub t --from offset:8 --count 1 | od -An -tx1
$ almadia sub t --from offset:8 --count 1 -o jsonl | sed 's/.*"body_base64"/"body_base64"/'
# A queue at a time.
$ almadia topic create wide --queues 3
$ for q in 0 1 2; do almadia pub wide "in $q" --queue $q -q; done
$ almadia sub wide --from start --queue 1 --idle 300ms
$ almadia sub wide --from start --queue 0 --queue 2 --idle 300ms | sort
$ almadia sub wide --from offset:0 --queue 2 --count 1
