# Ways to publish: arguments, stdin, files, with key, tag and properties; what is said about it.
% hide "position": ?\d+ => "position": N
$ almadia topic create t
$ almadia pub t one two three
$ printf 'four\n\nsix' | almadia pub t
$ printf 'a\nb\n' > lines; almadia pub t --lines lines
$ printf 'whole\nfile' > body; almadia pub t --file body --tag f
$ almadia pub t again --count 3
$ almadia sub t --from start --idle 300ms --format '%o [%b] %t\n'
$ almadia pub t x y -v -o csv | cut -d, -f1,2,4
$ almadia pub t z -o json
$ almadia pub t quiet -q
$ printf '' | almadia pub t
$ almadia topic create wide --queues 4
$ almadia pub wide a b c d --queue 3 -o csv -v | cut -d, -f1,2
$ almadia pub wide k1 k2 --key same -v -o plain | cut -f1 | sort -u | wc -l
$ seq 1 5000 | almadia pub wide --key k
$ almadia sub wide --from start --tag none --idle 300ms
$ almadia sub wide --from start --count 5004 | sort -n | uniq -d
