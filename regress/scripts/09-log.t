# The log on disk, looked at without a server: dump, verify, damage.
% config storage segment first_segment_size = 1m
$ almadia topic create t
$ almadia pub t one --key k --tag g; almadia pub t two; almadia sub t --group g --count 2
% stop
$ almadia log dump $DATA --records -o csv | cut -d, -f2-5,7,8
$ almadia log dump $DATA -o jsonl | grep -c '"check":"ok"'
$ almadia log dump $DATA --records --count 1 -o plain | cut -f2
$ almadia log verify $DATA -o json | grep -E 'damaged|verdict'
$ almadia log verify $DATA -o plain | cut -f8-
$ almadia log verify $DATA/log -o plain | cut -f8-
# One bit of a message's body.
$ f=$(ls $DATA/log/*.seg | head -1); at=$(grep -abo two $f | head -1 | cut -d: -f1); printf 'X' | dd of=$f bs=1 seek=$at conv=notrunc status=none
$ almadia log verify $DATA -o json | grep -E 'damaged|verdict'
$ almadia log verify $DATA -o plain
$ almadia log dump $DATA -o plain | cut -f4,5,7,8
$ almadia log verify $DATA/nowhere
