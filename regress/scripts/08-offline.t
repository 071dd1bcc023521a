# What needs no server: contexts, error codes, help, generated text.
% offline
$ almadia version | sed 's/[0-9.]*$/N/'
$ almadia ctx list
$ almadia ctx add prod 10.0.0.5:7450 10.0.0.6:7450 --use
$ almadia ctx add 'no good' 10.0.0.5:7450
$ almadia ctx add test nowhere
$ almadia ctx add test unix:/run/almadia/almadia.sock
$ stat -c %a config/almadia/contexts.ini; cat config/almadia/contexts.ini
$ almadia ctx list -o csv
$ almadia ctx use tset
$ almadia ctx use test
$ almadia ctx show
$ almadia ctx delete test
$ almadia ctx show
$ almadia ctx show prod -o json
$ almadia -c nope topic list
$ ALMADIA_SERVER=nonsense almadia topic list
$ echo 'garbage' >> config/almadia/contexts.ini; almadia ctx list
$ almadia err explain ALM_EFULL
$ almadia err explain full -o csv | head -1
$ almadia err explain -o json -- -16 | grep name
$ almadia err explain -16 -o plain | cut -f1
$ almadia err explain nonsense
$ almadia err explain -o plain | wc -l
$ almadia help topic
$ almadia topic create --help
$ almadia help topic crate
$ almadia gen completion bash > c && bash -n c && echo sound
$ almadia gen completion tcsh
$ almadia gen systemd --config /x.conf | grep ExecStart= | sed 's,=.*/sbin/,=,'
