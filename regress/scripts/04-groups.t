# Groups: offsets are committed after the output was written; lag; reset; delete.
$ almadia topic create t
$ seq 1 10 | almadia pub t
$ almadia sub t --group g --count 3 | tr '\n' ' '
$ almadia group describe g -o csv | cut -d, -f1-3
$ almadia group lag g -o csv | cut -d, -f1-6
# Output that cannot be written is not committed.
$ almadia sub t --group g --count 3 > /dev/full
$ almadia group describe g -o csv | cut -d, -f1-3
$ almadia sub t --group g --no-commit --count 2 | tr '\n' ' '
$ almadia sub t --group g --idle 300ms | tr '\n' ' '
$ almadia group reset g t --to offset:5
$ almadia group describe g -o csv | cut -d, -f1-3
$ almadia group reset g t --to offset:5 -y -o plain
$ almadia sub t --group g --count 1
$ almadia group reset g t --to end -y -o plain
$ almadia group reset g t --to time:-1h -y -o plain
$ almadia group reset g t --to offset:99 -y -o plain
$ almadia group list -o plain | cut -f1
$ almadia group create h
$ almadia group create h
$ almadia group create h --if-not-exists
$ almadia group list 'h*' -o plain | cut -f1
$ almadia group delete g
$ almadia group delete g h nope -y
$ almadia group list -o csv
$ almadia group lag g
